"""Reference tables: their versions, which batch has which, and when they are read again."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import JobError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of, read_contract, shipped
from retailpulse_kernel.shop.contract.model import ReferenceTable
from retailpulse_kernel.shop.contract.rows import object_rows
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, new_epoch
from retailpulse_kernel.streaming.checkpoint.notes import note_once, noted, remove_notes
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from retailpulse_kernel.streaming.plan.data import Plan, ReferencePlan, RowsPlan, TablePlan, read_plan, write_plan
from retailpulse_kernel.streaming.reference.refreshing import References, TableState
from retailpulse_kernel.streaming.reference.versions import Versions
from retailpulse_kernel.streaming.run.changes import Effect, compare
from retailpulse_kernel.streaming.run.planning import under
from retailpulse_kernel.streaming.run.report import Report

CONTRACT = """
[tables.products]
file = "products.csv"
key = "sku"
columns = {sku = "string", title = "string"}
every = "10m"
"""
TABLE = read_contract(CONTRACT, name="shop.toml", base=shipped()).tables[0]


@pytest.fixture
def epoch(tmp_path: Path) -> Epoch:
    return new_epoch(str(tmp_path / "checkpoints" / "job"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "shop.toml").write_text(CONTRACT)
    made = Settings.load(home=tmp_path, contract=str(tmp_path / "shop.toml"))
    write(made, "lamp")
    return made


def write(settings: Settings, title: str) -> None:
    assert settings.contract is not None
    settings.contract.with_name("products.csv").write_text(f"sku,title\nA,{title}\n")


def kept(versions: Versions, title: str, *, now_ms: int = 0) -> str:
    return versions.put(object_rows(TABLE, [{"sku": "A", "title": title}]), now_ms=now_ms)


def query(epoch: Epoch, output: str) -> str:
    """The checkpoint of an output that has begun."""
    checkpoint = checkpoint_of(epoch.path, output)
    Path(checkpoint).mkdir(parents=True)
    return checkpoint


class TestVersions:
    def test_the_same_rows_are_the_same_version(self, epoch: Epoch) -> None:
        versions = Versions(epoch.path, TABLE)
        assert versions.newest is None
        old, new, again = (kept(versions, title, now_ms=ms) for ms, title in enumerate(("lamp", "light", "lamp"), 1))
        assert old == again != new
        assert versions.newest is not None
        assert (versions.newest.versions, versions.newest.read_ms) == ((new, old), 3)
        assert versions.rows(new).to_pylist() == [{"sku": "A", "title": "light"}]

    def test_a_batch_keeps_its_version(self, epoch: Epoch) -> None:
        versions, checkpoint = Versions(epoch.path, TABLE), query(epoch, "rows")
        with pytest.raises(JobError, match="has not been read yet"):
            versions.of_batch(checkpoint, 0)
        old = kept(versions, "lamp")
        assert versions.of_batch(checkpoint, 0) == old
        new = kept(versions, "light")
        assert [versions.of_batch(checkpoint, batch) for batch in (0, 1)] == [old, new]

    def test_a_version_stays_while_a_batch_may_need_it(self, epoch: Epoch) -> None:
        versions, checkpoint = Versions(epoch.path, TABLE), query(epoch, "rows")
        first = kept(versions, "0")
        versions.of_batch(checkpoint, 0)
        for number in range(1, 6):
            kept(versions, str(number))
        assert versions.rows(first).num_rows == 1
        last = [versions.of_batch(checkpoint, batch) for batch in range(1, 60)][-1]
        assert len(noted(f"{checkpoint}/versions/products")) == 50
        kept(versions, "6")
        with pytest.raises(JobError, match=f"version {first} of the reference table 'products' is not in"):
            versions.rows(first)
        assert versions.rows(last).to_pylist() == [{"sku": "A", "title": "5"}]

    def test_versions_with_other_columns_are_not_used(self, epoch: Epoch) -> None:
        kept(Versions(epoch.path, TABLE), "lamp")
        changed = replace(TABLE, columns=(*TABLE.columns, ("cost", "int")))
        assert Versions(epoch.path, changed).newest is None


class TestNotes:
    def test_the_first_note_stays_whoever_comes_at_the_same_time(self, tmp_path: Path) -> None:
        start, found = threading.Barrier(8), []

        def note(number: int) -> None:
            start.wait()
            found.append(note_once(str(tmp_path / "notes"), "0", b"%d" % number))

        threads = [threading.Thread(target=note, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8 and len(set(found)) == 1
        assert [path.name for path in (tmp_path / "notes").iterdir()] == ["0"]

    def test_notes_are_listed_and_removed(self, tmp_path: Path) -> None:
        folder = str(tmp_path / "notes")
        assert noted(folder) == []
        for name in ("b", "a"):
            note_once(folder, name, b"")
        remove_notes(folder, ["b", "c"])
        assert noted(folder) == ["a"]


class TestReferences:
    def states(self, settings: Settings, epoch: Epoch) -> tuple[References, list[TableState]]:
        told: list[TableState] = []
        return References(settings, contract_of(settings).tables, epoch.path, told.append), told

    def test_a_table_is_read_when_its_time_has_come(self, settings: Settings, epoch: Epoch) -> None:
        references, told = self.states(settings, epoch)
        references.begin(now_ms=0)
        write(settings, "light")
        references.look(now_ms=599_999)
        assert len(told) == 1
        references.look(now_ms=600_000)
        assert [state.read_ms for state in told] == [0, 600_000] and told[0].version != told[1].version

    def test_a_new_run_goes_on_with_what_was_read(self, settings: Settings, epoch: Epoch) -> None:
        self.states(settings, epoch)[0].begin(now_ms=0)
        write(settings, "light")
        for now_ms, read_ms in ((1_000, 0), (600_000, 600_000)):
            references, told = self.states(settings, epoch)
            references.begin(now_ms=now_ms)
            assert told[-1].read_ms == read_ms

    def test_the_first_reading_must_succeed(self, settings: Settings, epoch: Epoch) -> None:
        references, told = self.states(settings, epoch)
        assert settings.contract is not None
        settings.contract.with_name("products.csv").unlink()
        with pytest.raises(UsageError, match="is not there"):
            references.begin(now_ms=0)
        assert told == []

    def test_a_later_failure_is_told_and_tried_again_soon(self, settings: Settings, epoch: Epoch) -> None:
        references, told = self.states(settings, epoch)
        references.begin(now_ms=0)
        assert settings.contract is not None
        settings.contract.with_name("products.csv").write_text("sku,title\nA,a\nA,b\n")
        references.look(now_ms=600_000)
        assert "has the key sku = A 2 times" in told[-1].error and told[-1].version == told[0].version
        references.look(now_ms=629_999)
        assert len(told) == 2
        write(settings, "light")
        references.look(now_ms=630_000)
        assert told[-1].error == "" and told[-1].version != told[0].version

    def test_what_is_read_after_the_run_is_left(self, settings: Settings, epoch: Epoch) -> None:
        references, told = self.states(settings, epoch)
        references.begin(now_ms=0)
        write(settings, "light")
        with references.followed():
            pass
        references.look(now_ms=600_000)
        newest = Versions(epoch.path, TABLE).newest
        assert newest is not None and newest.versions == (told[0].version,)

    def test_a_table_that_is_never_read_again(self, settings: Settings, epoch: Epoch) -> None:
        table = replace(TABLE, every="never")
        told: list[TableState] = []
        references = References(settings, [table], epoch.path, told.append)
        references.begin(now_ms=0)
        references.look(now_ms=10**15)
        assert len(told) == 1


def test_the_report_shows_each_table() -> None:
    report = Report("job", "ns", 1)
    report.tables["products"] = TableState("products", "3f2a", 1_767_261_600_000)
    assert "table     products: version 3f2a, read 2026-01-01 10:00:00 UTC" in str(report).splitlines()
    report.tables["products"] = replace(report.tables["products"], error="Hive does not answer.")
    assert "10:00:00 UTC; not read since: Hive does not answer." in str(report)
    assert report.to_json()["tables"]["products"]["version"] == "3f2a"


def plan(*tables: ReferenceTable) -> Plan:
    joined = tuple(map(ReferencePlan.describing, tables))
    rows = RowsPlan("rows", (("id", "string"),), ("id",), "append", "same", (("retail.events", "event_id"),), joined)
    return Plan("job", "retail.events", "event_id", 0, (), "change", "publish", (TablePlan("rows", "hive", rows=rows),))


class TestPlan:
    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            (replace(TABLE, columns=(("sku", "string"),)), "the columns of the reference table products changed from"),
            (replace(TABLE, key=("title",)), "the key of the reference table products changed from sku to title"),
        ],
    )
    def test_other_columns_or_another_key_need_a_new_epoch(self, changed: ReferenceTable, said: str) -> None:
        (found,) = compare(plan(TABLE), plan(changed))
        assert found.effect is Effect.EPOCH and said in found.reason

    def test_where_a_table_is_and_how_often_it_is_read_means_nothing(self) -> None:
        assert compare(plan(TABLE), plan(replace(TABLE, source="hive", place="p", every="never"))) == []

    def test_a_changed_model_needs_a_new_epoch(self) -> None:
        old, new = (replace(plan(), models=(("score.joblib", sha256),)) for sha256 in ("a", "b"))
        (found,) = compare(old, new)
        assert found.effect is Effect.EPOCH and found.reason.startswith("the model score.joblib changed")

    def test_a_plan_is_written_and_read(self, epoch: Epoch) -> None:
        write_plan(epoch.path, plan(TABLE))
        assert read_plan(epoch.path) == plan(TABLE)

    def test_the_plan_under_another_contract(self) -> None:
        def contract(text: str) -> Plan:
            return under(plan(TABLE), read_contract(text, name="shop.toml", base=shipped()))

        assert contract(CONTRACT) == plan(TABLE)
        more = contract(CONTRACT.replace('title = "string"', 'title = "string", cost = "int"'))
        assert [one.effect for one in compare(plan(TABLE), more)] == [Effect.EPOCH]
        assert contract("").references == ()
