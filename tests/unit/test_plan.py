"""A job's plan: how it is written and read, older ones too, and who of a namespace writes what."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w

from retailpulse_kernel.ground.errors import JobError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.registry.manifest import read_manifest
from retailpulse_kernel.shop.figures import EVENTS, REVENUE, Figure, sum_of
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.checkpoint.files import write_note
from retailpulse_kernel.streaming.plan.data import VERSION, FigurePlan, Plan, TablePlan, read_plan, write_plan
from retailpulse_kernel.streaming.plan.finding import archiver, plans, writer_of
from retailpulse_kernel.streaming.run.changes import compare
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.workbench.workbench import Workbench

SHIPPED = Path(__file__).resolve().parents[2] / "pipelines"


def plan(job: str = "sales", *tables: TablePlan, **more: Any) -> Plan:
    written = tables or (TablePlan.describing(CATEGORY, "cassandra"),)
    given = {"topic": "retail.events", "unique_by": "event_id", "watermark_ms": 600_000, "conditions": (),
             "output": "change", "rejects": "count"}  # fmt: skip
    return Plan(**{"job": job, "tables": written} | given | more)


ARCHIVE = TablePlan("events", "hive")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_plan")


def ran(settings: Settings, one: Plan, *, start_ms: int) -> str:
    """What a job's run leaves beside its checkpoint."""
    path = new_epoch(f"{settings.checkpoints}/{one.job}", now_ms=start_ms).path
    write_plan(path, one)
    return path


def promoted(settings: Settings, pipeline: str, one: Plan | None, *, version: int = 1) -> None:
    folder = settings.pipelines / pipeline / f"v{version}"
    folder.mkdir(parents=True)
    content = {} if one is None else {"plan": msgspec.to_builtins(one)}
    if one is not None and one.dedup_horizon_ms is None:
        del content["plan"]["dedup_horizon_ms"]  # TOML has no null
    for table in content.get("plan", {}).get("tables", ()):
        del table["rows"], table["calendar"]
        for figure in table["figures"]:
            del figure["q"]
    (folder / "manifest.toml").write_text(tomli_w.dumps(content))
    (folder.parent / "current.toml").write_text(f"version = {version}\n")


