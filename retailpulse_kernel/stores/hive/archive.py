"""The archive's files: what their names say, how a micro-batch is put in place, how they are read.

Every hour of event time is a folder, ``dt=2026-01-31/hour=10``. A micro-batch leaves
``e0001-b000000017-000.parquet`` there (epoch, batch, part); compaction merges the batches 0 to 239
of an epoch into ``e0001-m000000000-000000239.parquet``. A merged file stands for every file of its
batches: where a name shows that two files hold the same rows, only the merged one is read.
"""

from __future__ import annotations

import errno
import functools
import operator
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from retailpulse_kernel.ground.errors import JobError, UnknownName, UsageError
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.types import arrow_type, sql_type
from retailpulse_kernel.stores.figure_rows import PATHS, Only

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARCHIVE_COLUMNS", "Archive", "ArchiveFile", "Staged", "archive_columns", "arrow_schema", "start_of"]

#: Columns beside those of an event, in Hive's types.
_BESIDE = {
    "late": "boolean",
    "kafka_partition": "int",
    "kafka_offset": "bigint",
    "arrival": "timestamp",
    "raw": "string",
}


def archive_columns(contract: Contract) -> dict[str, str]:
    """The archive's columns, in Hive's types; the shop's own stand behind all others.

    Parameters
    ----------
    contract : Contract
        What an event holds.
    """
    standard, own = (
        {field.name: sql_type(field.type) for field in contract.columns if field.is_own is own} for own in (False, True)
    )
    return {**standard, **_BESIDE, **own}


#: The columns of an archive of the shipped contract.
ARCHIVE_COLUMNS = archive_columns(shipped())

_NAME = re.compile(r"e(\d{4,})-(?:b(\d{9,})-\d{3,}|m(\d{9,})-(\d{9,}))\.parquet")
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Staged:
    """A micro-batch's files that are written and not in the archive yet.

    Attributes
    ----------
    epoch, batch : int
        Which batch.
    rows : int
        How many events they hold.
    partitions : frozenset of str
        Where they go, as ``dt=2026-01-31/hour=10``.
    """

    epoch: int
    batch: int
    rows: int
    partitions: frozenset[str]


@dataclass(frozen=True, order=True)
class ArchiveFile:
    """A file of the archive, by its name.

    Attributes
    ----------
    epoch : int
        The epoch of the job that wrote it.
    first, last : int
        The batches it holds.
    merged : bool
        Whether compaction made it.
    path : Path
        Where it is.
    """

    epoch: int
    first: int
    last: int
    merged: bool
    path: Path

    @classmethod
    def of(cls, path: Path) -> ArchiveFile | None:
        """What a file's name says; None for a file that the archive's job did not write.

        Parameters
        ----------
        path : Path
            Only its last part is looked at.
        """
        match = _NAME.fullmatch(path.name)
        if match is None:
            return None
        epoch, batch, first, last = match.groups()
        return cls(int(epoch), int(batch or first), int(batch or last), batch is None, path)

    @staticmethod
    def merged_name(epoch: int, first: int, last: int) -> str:
        """The name of the file that stands for some batches of an epoch.

        >>> ArchiveFile.merged_name(1, 0, 239)
        'e0001-m000000000-000000239.parquet'

        Parameters
        ----------
        epoch : int
            Their epoch's number.
        first, last : int
            The numbers of the first batch and of the last one.
        """
        return f"e{epoch:04d}-m{first:09d}-{last:09d}.parquet"

    def stands_for(self, other: ArchiveFile) -> bool:
        """Whether this file holds all rows of the other one, which is about to go.

        Parameters
        ----------
        other : ArchiveFile
            A file of the same hour.
        """
        return (
            self.merged
            and self.epoch == other.epoch
            and self.first <= other.first
            and other.last <= self.last
            and self.path.name != other.path.name
        )


