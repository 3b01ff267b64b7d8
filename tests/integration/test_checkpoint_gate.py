"""The checkpoint gate on the real servers: edits of a job's notebook, while the job runs on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.gate.dry_run import dry_run
from retailpulse_kernel.promotion.gate.resume import Verdict, check_checkpoint
from retailpulse_kernel.promotion.gate.shadow import sample_events
from retailpulse_kernel.promotion.gate.trial import Candidate, try_out
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from tests.jobs import JobProcess, consumed, produce, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

EVENTS = "job.events(watermark=watermark, dedup_horizon=dedup_horizon)"
BY = 'by=["currency", "category", "event_type"]'
EVERY = 'every=["1 minute", "1 hour", "1 day"]'
RUN = "job.run()"
#: What no plan shows: the notebook changes the library beneath itself.
PATCH = """import retailpulse_kernel.streaming.sinks.figures as library
before = library.contributions
library.contributions = lambda rows, tables: before(rows.where("price IS NULL OR price < 50"), tables)
job.run()"""

#: An edit: what is replaced by what, the verdict, and words of its reason.
EDITS: dict[str, tuple[str, str, str, str]] = {
    "comment": (RUN, "# nothing else\njob.run()", "resume", "the job computes the same as before"),
    "cells": ("by_category = ", "figures = by_category = ", "resume", "the job computes the same as before"),
    "trigger": ("trigger: timedelta = timedelta(seconds=1)", "trigger: timedelta = timedelta(seconds=5)", "resume", ""),
    "watermark": ("minutes=10", "minutes=5", "resume", "from 10 min to 5 min"),
    "dedup horizon": (
        "dedup_horizon: timedelta | None = None",
        "dedup_horizon: timedelta | None = timedelta(minutes=30)",
        "resume",
        "ids are remembered 30 min behind the watermark instead of 10 min",
    ),
    "last window": (EVERY, 'every=["1 minute", "1 hour"]', "resume", "category_day is no longer written"),
    "rejects": (EVENTS, EVENTS[:-1] + ', rejects="count")', "resume", "only counted"),
    "filter": (EVENTS, EVENTS + ".where(\"currency = 'USD'\")", "new epoch", "the filter changed from none"),
    "added figure": ("    UNITS,\n", "    UNITS,\n    rp.metrics.VIEWS,\n", "new epoch", "views was added"),
    "removed figure": ("    UNITS,\n", "", "new epoch", "units was removed"),
    "order of figures": ("    EVENTS,\n    UNITS,\n", "    UNITS,\n    EVENTS,\n", "new epoch", "another order"),
    "measure": (
        "    UNITS,\n",
        '    rp.metrics.Figure("units", "Units", rp.metrics.sum_of("quantity"), "purchase"),\n',
        "new epoch",
        "units of category is now sum of quantity where purchase",
    ),
    "grouping key": (BY, BY[:-1] + ', "product_id"]', "new epoch", "event_type, product_id: the state can't be reused"),
    "other key of the same type": (BY, BY.replace("category", "product_id"), "new epoch", "currency, product_id"),
    "window length": (EVERY, 'every=["1 hour"]', "new epoch", "from minute, hour, day to hour: the state"),
    "order of windows": (EVERY, 'every=["1 hour", "1 minute", "1 day"]', "new epoch", "another order"),
    "dedup key": (EVENTS, EVENTS[:-1] + ', unique_by="order_id")', "new epoch", "deduplication"),
    "sink table": ('table="category"', 'table="shelf"', "new epoch", "from category to shelf"),
    "sink store": ("to=rp.cassandra", "to=rp.hbase", "new epoch", "moved from cassandra to hbase"),
    "topic": (EVENTS, EVENTS[:-1] + ', topic="retail.events.late")', "new epoch", "the topic changed"),
    "renamed query": ('rp.job("metrics"', 'rp.job("sales"', "new epoch", "renamed from metrics to sales"),
    "added source": (
        EVENTS,
        EVENTS + '\nmore = job.events(topic="retail.events.late")',
        "resume",
        "the job computes the same as before",
    ),
    "absent topic": (EVENTS, EVENTS[:-1] + ', topic="retail.clicks")', "refused", "retail.clicks"),
    "broken filter": (EVENTS, EVENTS + '.where("colour = 1")', "refused", "colour"),
    "broken cell": ("job.write(by", "job.write(buy", "refused", "NameError"),
    "no job": (RUN, "job", "refused", "no job"),
    "hidden filter": (RUN, PATCH, "new epoch", "the same batch gives other figures"),
    "chance": (EVENTS, EVENTS + '.where("rand() < 0.5")', "refused", "rand"),
    "clock": (EVENTS, EVENTS + '.where("event_time < current_timestamp()")', "refused", "current_timestamp"),
    "name of a table": ('table="category"', 'table="Shelf-1; drop"', "refused", "Use lower-case letters"),
    "written twice": (
        RUN,
        "job.write(by_category, to=rp.cassandra)\njob.run()",
        "refused",
        "'category' of cassandra twice",
    ),
    "exit": (RUN, "import sys\nsys.exit()", "refused", "ends the notebook's process"),
}


#: Edits of a job whose sums are in files of its own, and not in Spark's state.
SUMS: dict[str, tuple[str, str, str, str]] = {
    "comment": (RUN, "# nothing else\njob.run()", "resume", "the job computes the same as before"),
    "fewer tables": ("job.write(by_user, to=rp.hbase)", "", "resume", "user is no longer written"),
    "filter": ('rejects="count")', 'rejects="count").where("currency = \'USD\'")', "new epoch", "the filter changed"),
    "added figure": (
        "figures = (EVENTS,",
        'figures = (rp.metrics.Figure("refunds", "Refunds", rp.metrics.count(), "refund"), EVENTS,',
        "new epoch",
        "refunds was added",
    ),
    "added sketch": ("figures = (EVENTS,", "figures = (rp.metrics.ACTIVE_USERS, EVENTS,", "new epoch", "was added"),
}


@pytest.fixture(scope="module")
def live(stack: Settings) -> Iterator[Settings]:
    """A namespace whose job runs while everything else happens."""
    settings = Settings.load(namespace="t_gate_live")
    drop(settings)
    ensure_topics(settings)
    yield settings
    drop(settings)


@pytest.fixture(scope="module")
def shadow(stack: Settings) -> Iterator[Settings]:
    settings = Settings.load(namespace="t_gate_shadow")
    drop(settings)
    ensure_topics(settings)
    yield settings
    drop(settings)


@contextmanager
def running(live: Settings, name: str, log: Path) -> Iterator[JobProcess]:
    """A job that has done three batches more."""
    process = JobProcess(live, name, log)
    try:
        before = sum(end - begin for begin, end in KafkaStore(live).offsets(live.namespace.events_topic).values())
        for part in range(3):
            feed(live, part)
            wait_until(lambda done=before + 600 * (part + 1): consumed(live, name) >= done, "the first batches")
        yield process
    finally:
        process.kill()


def feed(settings: Settings, part: int) -> None:
    generator = Generator(rate=600, seconds=1, seed=part, start=datetime.now(UTC), currencies={"EUR": 0.3})
    produce(settings, [(message.key, message.value) for message in generator.messages()])


def edited(job: str, edits: dict[str, tuple[str, str, str, str]], folder: Path) -> dict[str, Candidate]:
    """A job's notebook with each of some edits."""
    found = {}
    for name, (old, new, *_) in edits.items():
        content = nbformat.read(job_notebook(job), as_version=4)
        places = [cell for cell in content.cells if cell.cell_type == "code" and old in cell.source]
        assert len(places) == 1, f"{name}: {old!r} is in {len(places)} cells"
        places[0].source = places[0].source.replace(old, new)
        content.cells[2].source += "\nimport retailpulse_kernel.shop.figures"
        path = folder / f"{name.replace(' ', '_')}.ipynb"
        nbformat.write(content, path)
        found[name] = Candidate(str(path))
    return found