class TestData:
    def test_what_is_written_is_read_and_has_its_version(self, tmp_path: Path) -> None:
        one = plan("sales", conditions=("brand = 'acme'",), dedup_horizon_ms=7, contract=1)
        write_plan(str(tmp_path), one)
        assert json.loads((tmp_path / "plan.json").read_text())["version"] == one.version == 2, (
            "programs of before read plans without rows"
        )
        assert read_plan(str(tmp_path)) == one
        assert read_plan(str(tmp_path / "other")) is None

    def test_one_that_was_written_without_a_version_means_the_same(self, tmp_path: Path) -> None:
        one = plan()
        old = msgspec.to_builtins(one)
        for name in ("version", "contract"):
            del old[name]
        write_note(str(tmp_path), "plan.json", json.dumps(old | {"gone": "a field of before"}).encode())
        assert read_plan(str(tmp_path)) == one
        assert compare(one, read_plan(str(tmp_path)) or plan("other")) == []

    def test_one_of_a_newer_version_is_refused_and_not_guessed_at(self, tmp_path: Path) -> None:
        newer = msgspec.to_builtins(plan()) | {"version": VERSION + 1}
        write_note(str(tmp_path), "plan.json", json.dumps(newer).encode())
        with pytest.raises(JobError, match=f"version {VERSION + 1}"):
            read_plan(str(tmp_path))

    def test_nobody_changes_one(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            plan().job = "other"  # type: ignore[misc]

    def test_another_contract_is_another_epoch(self) -> None:
        (difference,) = compare(plan(), plan(contract=2))
        assert (difference.what, difference.effect.name) == ("contract", "EPOCH")

    def test_a_table_comes_back_with_its_figures(self) -> None:
        assert TablePlan.describing(CATEGORY, "cassandra").table == CATEGORY

    def test_a_figure_of_ones_own_keeps_its_definition_under_a_name_of_ours(self) -> None:
        own = Figure(REVENUE.name, "Gross", sum_of("price  *  quantity"), "purchase")
        back = FigurePlan.describing(own).figure
        assert (back.measure.of, back.where) == ("price * quantity", "purchase")
        assert back != REVENUE
        table = FigureTable("own", (own, EVENTS), ("brand",), (GRAINS["day"],))
        assert TablePlan.describing(table, "hbase").table.figures[1] is EVENTS

    @pytest.mark.parametrize("changed", [{"every": ("fortnight",)}, {"by": ("colour",)}])
    def test_a_table_that_is_not_known_here_is_no_table(self, changed: dict[str, Any]) -> None:
        with pytest.raises((KeyError, UsageError)):
            dataclasses.replace(TablePlan.describing(CATEGORY, "cassandra"), **changed).table  # noqa: B018

    @pytest.mark.parametrize("name", [path.parent.parent.name for path in SHIPPED.glob("*/v1/manifest.toml")])
    def test_shipped_manifests_are_read_and_written_with_the_version(self, name: str) -> None:
        manifest = read_manifest(SHIPPED / name / "v1" / "manifest.toml")
        written = tomllib.loads(manifest.to_toml())
        assert written.get("plan", {}).get("version") == (None if manifest.plan is None else manifest.plan.version)
        assert msgspec.convert(written, type(manifest)) == manifest

    def test_the_layout_of_a_condition_means_nothing_and_a_text_in_it_does(self, settings: Settings) -> None:
        job = Workbench(namespace=settings.namespace_name).job("own")
        events = job.events().where("  brand =\n  'a  b'  AND\tcategory <> \"c  d\" ")
        job.write(events.figures(EVENTS, by=["brand"], every=["1 day"], table="own"), to=Workbench().cassandra)
        assert plan_of(job).conditions == ("brand = 'a  b' AND category <> \"c  d\"",)


class TestFinding:
    def test_there_are_none(self, settings: Settings) -> None:
        assert plans(settings) == []
        assert writer_of(settings, "category") is None
        assert archiver(settings) is None

    def test_of_promoted_jobs_and_of_those_that_ran(self, settings: Settings) -> None:
        promoted(settings, "turnover", plan("takings", conditions=("brand = 'a'",)))
        promoted(settings, "closing", None)
        ran(settings, plan("keeper", ARCHIVE), start_ms=1)
        assert [one.job for one in plans(settings)] == ["keeper", "takings"]
        assert writer_of(settings, "category") == plan("takings", conditions=("brand = 'a'",))
        assert writer_of(settings, "session") is None
        found = archiver(settings)
        assert found is not None and found.archive == ARCHIVE

    def test_the_current_version_of_several(self, settings: Settings) -> None:
        promoted(settings, "turnover", plan("takings"), version=1)
        promoted(settings, "turnover", plan("takings", unique_by="order_id"), version=2)
        assert [one.unique_by for one in plans(settings)] == ["order_id"]

    def test_a_table_belongs_to_who_ran_then_to_who_is_promoted_then_to_the_younger(self, settings: Settings) -> None:
        promoted(settings, "one", plan("one"))
        assert writer_of(settings, "category").job == "one"  # type: ignore[union-attr]
        ran(settings, plan("two"), start_ms=5)
        ran(settings, plan("three"), start_ms=7)
        assert writer_of(settings, "category").job == "three"  # type: ignore[union-attr]
        ran(settings, plan("one"), start_ms=3)
        assert [one.job for one in plans(settings)] == ["one", "three", "two"]

    def test_what_ran_counts_more_than_what_is_promoted(self, settings: Settings) -> None:
        promoted(settings, "sales", plan(watermark_ms=1))
        ran(settings, plan(watermark_ms=2), start_ms=1)
        assert [one.watermark_ms for one in plans(settings)] == [2]

    def test_each_epoch_has_its_own(self, settings: Settings) -> None:
        promoted(settings, "sales", plan(watermark_ms=9))
        ran(settings, plan(watermark_ms=1), start_ms=1)
        ran(settings, plan(watermark_ms=2), start_ms=2)
        new_epoch(f"{settings.checkpoints}/sales", now_ms=3)
        of_epochs = [one.watermark_ms for number in (1, 2, 3) for one in plans(settings, {"sales": number})]
        assert of_epochs == [1, 2, 9], "what was promoted stands for one without a plan"
        assert [one.watermark_ms for one in plans(settings)] == [2], "the third has not run"
        assert [one.job for one in plans(settings, {"other": 1})] == ["sales"], "there is no such job"

    def test_what_can_t_be_read_hides_nothing_else(self, settings: Settings) -> None:
        ran(settings, plan("whole"), start_ms=1)
        write_note(ran(settings, plan("damaged"), start_ms=2), "plan.json", b'{"job": ')
        promoted(settings, "broken", plan("broken"))
        (settings.pipelines / "broken" / "v1" / "manifest.toml").write_text("plan = 1")
        assert [one.job for one in plans(settings)] == ["whole"]


def test_a_table_of_figures_has_a_name_and_is_written_once(settings: Settings) -> None:
    rp = Workbench(namespace=settings.namespace.name)
    job = rp.job("shelf")
    events = job.events()
    for name in ("Shelf-1; drop", "x" * 41, ""):
        with pytest.raises(UsageError, match=f"^'{name}' can't be the name of a table. Use lower-case letters"):
            events.figures(EVENTS, by=["category"], every=["1 day"], table=name)
    shelf = events.figures(EVENTS, by=["category"], every=["1 day"], table="shelf")
    job.write(shelf, to=rp.cassandra)
    with pytest.raises(UsageError, match="The job writes the table 'shelf' of cassandra twice"):
        job.write(shelf, to=rp.cassandra)