class Archive:
    """The folder of the archive's files.

    Parameters
    ----------
    root : Path
        The folder that holds ``dt=…/hour=…``.
    contract : Contract, optional
        What an event holds; the shipped one when absent. A column that a file does not have is null.
    """

    def __init__(self, root: Path, contract: Contract | None = None) -> None:
        self.root = root
        self.contract = shipped() if contract is None else contract
        #: Held while files of finished batches are replaced. The job, which adds files, takes no lock.
        self.lock = filelock.FileLock(root / ".maintenance.lock")
        self._put: tuple[int, int] | None = None

    # -- files ------------------------------------------------------------------------------

    def partitions(self, since: datetime | None = None, until: datetime | None = None) -> list[Path]:
        """The folders of the hours that may hold events of ``[since, until)``, in order.

        Parameters
        ----------
        since, until : datetime, optional
            The range of event time; None is not a bound.
        """
        return [
            folder
            for folder in sorted(self.root.glob("dt=????-??-??/hour=*"), key=start_of)
            if (until is None or start_of(folder) < until) and (since is None or start_of(folder) + _HOUR > since)
        ]

    def files(self, partition: Path) -> list[Path]:
        """The files of an hour whose rows count, each row once, also while compaction runs.

        Parameters
        ----------
        partition : Path
            The hour's folder.
        """
        names = _names(partition)
        # A folder that changes while it is listed may show neither the old name nor the new one.
        while (again := _names(partition)) != names:
            names = again
        paths = [partition / name for name in sorted(names)]
        known = [file for path in paths if (file := ArchiveFile.of(path))]
        merged = [file for file in known if file.merged]
        gone = {file.path for file in known if any(other.stands_for(file) for other in merged)}
        return [path for path in paths if path not in gone]

    def batches(self, partition: Path) -> list[ArchiveFile]:
        """The files of an hour that the job or compaction wrote, in the order of their batches.

        Parameters
        ----------
        partition : Path
            The hour's folder.
        """
        return sorted(file for path in self.files(partition) if (file := ArchiveFile.of(path)))

    # -- writing ----------------------------------------------------------------------------

    def staging(self, epoch: int, batch: int) -> Path:
        """An empty place, which no reader looks at, for the files of a micro-batch.

        Parameters
        ----------
        epoch, batch : int
            The micro-batch's numbers.
        """
        # Hive and Spark skip names that start with '_' or '.'.
        folder = self.root / f"_staging-{_prefix(epoch, batch)}"
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def put(self, epoch: int, batch: int) -> None:
        """Move the staged files of a micro-batch in, in place of those it left before; nothing if they are in.

        Parameters
        ----------
        epoch, batch : int
            The micro-batch's numbers.

        Raises
        ------
        JobError
            Compaction took this batch for finished: the checkpoint is an older copy.
        """
        prefix = _prefix(epoch, batch)
        staging = self.root / f"_staging-{prefix}"
        if not staging.is_dir():
            return
        # Only the first batch of a process, or one that is tried again, can have been here before.
        if self._put is None or self._put[0] != epoch or batch <= self._put[1]:
            self._discard(epoch, batch)
        self._put = (epoch, batch)
        for number, part in enumerate(sorted(staging.glob("dt=*/hour=*/*.parquet"))):
            partition = part.parent.relative_to(staging)
            target = self.root / partition
            target.mkdir(parents=True, exist_ok=True)
            part.rename(target / f"{prefix}{number:03d}.parquet")
        shutil.rmtree(staging)

    def take_in(self, folder: Path, epoch: int) -> tuple[int, set[str]]:
        """Link the files of a folder of the same form in, as those of an epoch; their number and partitions.

        Parameters
        ----------
        folder : Path
            On the same file system.
        epoch : int
            The number that the files get.
        """
        partitions, number = set(), 0
        for partition in Archive(folder).partitions():
            target = self.root / partition.relative_to(folder)
            target.mkdir(parents=True, exist_ok=True)
            for file in Archive(folder).batches(partition):
                path = target / file.path.name.replace(f"e{file.epoch:04d}-", f"e{epoch:04d}-", 1)
                if not path.exists():
                    path.hardlink_to(file.path)
                number += 1
            partitions.add(str(partition.relative_to(folder)))
        return number, partitions

    def _discard(self, epoch: int, batch: int) -> None:
        """Remove the files that a batch left before."""
        for path in self.root.glob(f"dt=*/hour=*/e{epoch:04d}-*.parquet"):
            file = ArchiveFile.of(path)
            if file is None or not file.first <= batch <= file.last:
                continue
            if file.merged:
                raise JobError(
                    f"The archive holds batch {batch} of epoch {epoch} already, merged into {path.name}.",
                    remedy="The checkpoint is older than the archive: start the job with a new epoch.",
                )
            path.unlink()

    # -- reading ----------------------------------------------------------------------------

    def record_batches(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        late: bool | None = None,
        only: Only | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """See `HiveStore.record_batches`.

        Parameters
        ----------
        since, until : datetime, optional
            The range of event time, without its end, UTC unless it has a zone; None is not a bound.
        columns : sequence of str, optional
            Some of `archive_columns`; all but ``raw`` when absent.
        late : bool, optional
            Only late events, or only those that were in time; both when absent.
        only : Only, optional
            The values that are wanted of some of `columns`; None is any.

        Raises
        ------
        UnknownName
            The archive has no such column.
        """
        import pyarrow.dataset as ds

        since, until = _utc(since), _utc(until)
        wanted = arrow_schema(columns, self.contract).names
        schema = arrow_schema(tuple(archive_columns(self.contract)), self.contract)
        # Spark writes times as INT96, which has no zone: Spark, Hive and this package all mean UTC.
        form = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(coerce_int96_timestamp_unit="us"))
        for partition in self.partitions(since, until):
            condition = _condition(start_of(partition), since, until, late, only)
            with ExitStack() as stack:
                fragments = [form.make_fragment(file) for file in self._opened(partition, stack)]
                dataset = ds.FileSystemDataset(fragments, schema, form)
                for batch in dataset.to_batches(columns=wanted, filter=condition):
                    if batch.num_rows:
                        yield batch

    def _opened(self, partition: Path, stack: ExitStack) -> list[pa.NativeFile]:
        """The files of an hour, all open: what compaction removes from now on can still be read."""
        import pyarrow as pa

        while True:
            attempt = ExitStack()
            try:
                files = [attempt.enter_context(pa.OSFile(str(path))) for path in self.files(partition)]
            except FileNotFoundError:  # removed since it was listed: what stands for it is there
                attempt.close()
                continue
            except OSError as error:
                attempt.close()
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                raise UsageError(
                    f"{partition} has more files than this process may open.",
                    remedy="Merge them with `rp.hive.compact()`; production runs notebooks/batch/compact.ipynb hourly.",
                ) from error
            stack.push(attempt)
            return files


