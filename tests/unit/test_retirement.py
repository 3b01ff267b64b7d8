"""What goes with a retired job, what stays, and that it is found again after a crash; without servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.retirement import retirement_of
from retailpulse_kernel.promotion.cutover.retiring import retire
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.stack.airflow import delete_dag
from retailpulse_kernel.streaming.checkpoint.epochs import jobs_with_checkpoints, new_epoch, remove_checkpoint
from retailpulse_kernel.streaming.checkpoint.files import write_note
from retailpulse_kernel.streaming.checkpoint.writer import writer_lock
from retailpulse_kernel.streaming.plan.data import FigurePlan, Plan, TablePlan, write_plan
from retailpulse_kernel.telemetry.recording import Recorder, folder, forget_role

SALES = TablePlan("sales", "cassandra", ("hour", "day"), ("currency",), (FigurePlan("events", "count", "1", ""),))
USERS = replace(SALES, name="buyer", store="hbase", every=("day",))
PLAN = Plan("sales", "retail.events", "event_id", 600_000, (), "change", "count", (SALES, USERS))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_retirement")


def promoted(settings: Settings, name: str, *plans: Plan | None) -> None:
    source = settings.home / "source.ipynb"
    source.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(), source)
    for number, plan in enumerate(plans, 1):
        kind = "batch" if plan is None else "stream"
        Registry(settings).freeze(source, Manifest(name, number, f"{name}.ipynb", "", kind, "", "", "", plan=plan))


def checkpointed(settings: Settings, plan: Plan) -> None:
    write_plan(new_epoch(f"{settings.checkpoints}/{plan.job}").path, plan)


def tables(settings: Settings, name: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(table.store, table.physical) for table in retirement_of(settings, name).tables]


def test_all_tables_that_a_version_or_an_epoch_wrote_go(settings: Settings) -> None:
    checkpointed(settings, replace(PLAN, tables=(replace(SALES, every=("minute",)),)))
    promoted(settings, "sales", replace(PLAN, tables=(SALES,)), replace(PLAN, tables=(USERS,)))
    found = retirement_of(settings, "sales")
    assert tables(settings, "sales") == [
        ("cassandra", ("sales_hour", "sales_day", "sales_minute")),
        ("hbase", ("buyer_day",)),
    ]
    assert (found.job, found.versions, found.epochs, found.kept) == ("sales", ("v1", "v2"), (1,), ())
    lines = list(found.lines())
    assert "cassandra: sales_hour, sales_day, sales_minute" in lines
    assert "promoted versions: v1, v2; and the DAG sales with its history" in lines


def test_a_table_that_another_job_writes_stays(settings: Settings) -> None:
    promoted(settings, "sales", PLAN)
    promoted(settings, "other", replace(PLAN, job="other", tables=(replace(SALES, every=("day",)),)))
    checkpointed(settings, replace(PLAN, job="by_hand", tables=(USERS,)))
    assert tables(settings, "sales") == [("cassandra", ("sales_hour",))]
    stays = [line for line in retirement_of(settings, "sales").lines() if line.startswith("stays")]
    assert stays == [
        "stays: sales_day, because the job other writes this table too",
        "stays: buyer_day, because the job by_hand writes this table too",
    ]


def test_tables_can_be_kept(settings: Settings) -> None:
    promoted(settings, "sales", PLAN)
    assert retirement_of(settings, "sales", keep_tables=True).tables == ()


def test_a_job_that_was_never_promoted_has_its_checkpoint_s_tables(settings: Settings) -> None:
    checkpointed(settings, PLAN)
    write_note(new_epoch(f"{settings.checkpoints}/sales").path, "kept.json", b"{}")
    found = retirement_of(settings, "sales")
    assert (found.versions, found.epochs, found.kept) == ((), (1, 2), (2,))
    assert tables(settings, "sales") == [("cassandra", ("sales_hour", "sales_day")), ("hbase", ("buyer_day",))]


def test_what_a_killed_retirement_left_is_found_again(settings: Settings) -> None:
    """The checkpoint is gone and nothing is current any more; the versions still tell whose tables those were."""
    promoted(settings, "sales", PLAN)
    Registry(settings).withdraw("sales")
    assert Registry(settings).names() == []
    assert tables(settings, "sales") == [("cassandra", ("sales_hour", "sales_day")), ("hbase", ("buyer_day",))]
    # Killed within the checkpoint.
    checkpointed(settings, PLAN)
    (Path(settings.checkpoints) / "sales" / "e0001" / "epoch.json").unlink()
    assert retirement_of(settings, "sales").epochs == ()


def test_a_name_that_nobody_has_is_refused(settings: Settings) -> None:
    promoted(settings, "sales", PLAN)
    for name in ("sale", "../pipelines", "."):
        with pytest.raises(UnknownName, match="There is no job"):
            retirement_of(settings, name)


def test_a_batch_notebook_goes_without_a_server(settings: Settings) -> None:
    promoted(settings, "report", None)
    promoted(settings, "sales", PLAN)
    recorder = Recorder(settings, "airflow", "report")
    recorder.start()
    recorder.end()
    assert "stays: tables that the notebook writes; no plan names them" in retirement_of(settings, "report").lines()
    said: list[str] = []
    retire(settings, "report", report=said.append)
    assert said[0] == "held: no new run begins" and said[-1] == "pipelines/report removed"
    assert Registry(settings).names() == ["sales"] and not (settings.pipelines / "report").exists()
    assert list((folder(settings) / "t_retirement").iterdir()) == []


def test_a_job_that_is_run_by_hand_is_refused_and_keeps_everything(settings: Settings) -> None:
    checkpointed(settings, PLAN)
    with writer_lock(settings, "sales"), pytest.raises(UsageError, match="'sales' runs in the namespace"):
        retire(settings, "sales")
    assert jobs_with_checkpoints(settings.checkpoints) == ["sales"]


def test_only_the_measurements_of_one_role_go(settings: Settings) -> None:
    for name in ("sales", "sales_too"):
        recorder = Recorder(settings, "job", name)
        recorder.start()
        recorder.end()
    forget_role(settings, "job", "sales")
    left = {path.name.partition(".")[0] for path in (folder(settings) / "t_retirement").iterdir()}
    assert left == {"job-sales_too"}


def test_a_checkpoint_that_is_gone_may_be_removed_again(settings: Settings) -> None:
    checkpointed(settings, PLAN)
    for _ in range(2):
        remove_checkpoint(f"{settings.checkpoints}/sales")
        assert jobs_with_checkpoints(settings.checkpoints) == []


def test_without_an_airflow_there_is_no_history(settings: Settings) -> None:
    assert delete_dag(settings, "sales") is False
