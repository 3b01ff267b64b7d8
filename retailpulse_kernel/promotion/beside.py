"""A new epoch, made beside the live job: in a namespace of its own, from the live topic, as far as the live job is.

The namespace ``beside_NAME`` also keeps the tables of the epochs that were replaced, for `rollback`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlparse

import filelock
import msgspec

from retailpulse_kernel.errors import JobError
from retailpulse_kernel.events import MAX_AHEAD
from retailpulse_kernel.promotion.moving import Compared, compare_rows, forget
from retailpulse_kernel.promotion.registry import Version
from retailpulse_kernel.running import in_environment, run_notebook
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.hive import HiveStore
from retailpulse_kernel.stores.kafka import KafkaStore
from retailpulse_kernel.streaming.checkpoint import Epoch, committed_batch, find_epoch, new_epoch, read_note, write_note
from retailpulse_kernel.streaming.following import Leader
from retailpulse_kernel.streaming.plan import REVISION, Plan, read_plan, write_plan
from retailpulse_kernel.streaming.writer import writer_lock
from retailpulse_kernel.topics import ensure_topics

__all__ = ["Begin", "behind", "beside_of", "compare_closed", "epoch_folder", "follow", "has_caught_up", "made", "spend"]

_BEGIN = "begin.json"


@dataclass(frozen=True)
class Begin:
    """Where an epoch began to read.

    Attributes
    ----------
    offsets : dict of int to int
        The first of each partition.
    since_ms : int, optional
        From when on it has all events; None where the topic never lost one. Windows before are not its own.
    """

    offsets: dict[int, int]
    since_ms: int | None = None

    @property
    def since(self) -> datetime | None:
        """`since_ms` as a time."""
        return None if self.since_ms is None else datetime.fromtimestamp(self.since_ms / 1000, UTC)


def beside_of(live: Settings) -> Settings:
    """The namespace beside a live one; its jobs read the live topics."""
    return live.within(live.namespace.beside, topics_of=live.namespace.name)


def epoch_folder(epoch: Epoch) -> Path:
    """An epoch's checkpoint as a folder of this machine.

    Raises
    ------
    JobError
        It is not one.
    """
    if urlparse(epoch.path).scheme not in ("", "file"):
        raise JobError(f"The checkpoint {epoch.path} is not on this machine.", remedy="Run this where it is mounted.")
    return Path(epoch.path.removeprefix("file://"))


def made(live: Settings, plan: Plan) -> Epoch | None:
    """The epoch of this plan that is made beside, or None."""
    epoch = find_epoch(f"{beside_of(live).checkpoints}/{plan.job}")
    return epoch if epoch is not None and read_plan(epoch.path) == plan else None


def _begin(live: Settings, plan: Plan) -> Epoch:
    """The epoch to go on with, or a new one in place of what another plan had begun."""
    beside = beside_of(live)
    if (epoch := made(live, plan)) is not None:
        return epoch
    ensure_topics(beside)
    before = find_epoch(f"{beside.checkpoints}/{plan.job}")
    if before is not None and (other := read_plan(before.path)) is not None:
        spend(live, before, other)
    forget(beside, plan, None)
    epoch = new_epoch(f"{beside.checkpoints}/{plan.job}")
    write_note(epoch.path, _BEGIN, msgspec.json.encode(_begin_of(live, plan)))
    write_plan(epoch.path, plan)
    return epoch


def _begin_of(live: Settings, plan: Plan) -> Begin:
    kafka, topic = KafkaStore(live), live.namespace.topic(plan.topic)
    begins = {partition: first for partition, (first, _) in kafka.offsets(topic).items()}
    gone = {partition: first for partition, first in begins.items() if first}
    if not gone:
        return Begin(begins)
    # No event is more than this ahead of the broker's time, so those that are gone are not after these.
    arrivals = {partition: time.time_ns() // 1_000_000 for partition in gone}
    for partition, first in gone.items():
        message = next(iter(kafka.messages(topic, starts={partition: first})), None)
        if message is not None:
            arrivals[partition] = message.arrival_ms
    return Begin(begins, max(arrivals.values()) + MAX_AHEAD // timedelta(milliseconds=1))


def begin_of(epoch: Epoch) -> Begin:
    """Where an epoch began that was made beside."""
    note = read_note(epoch.path, _BEGIN)
    return Begin({}) if note is None else msgspec.json.decode(note, type=Begin)


def spend(live: Settings, epoch: Epoch, plan: Plan) -> None:
    """Remove what was made beside; its number stays taken, so that its accounts are not those of the next one."""
    beside = beside_of(live)
    forget(beside, plan, None)
    if any(table.store == "hive" for table in plan.tables):
        shutil.rmtree(HiveStore(beside).location, ignore_errors=True)
    folder = epoch_folder(epoch)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "epoch.json":
            path.unlink()


def behind(live: Settings, plan: Plan, leader: Epoch) -> int | None:
    """Messages that the live job has committed and the one beside has not; None where they can't be compared."""
    topic = live.namespace.topic(plan.topic)
    epoch, led = made(live, plan), committed_batch(leader.path)
    ends = led.offsets.get(topic) if led else None
    if epoch is None or ends is None:
        return None
    done = committed_batch(epoch.path)
    taken = done.offsets.get(topic, {}) if done else {}
    begin = begin_of(epoch).offsets
    return sum(max(0, end - taken.get(p, begin.get(int(p), 0))) for p, end in ends.items())


