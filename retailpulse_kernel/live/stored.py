"""The stored figures, each row with the micro-batch that wrote it.

A row's write timestamp is made of its job's epoch and batch (`stores.base.version_of`), and the
batch's account says up to which offset the batch read. So of a stored row it is known exactly
which messages are in it, though rows and accounts are not written at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import pyarrow as pa

from retailpulse_kernel.errors import JobError, NoSuchTable
from retailpulse_kernel.live.tail import ADDITIVE, Key, Parts
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.base import buckets
from retailpulse_kernel.stores.cassandra import CassandraStore
from retailpulse_kernel.streaming.accounts import Account, Accounts
from retailpulse_kernel.streaming.checkpoint import find_epoch
from retailpulse_kernel.tables import CATEGORY, GRAINS, Grain

__all__ = ["Batches", "Followed", "Offsets", "Rows", "StoredFigures", "StoredRows", "VersionedRow"]

_JOB = "metrics"
#: A batch that is being written is the next or the one after; a backfill's version is far ahead.
_UNDER_WAY = 1_000


@dataclass(frozen=True)
class VersionedRow:
    """A stored row: the start of its window in epoch seconds, its key, its figures, its write version."""

    window: int
    key: Key
    parts: Parts
    version: int


Rows = list[VersionedRow]

Offsets = dict[int, int]
"""The next offset by partition."""


class StoredRows(Protocol):
    """Where stored rows come from; `StoredFigures` are Cassandra's."""

    def rows(self, grain: Grain, since: int, until: int) -> Rows:
        """The rows of the windows that start in ``[since, until)``, epoch seconds."""


class StoredFigures:
    """The table `CATEGORY` in Cassandra."""

    def __init__(self, settings: Settings) -> None:
        self._store = CassandraStore(settings)

    def rows(self, grain: Grain, since: int, until: int) -> Rows:
        """The rows of some windows; none where there is no table yet."""
        try:
            return list(self._read(grain, since, until))
        except NoSuchTable:
            return []

    def _read(self, grain: Grain, since: int, until: int) -> Iterator[VersionedRow]:
        bucket = GRAINS[grain.bucket]
        names = [figure.name for figure in ADDITIVE]
        cql = (
            f"select {', '.join((*CATEGORY.key_columns(grain), *names))}, writetime({names[0]}) "
            f"from {CATEGORY.physical(grain)} "
            f"where {bucket.name} = :bucket and {grain.name} >= :since and {grain.name} < :until"
        )
        first, last = (datetime.fromtimestamp(moment, UTC) for moment in (since, until))
        for start in buckets(grain, first, last):
            at = {"bucket": start.date() if bucket.name == "day" else start, "since": first, "until": last}
            frame = self._store.query(cql, at)
            keys = 1 + len(CATEGORY.by)
            for window, *values in frame.itertuples(index=False, name=None):
                yield VersionedRow(
                    int(window.timestamp()),
                    tuple(values[: keys - 1]),
                    tuple(value if figure.unit == "currency" else int(value) for figure, value in
                          zip(ADDITIVE, values[keys - 1 : -1], strict=True)),
                    int(values[-1]) // 1000,
                )  # fmt: skip

    def newest_hour(self) -> int | None:
        """The start of the newest hour that has figures, in epoch seconds."""
        day, hour = GRAINS["day"], GRAINS["hour"]
        try:
            days = self._store.read(CATEGORY, day, figures=ADDITIVE[:1], by=())
            if not days:
                return None
            newest = max(row["day"] for row in days)
            hours = self._store.read(
                CATEGORY, hour, since=newest, until=newest + day.width, figures=ADDITIVE[:1], by=()
            )
        except NoSuchTable:
            return None
        return int(max([row["hour"] for row in hours], default=newest).timestamp())

    def close(self) -> None:
        """Close the connection."""
        self._store.close()


@dataclass
class Batches:
    """The accounts of the job "metrics".

    Attributes
    ----------
    topic : str
        The events' topic.
    start_ms : int
        When the job's present epoch was opened; 0 while the job never ran.
    newest : Account, optional
        Of the epoch's newest batch.
    before : dict
        How far the epochs before had come, by partition: what they wrote stays until it is written anew.
    """

    topic: str
    start_ms: int = 0
    newest: Account | None = None
    before: Offsets = field(default_factory=dict)
    _by_number: dict[int, Account] = field(default_factory=dict)

    def add(self, account: Account, start_ms: int) -> None:
        """Take an account of the epoch that was opened at `start_ms`."""
        if self.newest is None or account.epoch > self.newest.epoch:
            self.before = _farther(self.before, self.offsets())
            self.start_ms, self.newest = start_ms, account
            self._by_number.clear()
        elif account.epoch < self.newest.epoch:
            return
        self._by_number[account.batch] = account
        if account.batch >= self.newest.batch:
            self.newest = account
        for old in [number for number in self._by_number if number < self.newest.batch - _UNDER_WAY]:
            del self._by_number[old]

    @property
    def number(self) -> int:
        """The newest batch; -1 before the first."""
        return -1 if self.newest is None else self.newest.batch

    def offsets(self, number: int | None = None) -> Offsets:
        """Where a batch of the epoch ended, the newest when none is named, by partition."""
        account = self.newest if number is None else self._by_number.get(number)
        return {} if account is None else {int(p): end for p, end in account.offsets.get(self.topic, {}).items()}

    def reached(self) -> Offsets:
        """Which messages are in those stored rows that are not being written just now."""
        return _farther(self.before, self.offsets())

    def of(self, row: VersionedRow, read_at: int, reached: Offsets) -> Offsets | None:
        """Which messages are in a row; None while the batch that wrote it has no account yet.

        Parameters
        ----------
        row : VersionedRow
        read_at : int
            `number` before the row was read.
        reached : dict
            `reached` before the row was read.
        """
        if self.newest is None:  # the job's first batch is being written
            return None
        if row.version < self.start_ms:  # written by an epoch before this one
            return reached
        number = row.version - self.start_ms
        # The version of a closed window that a backfill wrote is a time: no batch is so far ahead.
        if number <= read_at or number > max(self.number, read_at) + _UNDER_WAY:
            return reached if number > read_at else self.offsets(read_at)
        return self.offsets(number) if number in self._by_number else None


def _farther(one: Mapping[int, int], other: Mapping[int, int]) -> Offsets:
    return {p: max(one.get(p, 0), other.get(p, 0)) for p in one.keys() | other.keys()}


class Followed:
    """Reads the accounts of a namespace as they come into its `Batches`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._accounts = Accounts(settings)
        self.batches = Batches(settings.namespace.events_topic)

    def all(self) -> list[Account]:
        """Every account of the job so far; nothing is shown before they are known."""
        return self._take(self._accounts.catch_up())

    def poll(self) -> list[Account]:
        """The job's accounts since the last call."""
        return self._take(self._accounts.poll(0.02))

    def _take(self, accounts: Iterable[Account]) -> list[Account]:
        new = [account for account in accounts if account.job == _JOB]
        for account in new:
            self.batches.add(account, account.start_ms or self._epoch_start())
        return new

    def _epoch_start(self) -> int:
        """What an account of an older version does not say."""
        try:
            epoch = find_epoch(f"{self._settings.checkpoints}/{_JOB}")
        except (OSError, pa.ArrowException, JobError):
            return 0  # the checkpoint can't be reached from here
        return 0 if epoch is None else epoch.start_ms

    def close(self) -> None:
        """Leave Kafka."""
        self._accounts.close()
