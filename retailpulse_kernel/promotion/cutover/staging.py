"""The staged epoch: a new epoch in a namespace of its own, which reads the live topic as far as the live job has.

The staging namespace is called ``beside_NAME``. For a rollback it also keeps the tables of replaced epochs.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlparse

import filelock
import msgspec

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import milliseconds, moment_at
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.promotion.cutover.copying import compare_rows, discard_tables
from retailpulse_kernel.promotion.cutover.row_copying import discard_row_tables
from retailpulse_kernel.promotion.cutover.tables import archives
from retailpulse_kernel.promotion.registry.registry import Version
from retailpulse_kernel.shop.comparison import Compared
from retailpulse_kernel.shop.events import MAX_AHEAD
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.registry import event_archive
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, find_epoch, new_epoch
from retailpulse_kernel.streaming.checkpoint.files import read_note, write_note
from retailpulse_kernel.streaming.checkpoint.following import Leader
from retailpulse_kernel.streaming.checkpoint.log import committed_batch
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from retailpulse_kernel.streaming.checkpoint.writer import writer_lock
from retailpulse_kernel.streaming.plan.data import Plan, read_plan, write_plan
from retailpulse_kernel.streaming.run.context import RunContext

__all__ = [
    "Begin",
    "behind",
    "compare_closed",
    "discard",
    "epoch_folder",
    "follow",
    "has_caught_up",
    "staged_epoch",
    "staging_of",
]

_BEGIN = "begin.json"


@dataclass(frozen=True)
class Begin:
    """Where an epoch began to read.

    Attributes
    ----------
    offsets : dict of int to int
        The first offset of each partition of the job's own topic.
    since_ms : int, optional
        The time from which on the epoch has all events; None where no topic ever lost one. Windows before that time
        are not compared and not replaced.
    further : dict of str to dict
        The first offsets of the other topics that the job reads, by topic.
    """

    offsets: dict[int, int]
    since_ms: int | None = None
    further: dict[str, dict[int, int]] = field(default_factory=dict)

    @property
    def since(self) -> datetime | None:
        """`since_ms` as a time."""
        return None if self.since_ms is None else moment_at(self.since_ms)


def staging_of(live: Settings) -> Settings:
    """The staging namespace of a live one; `follow` lets its jobs read the live topics.

    Parameters
    ----------
    live : Settings
        The live namespace.
    """
    return live.within(live.namespace.staging)


def epoch_folder(epoch: Epoch) -> Path:
    """An epoch's checkpoint as a folder of this machine.

    Parameters
    ----------
    epoch : Epoch
        The epoch.

    Raises
    ------
    JobError
        The checkpoint is not on this machine.
    """
    if urlparse(epoch.path).scheme not in ("", "file"):
        raise JobError(f"The checkpoint {epoch.path} is not on this machine.", remedy="Run this where it is mounted.")
    return Path(epoch.path.removeprefix("file://"))


def staged_epoch(live: Settings, plan: Plan) -> Epoch | None:
    """The staged epoch of a plan, or None.

    Parameters
    ----------
    live : Settings
        The live namespace.
    plan : Plan
        The plan; a staged epoch of another plan does not count.
    """
    epoch = find_epoch(f"{staging_of(live).checkpoints}/{plan.job}")
    return epoch if epoch is not None and read_plan(epoch.path) == plan else None


def _begin(live: Settings, plan: Plan) -> Epoch:
    """The staged epoch of the plan, or a new one in place of a staged epoch of another plan."""
    staging = staging_of(live)
    if (epoch := staged_epoch(live, plan)) is not None:
        return epoch
    ensure_topics(staging)
    before = find_epoch(f"{staging.checkpoints}/{plan.job}")
    if before is not None and (other := read_plan(before.path)) is not None:
        discard(live, before, other)
    _discard_tables(staging, plan)
    epoch = new_epoch(f"{staging.checkpoints}/{plan.job}")
    write_note(epoch.path, _BEGIN, msgspec.json.encode(_begin_of(live, plan)))
    write_plan(epoch.path, plan)
    return epoch


def _begin_of(live: Settings, plan: Plan) -> Begin:
    kafka = KafkaStore(live)
    begins = {
        name: {partition: first for partition, (first, _) in kafka.offsets(live.namespace.topic(name)).items()}
        for name in plan.topics
    }
    since = [at for name, firsts in begins.items() if (at := _since_ms(kafka, live.namespace.topic(name), firsts))]
    return Begin(begins.pop(plan.topic), max(since, default=None), begins)


def _since_ms(kafka: KafkaStore, topic: str, begins: dict[int, int]) -> int | None:
    """The time from which on a topic has all events; None where none was ever deleted."""
    gone = {partition: first for partition, first in begins.items() if first}
    if not gone:
        return None
    # No event is more than MAX_AHEAD ahead of the broker's time: no deleted event is later than this.
    arrivals = {partition: time.time_ns() // 1_000_000 for partition in gone}
    for partition, first in gone.items():
        message = next(iter(kafka.messages(topic, starts={partition: first})), None)
        if message is not None:
            arrivals[partition] = message.arrival_ms
    return max(arrivals.values()) + milliseconds(MAX_AHEAD)


def begin_of(epoch: Epoch) -> Begin:
    """Where a staged epoch began to read.

    Parameters
    ----------
    epoch : Epoch
        The staged epoch.
    """
    note = read_note(epoch.path, _BEGIN)
    return Begin({}) if note is None else msgspec.json.decode(note, type=Begin)


def discard(live: Settings, epoch: Epoch, plan: Plan) -> None:
    """Discard a staged epoch. Its number stays taken, so that the next epoch has its own accounts.

    Parameters
    ----------
    live : Settings
        The live namespace.
    epoch : Epoch
        The staged epoch.
    plan : Plan
        The plan that names its tables.
    """
    _discard_tables(staging_of(live), plan)
    folder = epoch_folder(epoch)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "epoch.json":
            path.unlink()


def _discard_tables(staging: Settings, plan: Plan) -> None:
    discard_tables(staging, plan, None)
    discard_row_tables(staging, plan, None)
    if archives(plan):
        shutil.rmtree(event_archive(staging).location, ignore_errors=True)


def behind(live: Settings, plan: Plan, leader: Epoch) -> int | None:
    """Messages that the live job has committed and an output of the staged epoch has not, of the one farthest behind.

    None before both have a batch, and where they read no topic in common.

    Parameters
    ----------
    live : Settings
        The live namespace.
    plan : Plan
        The staged epoch's plan.
    leader : Epoch
        The live job's epoch.
    """
    epoch, led = staged_epoch(live, plan), committed_batch(leader.path)
    known = {topic: live.namespace.topic(topic) for topic in plan.topics}
    ends = {topic: led.offsets[name] for topic, name in known.items() if led is not None and name in led.offsets}
    if epoch is None or not ends:
        return None
    begin = begin_of(epoch)
    begins = begin.further | {plan.topic: begin.offsets}
    left = []
    for output, topics in plan.outputs.items():
        done = committed_batch(checkpoint_of(epoch.path, output), alone=True)
        taken = done.offsets if done is not None else {}
        left.append(sum(
            max(0, end - taken.get(known[topic], {}).get(partition, begins.get(topic, {}).get(int(partition), 0)))
            for topic in topics
            for partition, end in ends.get(topic, {}).items()
        ))  # fmt: skip
    return max(left)


def has_caught_up(live: Settings, plan: Plan, leader: Epoch) -> bool:
    """Whether the staged epoch is at the offsets where the live job has stopped.

    An epoch that reads no topic of the live job's has no such offsets: it has caught up once it has begun.

    Parameters
    ----------
    live : Settings
        The live namespace.
    plan : Plan
        The staged epoch's plan.
    leader : Epoch
        The live job's epoch.
    """
    left, epoch = behind(live, plan, leader), staged_epoch(live, plan)
    if left is None:
        return all(one is not None and committed_batch(one.path) is not None for one in (leader, epoch))
    return left == 0


def last_file(live: Settings, job: str) -> Path:
    """The file that tells the staged epoch that the live job has stopped.

    Parameters
    ----------
    live : Settings
        The live namespace.
    job : str
        The streaming job's name.
    """
    return live.home / "locks" / live.namespace.name / f"{job}.last"


def follow(
    live: Settings, version: Version, leader: Epoch, *, stopped: bool, stop_when: Callable[[], bool] | None = None
) -> None:
    """Stage a version's epoch, or resume its catch-up, until it has caught up with a live job that has stopped.

    Parameters
    ----------
    live : Settings
        The live namespace.
    version : Version
        The version; its notebook is run with the parameters that it was promoted with.
    leader : Epoch
        The live job's epoch, whose offsets the staged epoch follows.
    stopped : bool
        Whether the live job has stopped. Otherwise the catch-up goes on until the live job stops.
    stop_when : callable, optional
        Asked every second or so; once it is true, the catch-up ends too.

    Raises
    ------
    JobError
        Another process stages an epoch of the job.
    RetailPulseError
        The notebook failed.
    """
    manifest, staging = version.manifest, staging_of(live)
    assert manifest.plan is not None
    last = last_file(live, manifest.plan.job)
    if stopped:
        last.touch()
    else:
        last.unlink(missing_ok=True)
    lock = writer_lock(staging, manifest.plan.job)
    try:
        # A process that followed the live job until now ends when it reads the file.
        with lock.acquire(timeout=120):
            _begin(live, manifest.plan)
    except filelock.Timeout:
        raise JobError(f"Another process stages the new epoch of {manifest.name} already.") from None
    if stopped and has_caught_up(live, manifest.plan, leader):
        return
    given = {name: text for name, text in manifest.parameters.items() if name != "run_for"}
    folder = live.home / "runs" / staging.namespace.name / manifest.name
    output = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{version.label}.ipynb"
    about = {"pipeline": manifest.name, "version": version.label, "promoted": manifest.promoted}
    context = RunContext(Leader(leader.path, str(last)), revision=manifest.plan.revision, topics_of=live.namespace.name)
    run_notebook(staging, version.notebook, given, output=output, about=about, stop_when=stop_when, context=context)


def compare_closed(live: Settings, old: Plan, new: Plan, leader: Epoch) -> Compared:
    """Compare the staged epoch with the live one, in windows that neither changes any more.

    Parameters
    ----------
    live : Settings
        The live namespace.
    old, new : Plan
        The live job's plan, and the staged epoch's.
    leader : Epoch
        The live job's epoch.
    """
    epoch = staged_epoch(live, new)
    if epoch is None:
        return Compared()
    marks = [batch.watermark_ms if batch else 0 for batch in map(committed_batch, (leader.path, epoch.path))]
    until = moment_at(min(marks))
    return compare_rows(live, staging_of(live), old, new, since=begin_of(epoch).since, until=until)