def has_caught_up(live: Settings, plan: Plan, leader: Epoch) -> bool:
    """Whether what is beside stands where the live job has stopped."""
    return behind(live, plan, leader) == 0


def last_file(live: Settings, job: str) -> Path:
    """The file that tells whoever follows a job that it has stopped."""
    return live.home / "locks" / f"{live.namespace.name}-{job}.last"


def follow(
    live: Settings, version: Version, leader: Epoch, *, stopped: bool, stop_when: Callable[[], bool] | None = None
) -> None:
    """Make a version's epoch beside, or go on with it, until it has caught up with a live job that has stopped.

    Parameters
    ----------
    version : Version
        Its notebook is run with the parameters that it was promoted with.
    leader : Epoch
        The live job's, whose offsets it follows.
    stopped : bool
        Whether the live job has stopped. Otherwise this goes on until somebody says so, or `stop_when` is true.

    Raises
    ------
    RetailPulseError
        The notebook failed.
    """
    manifest, beside = version.manifest, beside_of(live)
    assert manifest.plan is not None
    last = last_file(live, manifest.plan.job)
    if stopped:
        last.touch()
    else:
        last.unlink(missing_ok=True)
    lock = writer_lock(beside, manifest.plan.job)
    try:
        # Somebody who followed the live job until now ends on seeing the file.
        with lock.acquire(timeout=120):
            _begin(live, manifest.plan)
    except filelock.Timeout:
        raise JobError(f"{manifest.name} is being made beside the live version by another process.") from None
    if stopped and has_caught_up(live, manifest.plan, leader):
        return
    given = {name: text for name, text in manifest.parameters.items() if name != "run_for"}
    folder = live.home / "runs" / beside.namespace.name / manifest.name
    output = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{version.label}.ipynb"
    about = {"pipeline": manifest.name, "version": version.label, "promoted": manifest.promoted}
    told = Leader(leader.path, str(last)).environment() | {REVISION: manifest.plan.revision}
    with in_environment(told):
        run_notebook(beside, version.notebook, given, output=output, about=about, stop_when=stop_when)


def compare_closed(live: Settings, old: Plan, new: Plan, leader: Epoch) -> Compared:
    """What is beside with what is live, in the windows that neither changes any more."""
    epoch = made(live, new)
    if epoch is None:
        return Compared()
    marks = [batch.watermark_ms if batch else 0 for batch in map(committed_batch, (leader.path, epoch.path))]
    until = datetime.fromtimestamp(min(marks) / 1000, UTC)
    return compare_rows(live, beside_of(live), old, new, since=begin_of(epoch).since, until=until)
