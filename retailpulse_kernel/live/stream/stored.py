"""The stored figures, each row with the micro-batch that wrote it.

A row's write timestamp is made of its job's epoch and batch (`stores.base.version_of`), and the
batch's account says up to which offset the batch read. So of a stored row it is known exactly
which messages are in it, though rows and accounts are not written at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from retailpulse_kernel.answers.corrected import additions
from retailpulse_kernel.ground.errors import JobError, NoSuchTable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.stream.corrections import Addition
from retailpulse_kernel.live.stream.tail import ADDITIVE, Key, Parts
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.tables import CATEGORY, CORRECTED_AT, GRAINS, Grain
from retailpulse_kernel.stores.registry import serving_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Accounts
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.plan.finding import writer_of

__all__ = ["Batches", "Followed", "Offsets", "Rows", "StoredFigures", "VersionedRow"]

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


class StoredFigures:
    """The table `CATEGORY` in the store that serves the figures."""

    def __init__(self, settings: Settings) -> None:
        self._store = serving_store(settings)
        self._calendar = contract_of(settings).shop.calendar
        self._table = CATEGORY.within(self._calendar)

    def rows(self, grain: Grain, since: int, until: int) -> Rows:
        """The rows of the windows that start in ``[since, until)``, epoch seconds; none where there is no table yet.

        Parameters
        ----------
        grain : Grain
            The windows' length.
        since, until : int
            Seconds since 1970.
        """
        grain = grain.within(self._calendar)
        first, last = (datetime.fromtimestamp(moment, UTC) for moment in (since, until))
        try:
            found = self._store.read_versions(self._table, grain, since=first, until=last, figures=ADDITIVE)
        except NoSuchTable:
            return []
        return [
            VersionedRow(
                int(row[grain.name].timestamp()),
                tuple(row[name] for name in CATEGORY.by),
                tuple(row[figure.name] for figure in ADDITIVE),
                version,
            )
            for row, version in found
        ]

    def additions(self, grain: Grain, since: int, until: int) -> list[Addition]:
        """What late events added to the windows that start in ``[since, until)``; none where no correction has run.

        Parameters
        ----------
        grain : Grain
            The windows' length.
        since, until : int
            Seconds since 1970, on starts of such windows.
        """
        grain = grain.within(self._calendar)
        first, last = (datetime.fromtimestamp(moment, UTC) for moment in (since, until))
        found = additions(
            self._store, self._table, since=first, until=last, grain=grain, figures=ADDITIVE, by=CATEGORY.by
        )
        return [
            Addition(
                int(row["bucket"].timestamp()),
                tuple(row[name] for name in CATEGORY.by),
                tuple(row[figure.name] for figure in ADDITIVE),
                int(row[CORRECTED_AT.name].timestamp()),
            )
            for row in found
        ]

    def hour_of(self, moment: int) -> int:
        """The start of the hour that a moment lies in, epoch seconds; it may be at any minute of UTC's.

        Parameters
        ----------
        moment : int
            Seconds since 1970.
        """
        hour = GRAINS["hour"].within(self._calendar)
        return int(hour.start(datetime.fromtimestamp(moment, UTC)).timestamp())

    def newest_hour(self) -> int | None:
        """The start of the newest hour that has figures, in epoch seconds."""
        _, hour, day = self._table.every
        try:
            days = self._store.read(self._table, day, figures=ADDITIVE[:1], by=())
            if not days:
                return None
            newest = max(row["day"] for row in days)
            hours = self._store.read(
                self._table, hour, since=newest, until=day.end(newest), figures=ADDITIVE[:1], by=()
            )
        except NoSuchTable:
            return None
        return int(max([row["hour"] for row in hours], default=newest).timestamp())

    def close(self) -> None:
        """Close the connection."""
        self._store.close()


@dataclass
class Batches:
    """The accounts of the job that writes the stored figures.

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
        """Take an account of the epoch that was opened at `start_ms`.

        Parameters
        ----------
        account : Account
            Of one batch.
        start_ms : int
            When the account's epoch was opened, milliseconds since 1970.
        """
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
        """Where a batch of the epoch ended, the newest when none is named, by partition.

        Parameters
        ----------
        number : int, optional
            The batch's.
        """
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
            As the store has it.
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
    """Reads the accounts of a namespace as they come, those of the job that writes `CATEGORY` into its `Batches`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._accounts = Accounts(settings)
        self._known: set[str] = set()
        self._job = ""
        self.batches = Batches(settings.namespace.events_topic)

    def all(self) -> list[Account]:
        """Every account of the job so far; nothing is shown before they are known."""
        return self._take(self._accounts.catch_up())

    def poll(self) -> list[Account]:
        """The job's accounts since the last call."""
        return self._take(self._accounts.poll(0.02))

    def _take(self, accounts: Iterable[Account]) -> list[Account]:
        accounts = list(accounts)
        if unknown := {account.job for account in accounts} - self._known:
            # One of them may write the figures from now on: the job was renamed, or is the first.
            self._known |= unknown
            plan = writer_of(self._settings, CATEGORY.name)
            if plan is not None and plan.job != self._job:
                self._job, self.batches = plan.job, Batches(self.batches.topic)
                accounts = self._accounts.all()
        new = [account for account in accounts if account.job == self._job]
        for account in new:
            self.batches.add(account, account.start_ms or self._epoch_start())
        return new

    def _epoch_start(self) -> int:
        """What an account of an older version does not say."""
        try:
            epoch = find_epoch(f"{self._settings.checkpoints}/{self._job}")
        except (OSError, pa.ArrowException, JobError):
            return 0  # the checkpoint can't be reached from here
        return 0 if epoch is None else epoch.start_ms

    def close(self) -> None:
        """Leave Kafka."""
        self._accounts.close()
