"""What a run is told: in one variable, in several of an older runner, or by whoever makes the job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.streaming.checkpoint.following import Leader
from retailpulse_kernel.streaming.run.context import RUN, RunContext, current_context, using_context
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.streaming.run.report import Report

TOLD = RunContext(Leader("/live/e0001", "/locks/last"), "/run/stop", "r2", "shop")


@pytest.mark.parametrize("context", [RunContext(), TOLD, RunContext(revision="r2")])
def test_a_process_reads_the_context_that_another_one_told(context: RunContext) -> None:
    told = context.environment()
    assert list(told) == [RUN]
    assert RunContext.of_environment(told) == context


def test_a_runner_from_before_tells_the_same_in_four_variables() -> None:
    older = {
        "RETAILPULSE_FOLLOW": json.dumps({"checkpoint": "/live/e0001", "last": "/locks/last"}),
        "RETAILPULSE_STOP_FILE": "/run/stop",
        "RETAILPULSE_REVISION": "r2",
        "RETAILPULSE_TOPICS_OF": "shop",
    }
    assert RunContext.of_environment(older) == TOLD
    assert RunContext.of_environment({**older, **RunContext().environment()}) == RunContext()
    assert RunContext.of_environment({}) == RunContext()


def test_a_run_stops_when_its_file_appears(tmp_path: Path) -> None:
    context = RunContext(stop_file=str(tmp_path / "stop"))
    assert not RunContext().stop_asked and not context.stop_asked
    (tmp_path / "stop").touch()
    assert context.stop_asked


def test_a_job_reads_the_topics_that_its_context_names(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path, namespace="beside_shop")
    assert Job("metrics", settings).topic == "beside_shop.retail.events"
    job = Job("metrics", settings, context=RunContext(topics_of="shop"))
    assert job.topic == "shop.retail.events"
    assert job.checkpoints.endswith("/beside_shop/metrics"), "what it writes is its own"


def test_a_job_that_would_write_its_windows_once_is_told_that_there_is_no_such_way_any_more(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path)
    assert Job("metrics", settings, output="change").name == "metrics", "what a notebook of before may say"
    with pytest.raises(UsageError, match=r"at 'close': they are written whenever they change\. Leave `output`"):
        Job("metrics", settings, output="close")  # type: ignore[arg-type]


def test_a_job_runs_by_the_runner_that_was_passed_in(tmp_path: Path) -> None:
    ran: list[str] = []

    def run(job: Job) -> Report:
        ran.append(job.name)
        return Report(job.name, "never_used", 0)

    settings = Settings.load(home=tmp_path, namespace="never_used")
    with using_context(RunContext(revision="r1", run_job=run)):
        job = Job("metrics", settings)
    assert current_context() == RunContext(), "only in the block"
    assert job.run().job == "metrics" and ran == ["metrics"]
    assert job.context.revision == "r1"
