"""What can go wrong, each as something that is done to a shop under load."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from retailpulse_kernel.stack.services import SERVICES
from tests.faults.evidence import contents
from tests.faults.pipeline import PARTS, PATIENCE, Part
from tests.faults.shop import Shop
from tests.jobs import JOBS, wait_until

__all__ = [
    "Fault", "ahead", "at_once", "cut_thrift", "disk_full", "down", "frozen", "grown", "kill_job", "kill_server",
    "last_commits_lost", "poisoned", "replayed_twice", "rounds",
]  # fmt: skip

NO_ROOM = "No space left on device"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes
    ----------
    name : str
        What it is, in a few words.
    strike : callable
        Does it, and returns when it is over; what it broke may still be recovering.
    ends : frozenset of str
        The jobs that it may end, to be started again; all others have to live through it.
    """

    name: str
    strike: Callable[[Shop], None]
    ends: frozenset[str] = frozenset()

    def befall(self, shop: Shop) -> float:
        """Strike, and see everything recover.

        Returns
        -------
        float
            Seconds from the fault's end until every job has committed all that was sent before.
        """
        spared = {job: pid for job, pid in shop.pipeline.pids().items() if job not in self.ends}
        self.strike(shop)
        begin = time.monotonic()
        shop.load.repeat(200)
        shop.pipeline.await_taken(shop.load.acknowledged)
        seconds = time.monotonic() - begin
        ended = [job for job, pid in spared.items() if shop.pipeline.pids()[job] != pid]
        assert not ended, f"{self.name} ended {ended}: {[shop.pipeline.log(job) for job in ended]}"
        return seconds


def kill_server(name: str) -> Fault:
    """kill -9 of a server; the supervisor starts it again."""
    return Fault(f"kill {name}", lambda shop: shop.pipeline.kill_server(name))


def kill_job(job: str, part: Part) -> Fault:
    """kill -9 of a job or a part of it."""
    what = f"kill {job}" if part == "tree" else f"kill {job}'s {part}"
    return Fault(what, lambda shop: shop.pipeline.kill_job(job, part), frozenset({job}))


def at_once(*faults: Fault) -> Fault:
    """Several faults, none waiting for the others' recovery."""

    def strike(shop: Shop) -> None:
        for fault in faults:
            fault.strike(shop)

    return Fault(" + ".join(fault.name for fault in faults), strike, frozenset().union(*(f.ends for f in faults)))


def down(name: str, seconds: float) -> Fault:
    """A server that is killed and stays away for a while."""

    def strike(shop: Shop) -> None:
        with shop.pipeline.down(name):
            time.sleep(seconds)

    return Fault(f"{name} down for {seconds:.0f} s", strike)


def frozen(name: str, seconds: float) -> Fault:
    """A server that answers nothing for a while, but keeps its connections."""

    def strike(shop: Shop) -> None:
        with shop.pipeline.frozen(name):
            time.sleep(seconds)

    return Fault(f"{name} frozen for {seconds:.0f} s", strike)


def cut_thrift(times: int) -> Fault:
    """HBase's Thrift connections are dropped, several times in a row, at any point of a request."""

    def strike(shop: Shop) -> None:
        dropped = 0
        end = time.monotonic() + PATIENCE
        while dropped < times:
            assert time.monotonic() < end, "no job connects to HBase"
            dropped += shop.thrift.cut()
            time.sleep(0.3)

    return Fault(f"{times} Thrift connections dropped", strike)


def disk_full() -> Fault:
    """No room for checkpoints: each job says so, and goes on when there is some."""

    def strike(shop: Shop) -> None:
        pipeline = shop.pipeline
        before = {job: pipeline.said(job, NO_ROOM) for job in JOBS}
        shop.disk.fill()
        try:
            for job in JOBS:
                wait_until(lambda job=job: pipeline.said(job, NO_ROOM) > before[job], f"{job}'s {NO_ROOM!r}", PATIENCE)
        finally:
            shop.disk.make_room()

    return Fault("disk of the checkpoints full", strike, frozenset(JOBS))


def last_commits_lost() -> Fault:
    """The end comes after a batch is written and before it is committed: it is written again, and nothing changes."""
    return Fault("last commits lost", _lose_last_commits, frozenset(JOBS))


def _lose_last_commits(shop: Shop) -> None:
    load, pipeline = shop.load, shop.pipeline
    load.hold()
    moment = datetime.now(UTC)  # not ahead of the broker: an event that is moves the clock only so far
    # The watermark follows the first two; the third moves nothing, so no batch that only frees state comes after it.
    for _ in range(3):
        load.visit_every_partition(moment)
        load.hold()
        pipeline.await_taken(load.acknowledged)
    pipeline.stop()
    before = contents(shop.settings)
    undone = {}
    for job in JOBS:
        assert pipeline.is_data(job), f"the last batch of {job} holds no message"
        batch = pipeline.committed(job)
        assert batch
        undone[job] = batch.batch_id
        (pipeline.checkpoint(job) / "commits" / str(batch.batch_id)).unlink()
    pipeline.start()
    for job, batch_id in undone.items():
        wait_until(
            lambda job=job, batch_id=batch_id: (b := pipeline.committed(job)) is not None and b.batch_id >= batch_id,
            f"{job} to write its batch {batch_id} again; log: {pipeline.log(job)}",
            PATIENCE,
        )
    after = contents(shop.settings)
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"a batch that was written again changed {changed}"
    load.go_on()


def poisoned() -> Fault:
    """Messages of 1 MB that are not events."""
    return Fault("messages of 1 MB", lambda shop: shop.load.poison())


def ahead() -> Fault:
    """A producer whose clock is an hour ahead: its events are bad, and make no others late."""
    return Fault("a clock an hour ahead", lambda shop: shop.load.run_ahead(200))


def grown(partitions: int = 8) -> Fault:
    """The topic gets more partitions, and old events come again in others than before."""
    return Fault(f"topic grown to {partitions} partitions", lambda shop: shop.load.grow(partitions))


def replayed_twice(events: int = 1_000) -> Fault:
    """One file is replayed twice, beside the stream."""
    return Fault("a file replayed twice", lambda shop: shop.load.replay_twice(shop.folder / "events.jsonl", events))


def rounds(chance: random.Random, number: int) -> list[Fault]:
    """Every fault by itself, then pairs of kills as far as there are more rounds, in an order of chance."""
    servers = [kill_server(name) for name, service in SERVICES.items() if not service.beside]
    jobs = [kill_job(job, part) for job, part in zip(itertools.cycle(JOBS), PARTS, strict=False)]
    others = [
        down("kafka", 60), down("cassandra", 60), frozen("kafka", 40), cut_thrift(5), disk_full(), last_commits_lost(),
        poisoned(), ahead(), grown(), replayed_twice(),
    ]  # fmt: skip
    faults = [*servers, *jobs, *others]
    anything = [*servers, *(kill_job(job, part) for job in JOBS for part in PARTS)]
    faults += [at_once(*chance.sample(anything, 2)) for _ in range(number - len(faults))]
    chance.shuffle(faults)
    return faults[:number]