def arrow_schema(columns: Sequence[str] | None = None, contract: Contract | None = None) -> pa.Schema:
    """Columns of the archive, all but ``raw`` when absent, as Arrow has them: exact decimals, times in UTC.

    Parameters
    ----------
    columns : sequence of str, optional
        Names of `archive_columns`, in the order that is wanted.
    contract : Contract, optional
        What an event holds; the shipped one when absent.

    Raises
    ------
    UnknownName
        The archive has no such column.
    """
    import pyarrow as pa

    shop = shipped() if contract is None else contract
    beside = {"string": pa.string(), "timestamp": arrow_type("timestamp"), "int": pa.int32(), "bigint": pa.int64()}
    types = {name: beside.get(hive_type, pa.bool_()) for name, hive_type in _BESIDE.items()}
    types |= {field.name: arrow_type(field.type) for field in shop.columns}
    known = archive_columns(shop)
    chosen = [name for name in known if name != "raw"] if columns is None else columns
    for name in chosen:
        if name not in known:
            raise UnknownName("column of the archive", name, known)
    return pa.schema([(name, types[name]) for name in chosen])


def _prefix(epoch: int, batch: int) -> str:
    return f"e{epoch:04d}-b{batch:09d}-"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.suffix == ".parquet" and path.name[0] not in "._")
    except FileNotFoundError:
        return []


def start_of(partition: Path) -> datetime:
    """The start of the hour that a folder holds.

    Parameters
    ----------
    partition : Path
        As `Archive.partitions` gives it.
    """
    day, hour = partition.parent.name.removeprefix("dt="), partition.name.removeprefix("hour=")
    return datetime.fromisoformat(f"{day}T{int(hour):02d}:00:00+00:00")


def _condition(
    start: datetime, since: datetime | None, until: datetime | None, late: bool | None, only: Only | None
) -> Any:
    """What rows of an hour are asked for; None for all."""
    from pyarrow import compute as pc
    from pyarrow import dataset as ds

    parts = []
    if since is not None and since > start:
        parts.append(ds.field("event_time") >= since)
    if until is not None and until < start + _HOUR:
        parts.append(ds.field("event_time") < until)
    if late is not None:
        parts.append(ds.field("late") == late)
    for name, values in (only or {}).items():
        found = ds.field(name).isin(list(values))
        if name in PATHS:
            found = functools.reduce(operator.or_, (pc.starts_with(ds.field(name), f"{v}.") for v in values), found)
        parts.append(found)
    return functools.reduce(operator.and_, parts) if parts else None


def _utc(moment: datetime | None) -> datetime | None:
    """A time with its zone; one without is UTC, as everywhere."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
