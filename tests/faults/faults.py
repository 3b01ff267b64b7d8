"""What can go wrong, each as something that is done to a shop under load."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from retailpulse_kernel.demo import JOBS
from retailpulse_kernel.stack.services import SERVICES
from tests.faults.evidence import contents
from tests.faults.pipeline import PARTS, PATIENCE, Part
from tests.faults.shop import Shop
from tests.jobs import wait_until

__all__ = ["Fault", "both", "kill_job", "kill_server", "one_of_each", "repeat_last_batches"]

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


def both(one: Fault, other: Fault) -> Fault:
    """Two faults at once."""

    def strike(shop: Shop) -> None:
        one.strike(shop)
        other.strike(shop)

    return Fault(f"{one.name} + {other.name}", strike, one.ends | other.ends)


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


def repeat_last_batches(shop: Shop) -> None:
    """What was committed last was not: each job writes its last batch again, and nothing changes.

    The load is held, and the jobs stopped and started again.
    """
    load, pipeline = shop.load, shop.pipeline
    load.hold()
    moment = datetime.now(UTC) + timedelta(seconds=1)
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


def one_of_each(chance: random.Random, *, absence: float = 60.0) -> list[Fault]:
    """Every fault by itself and pairs of kills, in an order of chance; as many pairs as single ones."""
    kills = [kill_server(name) for name in SERVICES]
    parts: Sequence[Part] = PARTS
    jobs = [kill_job(job, part) for job, part in zip(itertools.cycle(JOBS), parts, strict=False)]
    single = [
        *kills, *jobs,
        down("kafka", absence), down("cassandra", absence), frozen("kafka", absence / 2), frozen("hbase", absence / 2),
        cut_thrift(5), disk_full(),
    ]  # fmt: skip
    anything = [*kills, *(kill_job(job, part) for job in JOBS for part in parts)]
    pairs = [both(*chance.sample(anything, 2)) for _ in single]
    chance.shuffle(single)
    return [fault for couple in zip(single, pairs, strict=True) for fault in couple]
