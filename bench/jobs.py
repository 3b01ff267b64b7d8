"""The product's jobs, whole: their own notebooks, from the topic to the stores, alone and all at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.feed import Feed
from bench.lab import Child, Lab, processor_seconds, wait_until
from bench.results import Timeline
from retailpulse_kernel.demo.jobs import demo_jobs
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Accounts
from retailpulse_kernel.streaming.run.context import RunContext

__all__ = ["JOBS", "Running", "generator", "primed", "run_all", "run_alone", "started"]

#: All that the project ships.
JOBS = demo_jobs()

#: Seconds between the triggers of a job that catches up. A longer interval, such as the archive's own, would only
#: put pauses between full batches.
_TRIGGER = "1s"


class Running:
    """Jobs that run continuously, each in a process of its own, followed by their accounts.

    Attributes
    ----------
    children : dict of str to Child
        The jobs' processes.
    """

    def __init__(self, settings: Settings, stop_file: Path) -> None:
        self.children: dict[str, Child] = {}
        self._stop_file = stop_file
        self._accounts = Accounts(settings)

    def accounts(self, job: str) -> list[Account]:
        """The job's batches so far, by number."""
        self._accounts.poll()
        return sorted((a for a in self._accounts.all() if a.job == job), key=lambda account: account.batch)

    def taken(self, job: str) -> int:
        """How many messages a job has taken."""
        return sum(account.consumed for account in self.accounts(job))

    def wait_for(self, messages: int, *, seconds: float) -> None:
        """Wait until every job has taken so many messages.

        Raises
        ------
        RetailPulseError
            A job failed, or it takes too long.
        """
        wait_until(
            lambda: all(self.taken(job) >= messages for job in self.children),
            list(self.children.values()),
            seconds=seconds,
            what=f"{messages:,} messages in {', '.join(self.children)}",
        )

    def timeline(self, job: str) -> Timeline:
        """How the job went through the topic."""
        marks, done = [], 0
        for account in self.accounts(job):
            done += account.consumed
            marks.append((done, account.finished_ms / 1000))
        child = self.children[job]
        return Timeline(child.started, marks, processor=processor_seconds(child.pid))

    def stop(self) -> None:
        """Let every job finish its batch and end."""
        self._stop_file.touch()
        deadline = time.monotonic() + 30
        while any(child.running for child in self.children.values()) and time.monotonic() < deadline:
            time.sleep(0.1)

    def close(self) -> None:
        """End what is left."""
        for child in self.children.values():
            child.end()
        self._accounts.close()


@contextlib.contextmanager
def started(
    lab: Lab, settings: Settings, jobs: Sequence[str], *, topic: str, trigger: str | None = None, **env: str
) -> Iterator[Running]:
    """Some jobs, run continuously in a namespace until the block ends.

    Parameters
    ----------
    lab : Lab
        Where the benchmark runs.
    settings : Settings
        The namespace that they write to.
    jobs : sequence of str
        Names of shipped jobs.
    topic : str
        What they read.
    trigger : str, optional
        Their trigger interval; each notebook's own when absent.
    **env : str
        More variables of their environment.
    """
    stop_file = lab.folder / f"{settings.namespace.name}.stop"
    stop_file.unlink(missing_ok=True)
    running = Running(settings, stop_file)
    env |= RunContext(stop_file=str(stop_file)).environment()
    given = ["run=continuous", *([f"trigger={trigger}"] if trigger else [])]
    try:
        for job in jobs:
            running.children[job] = lab.python("bench.notebook", job, topic, *given, settings=settings, **env)
        yield running
        running.stop()
    finally:
        running.close()
        stop_file.unlink(missing_ok=True)


def primed(lab: Lab, settings: Settings, running: Running) -> None:
    """Give the jobs some events and wait until each has taken them: from here on they are up."""
    feed = generator(lab, settings, rate=100, seconds=5)
    wait_until(lambda: not feed.running, [feed], seconds=60, what="the first events")
    running.wait_for(500, seconds=600)


def generator(lab: Lab, settings: Settings, *, rate: float, seconds: float) -> Child:
    """Start a shop: real-shaped events in real time, so many a second on average."""
    arguments = ("generate", "--rate", f"{rate:g}", "--seconds", f"{seconds:g}", "--seed", "4")
    return lab.python("retailpulse_kernel.cli", *arguments, settings=settings)


def run_alone(lab: Lab, feed: Feed, job: str, **env: str) -> Timeline:
    """One job alone through the whole topic, its results checked; with more variables in its environment."""
    return _run(lab, feed, [job], **env)[job]


def run_all(lab: Lab, feed: Feed) -> Timeline:
    """All jobs at the same time, each event through all of them.

    The timeline begins when the last job has taken its first batch; what the jobs did is counted as events that went
    through all of them, so that one that is ahead does not count for more.
    """
    return together(list(_run(lab, feed, JOBS).values()), feed.messages)


def together(timelines: Sequence[Timeline], messages: int) -> Timeline:
    """Several jobs' ways through the same messages as one.

    The first mark is when every job has taken its first batch, the last is when every job has taken all. What was
    done by the first mark is the mean of the jobs.
    """
    begin = max(timeline.marks[0][1] for timeline in timelines)
    done = [max(count for count, moment in timeline.marks if moment <= begin) for timeline in timelines]
    end = max(timeline.marks[-1][1] for timeline in timelines)
    started = min(timeline.started for timeline in timelines)
    return Timeline(started, [(round(sum(done) / len(done)), begin), (messages, end)])


def _run(lab: Lab, feed: Feed, jobs: Sequence[str], **env: str) -> dict[str, Timeline]:
    settings = lab.namespace("jobs")
    with started(lab, settings, jobs, topic=feed.topic, trigger=_TRIGGER, **env) as running:
        running.wait_for(feed.messages, seconds=120 + feed.messages / 1_000 * len(jobs))
        timelines = {job: running.timeline(job) for job in jobs}
        accounts = {job: running.accounts(job) for job in jobs}
    for job in jobs:
        _check(feed, accounts[job])
    if "metrics" in jobs:
        _check_figures(settings, accounts["metrics"])
    lab.forget("jobs")
    return timelines


def _check(feed: Feed, accounts: Sequence[Account]) -> None:
    """A rate counts only where every message is accounted for."""
    sums = {name: sum(getattr(a, name) for a in accounts) for name in ("consumed", "accepted", "duplicate", "bad")}
    late = sum(account.late for account in accounts)
    truth = feed.truth
    expected = {"consumed": truth["sent"], "duplicate": truth["duplicates"], "bad": truth["bad"]}
    wrong = {name: (sums[name], value) for name, value in expected.items() if sums[name] != value}
    if wrong or sums["accepted"] + late != truth["accepted"] + truth["late"]:
        raise RetailPulseError(f"{accounts[0].job} did not account for every message: {sums}, late {late}, {truth}.")


def _check_figures(settings: Settings, accounts: Sequence[Account]) -> None:
    store = CassandraStore(settings)
    rows = store.read(CATEGORY, GRAINS["day"])
    store.close()
    accepted = sum(account.accepted for account in accounts)
    if (found := sum(row["events"] for row in rows)) != accepted:
        raise RetailPulseError(f"Cassandra holds {found:,} events, and {accepted:,} were accepted.")
