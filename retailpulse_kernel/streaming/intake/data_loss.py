"""Messages that the topic deleted before a job consumed them: checked at the start, and after a failed query."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.spans import moment_at
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.streaming.checkpoint.log import LoggedBatch, logged_batch
from retailpulse_kernel.streaming.checkpoint.losses import (
    Gap,
    accept,
    accepted,
    consumed_offsets,
    gaps_of,
    lost_between,
    open_topic,
)
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from retailpulse_kernel.streaming.plan.finding import archiver

if TYPE_CHECKING:
    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["DataLossCheck", "data_loss_error"]


class DataLossCheck:
    """Checks that the topic still holds all messages that an epoch has not consumed yet.

    Parameters
    ----------
    job : Job
        Its `on_data_loss` says what to do where some are gone.
    epoch : Epoch
        How far the job has come.
    """

    def __init__(self, job: Job, epoch: Epoch) -> None:
        self._job, self._path, self._epoch = job, epoch.path, epoch.number

    def check(self) -> bool:
        """Make sure that the topic is the same, and has all of them; True where gaps were accepted just now.

        Raises
        ------
        JobError
            It is another topic of the same name, or messages are gone and the job is to stop then.
        UsageError
            There is no such topic any more.
        StoreUnavailable
            Kafka does not answer.
        """
        went_on = [self._require(topic) for topic in self._job.topics]
        return any(went_on)

    def _require(self, topic: str) -> bool:
        job, settings = self._job, self._job.settings
        bounds = KafkaStore(settings).offsets(topic)
        topic_id, option = Admin(settings).topic_id(topic), settings.namespace.option
        open_topic(self._path, job.name, topic, topic_id, bounds, option=option)
        known = set(accepted(self._path, topic))
        gaps = [gap for gap in gaps_of(consumed_offsets(self._path, topic), bounds, topic) if gap not in known]
        if not gaps:
            return False
        if job.on_data_loss == "stop":
            keeps = archiver(settings)
            raise data_loss_error(
                read_accounts(settings), job.name, self._epoch, topic, gaps,
                option=option, archiver="" if keeps is None else keeps.job,
            )  # fmt: skip
        accept(self._path, gaps)
        print(f"{time.strftime('%H:%M:%S')} {job.name} goes on behind lost messages: {', '.join(map(str, gaps))}.")
        return True

    def lost(self, batch: LoggedBatch, output: str = "") -> int:
        """How many messages of a batch were gone before it, and are accounted for as lost.

        Parameters
        ----------
        batch : LoggedBatch
            From the offset log of one of the epoch's queries.
        output : str
            Which query's: the name of its output.
        """
        if not accepted(self._path):
            return 0
        before = logged_batch(checkpoint_of(self._path, output), batch.batch_id - 1)
        lost = 0
        for topic, ends in batch.offsets.items():
            starts = before.offsets.get(topic, {}) if before else consumed_offsets(self._path, topic)
            lost += lost_between(accepted(self._path, topic), starts, ends)
        return lost


def data_loss_error(
    accounts: Iterable[Account],
    job: str,
    epoch: int,
    topic: str,
    gaps: Sequence[Gap],
    *,
    option: str = "",
    archiver: str = "",
) -> JobError:
    """What to tell where messages are gone that a job has not taken: which, since when, and what to do.

    Parameters
    ----------
    accounts : iterable of Account
        The namespace's: they say when the job last took a message, and what the archive has.
    job : str
        Its name.
    epoch : int
        The number of the job's epoch.
    topic : str
        Its full name.
    gaps : sequence of Gap
        Those that are not accepted.
    option : str
        The namespace as a command takes it; see `settings.Namespace.option`.
    archiver : str
        The job that keeps single events, where there is one.
    """
    count = sum(gap.messages for gap in gaps)
    arrivals, archived = [], dict[str, int]()
    for account in accounts:
        if (account.job, account.epoch) == (job, epoch) and account.arrived_ms is not None:
            arrivals.append(account.arrived_ms)
        elif account.job == archiver != job:
            archived |= {p: max(end, archived.get(p, 0)) for p, end in account.offsets.get(topic, {}).items()}
    kept = sum(max(0, min(gap.end, archived.get(str(gap.partition), 0)) - gap.start) for gap in gaps)
    since = f" They arrived after {_moment(max(arrivals))}, when the job last took some." if arrivals else ""
    remedy = (
        f"Go on without them and account for them as lost: `retailpulse epochs {job} --accept-loss{option}` once, or "
        "on_data_loss='account' in the job."
    )
    if kept:
        share = "all" if kept == count else f"{kept:,}"
        remedy += (
            f" The archive has {share} of them: once the job has gone on, fill their windows with run=backfill, "
            "source=archive and their times as since and until."
        )
    return JobError(
        f"{count:,} messages are lost: the topic {topic} deleted them before the job {job!r} took them "
        f"({', '.join(map(str, gaps))}).{since}",
        remedy=remedy,
    )


def _moment(ms: int) -> str:
    return f"{moment_at(ms):%Y-%m-%d %H:%M:%S} UTC"