def hashes(folder: str) -> dict[str, str]:
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def at_rest(folder: str, seen: list[dict[str, str]]) -> bool:
    """Whether a job without new messages has also done its batch without messages: nothing moves any more."""
    seen.append(hashes(folder))
    return len(seen) > 8 and all(one == seen[-1] for one in seen[-8:])


def judged(live: Settings, shadow: Settings, job: str, candidates: dict[str, Candidate], log: Path) -> list[Verdict]:
    """All edits judged in one process; the job beside it goes on, and its checkpoint is as it was."""
    with running(live, job, log) as beside:
        epoch = find_epoch(f"{live.checkpoints}/{job}")
        assert epoch is not None
        seen: list[dict[str, str]] = []
        wait_until(lambda: at_rest(epoch.path, seen), "the end of the live job's last batch")
        before = seen[-1]
        baseline = Candidate(str(job_notebook(job)))
        found = check_checkpoint(live, shadow, job, list(candidates.values()), baseline=baseline)
        assert hashes(epoch.path) == before, "the live checkpoint is byte for byte what it was"
        assert beside.process.poll() is None
        taken = consumed(live, job)
        feed(live, 9)
        wait_until(lambda: consumed(live, job) >= taken + 600, "the live job's next batch")
        return found


@pytest.fixture(scope="module")
def verdicts(live: Settings, shadow: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    folder = tmp_path_factory.mktemp("edits")
    candidates = edited("metrics", EDITS, folder)
    return dict(zip(EDITS, judged(live, shadow, "metrics", candidates, folder / "job.log"), strict=True))


@pytest.fixture(scope="module")
def of_sums(live: Settings, shadow: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    folder = tmp_path_factory.mktemp("sums")
    candidates = edited("engagement", SUMS, folder)
    return dict(zip(SUMS, judged(live, shadow, "engagement", candidates, folder / "job.log"), strict=True))


def assert_as_expected(verdict: Verdict, edit: tuple[str, str, str, str]) -> None:
    *_, outcome, words = edit
    assert verdict.outcome == outcome, verdict
    assert words in "; ".join(verdict.reasons), verdict


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_gets_its_verdict(verdicts: dict[str, Verdict], name: str) -> None:
    assert_as_expected(verdicts[name], EDITS[name])


#: After these the job can't go on from the checkpoint; after all others it does, rightly or not.
STATE = {"added figure", "removed figure", "topic"}


def test_what_would_have_been_mixed_is_seen(verdicts: dict[str, Verdict]) -> None:
    """The job goes on from most of them: only the comparison keeps their figures apart."""
    epochs = {name for name, (*_, outcome, _) in EDITS.items() if outcome == "new epoch"}
    assert {
        name for name in epochs if verdicts[name].evidence[1:] == ("on an empty checkpoint: the job runs",)
    } == STATE
    able = {name for name, (*_, outcome, _) in EDITS.items() if outcome != "refused"} - STATE
    assert {name for name in able if "the job runs, " in verdicts[name].evidence[0]} == able
    assert (len(able), len(able & epochs)) == (20, 12)


def test_the_same_batch_gives_the_same_rows(verdicts: dict[str, Verdict]) -> None:
    for name in ("comment", "cells", "trigger", "rejects"):
        assert "rows equal those of the live version" in verdicts[name].evidence[1], (name, verdicts[name])


def test_a_cell_that_ends_the_process_is_named(shadow: Settings, tmp_path: Path) -> None:
    (candidate,) = edited("metrics", {"exit": (RUN, "import os\nos._exit(0)", "", "")}, tmp_path).values()
    with pytest.raises(JobError, match=r"^Cell 5 ended the trial's process, with the exit code 0\. Remove what ends"):
        try_out(shadow, [candidate])


def test_what_a_sample_does_not_show_is_said(
    verdicts: dict[str, Verdict], live: Settings, shadow: Settings, tmp_path: Path
) -> None:
    """A filter that nothing meets, and events that only a continuous run calls late."""
    plan = verdicts["filter"].plan
    assert plan is not None
    condition = "currency = 'XXX'"
    edit = (EVENTS, f'{EVENTS}.where("{condition}")', "", "")
    (candidate,) = edited("metrics", {"nothing": edit}, tmp_path).values()
    copied = {plan.topic: sample_events(live, shadow, plan.topic, limit=500), "payments": 7}
    there = replace(plan, conditions=(condition,), watermark_ms=0)
    given = {"run": "available_now", "watermark": "0s"}
    steps = {step.name: step for step in dry_run(live, shadow, Path(candidate.notebook), given, there, copied=copied)}
    assert all(step.ok for step in steps.values()), steps
    assert steps["dry run"].found.startswith(" and ".join(f"{n} messages of {t}" for t, n in copied.items()))
    assert "0 rows in category_minute, category_hour, category_day: no event" in steps["tables"].found
    assert steps["tables"].verdict == steps["lateness"].verdict == "warning"
    assert re.fullmatch(
        r"with a watermark of 0 s, a continuous run would call [\d,]+ of the sample's [\d,]+ events late",
        steps["lateness"].found,
    )


@pytest.mark.parametrize("name", SUMS)
def test_an_edit_of_a_job_with_sums_gets_its_verdict(of_sums: dict[str, Verdict], name: str) -> None:
    assert_as_expected(of_sums[name], SUMS[name])


def test_sums_are_set_back_with_the_copy(of_sums: dict[str, Verdict]) -> None:
    """The same batch gives the same rows; sums of other figures are none to go on from."""
    assert "rows equal those of the live version" in of_sums["comment"].evidence[1], of_sums["comment"]
    assert of_sums["added figure"].evidence[1:] == ("on an empty checkpoint: the job runs",), of_sums["added figure"]
