"""Looking after the archive's files: merge many small ones, retire the rows of older epochs.

A merge goes through these steps; a reader may see rows twice only between 3 and 4, for the time of
some renames and removals:

1. write down in a journal which file takes the place of which ones;
2. write the merged file under a name that readers skip;
3. give it its own name: from here on it stands for the others;
4. remove the others;
5. remove the journal.

Killed anywhere, `recover` ends what was begun: a merged file that has its name stays and the others
go, anything less is forgotten. The same steps are safe beside the job, which goes on adding files.
"""

from __future__ import annotations

import functools
import json
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import filelock
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.files import put_in_place, write_whole
from retailpulse_kernel.stores.hive.archive import Archive, ArchiveFile

__all__ = ["Compaction", "compact", "recover", "retire"]

#: Uncompressed bytes in a row group: what is kept in memory while files are merged.
_ROW_GROUP_BYTES = 64 * 2**20
#: Seconds that somebody else's work on one hour may take.
_PATIENCE = 300.0


@dataclass(frozen=True)
class Compaction:
    """What a compaction did.

    Attributes
    ----------
    partitions : int
        Hours in which files were merged.
    files_before, files_after : int
        Files of the whole archive.
    rows, bytes : int
        Rows and bytes in the merged files that were written.
    """

    partitions: int = 0
    files_before: int = 0
    files_after: int = 0
    rows: int = 0
    bytes: int = 0


def compact(archive: Archive, *, target_bytes: int = 256 * 2**20, fewest: int = 2) -> Compaction:
    """See `HiveStore.compact`.

    Parameters
    ----------
    archive : Archive
        The archive.
    target_bytes : int
        Files are merged up to this size; those of one batch stay together.
    fewest : int
        Fewer files of an hour than this are left as they are.

    Raises
    ------
    JobError
        Other maintenance does not end.
    """
    recover(archive)
    files_before, newest = _census(archive)
    partitions = rows = size = 0
    for partition in archive.partitions():
        # The lock is held for one hour at a time: a job that retires an epoch need not wait for all of them.
        with _maintenance(archive):
            finished = [file for file in archive.batches(partition) if file.last < newest.get(file.epoch, 0)]
            merged = [_merge(archive, partition, group) for group in _groups(finished, target_bytes, fewest)]
        partitions += bool(merged)
        rows += sum(rows for rows, _ in merged)
        size += sum(size for _, size in merged)
    return Compaction(partitions, files_before, _census(archive)[0], rows, size)


def recover(archive: Archive, *, wait: bool = True) -> None:
    """End a merge that was killed; where nothing was, this costs one look at a file.

    Parameters
    ----------
    archive : Archive
        The archive.
    wait : bool
        Whether to wait for maintenance that is under way, which recovers by itself.

    Raises
    ------
    JobError
        Other maintenance does not end, and `wait` is true.
    """
    if _journal(archive).exists():
        try:
            with _maintenance(archive, wait=wait):
                pass
        except JobError:
            if wait:
                raise


def retire(archive: Archive, before_epoch: int, begin: Mapping[int, int], *, keep: Path | None = None) -> int:
    """See `HiveStore.retire`.

    Parameters
    ----------
    archive : Archive
        The archive.
    before_epoch : int
        The new epoch's number.
    begin : mapping of int to int
        The first offset that it reads, by partition; rows of other partitions stay.
    keep : Path, optional
        A folder on the same file system that gets what is removed; None removes it for good.

    Raises
    ------
    JobError
        Other maintenance does not end.
    """
    done = archive.root / ".retired.json"
    if not archive.root.is_dir() or not begin or _covers(done, before_epoch, begin):
        return 0
    removed = 0
    for partition in archive.partitions():
        with _maintenance(archive):
            older = [file for file in archive.batches(partition) if file.epoch < before_epoch]
            removed += sum(_retire(file.path, begin, _kept(file.path, keep)) for file in older)
    retired = {"before_epoch": before_epoch, "begin": {str(p): offset for p, offset in begin.items()}}
    write_whole(done, json.dumps(retired))
    return removed


def _covers(done: Path, before_epoch: int, begin: Mapping[int, int]) -> bool:
    """Whether rows at or after these offsets were retired before."""
    if not done.exists():
        return False
    last = json.loads(done.read_text())
    known = last["begin"]
    return bool(last["before_epoch"] == before_epoch) and all(
        str(partition) in known and offset >= known[str(partition)] for partition, offset in begin.items()
    )


# -- what may be merged ---------------------------------------------------------------------


def _census(archive: Archive) -> tuple[int, dict[int, int]]:
    """How many files there are, and the newest batch of each epoch, which Spark may run once more."""
    files = [file for partition in archive.partitions() for file in archive.batches(partition)]
    newest: dict[int, int] = {}
    for file in files:
        newest[file.epoch] = max(file.last, newest.get(file.epoch, 0))
    return len(files), newest


def _groups(files: Sequence[ArchiveFile], target_bytes: int, fewest: int) -> Iterator[list[ArchiveFile]]:
    """Neighbours that make one file of at most `target_bytes`; all parts of a batch stay together."""
    if len(files) < fewest:
        return
    group: list[ArchiveFile] = []
    size, schema = 0, None
    for _, parts in groupby(files, key=lambda file: (file.epoch, file.first, file.last)):
        unit = list(parts)
        unit_size = sum(file.path.stat().st_size for file in unit)
        unit_schema = pq.read_schema(unit[0].path)
        fits = group and group[0].epoch == unit[0].epoch and size + unit_size <= target_bytes
        if not fits or not unit_schema.equals(schema):
            if len(group) >= fewest:
                yield group
            group, size, schema = [], 0, unit_schema
        group += unit
        size += unit_size
    if len(group) >= fewest:
        yield group


# -- steps ----------------------------------------------------------------------------------


def _merge(archive: Archive, partition: Path, group: Sequence[ArchiveFile]) -> tuple[int, int]:
    """One file in the place of some; its rows and bytes."""
    merged = partition / ArchiveFile.merged_name(group[0].epoch, group[0].first, group[-1].last)
    sources = [file.path for file in group]
    plan = {"merged": merged.name, "sources": [path.name for path in sources]}
    write_whole(_journal(archive), json.dumps({"partition": str(partition.relative_to(archive.root)), **plan}))
    rows = _copy(sources, _aside(merged))
    put_in_place(_aside(merged), merged)
    for source in sources:
        source.unlink()
    _journal(archive).unlink()
    return rows, merged.stat().st_size


def _recover(archive: Archive) -> None:
    plan = json.loads(_journal(archive).read_text())
    partition = archive.root / plan["partition"]
    if (partition / plan["merged"]).exists():
        for source in plan["sources"]:
            (partition / source).unlink(missing_ok=True)
    else:
        _aside(partition / plan["merged"]).unlink(missing_ok=True)
    _journal(archive).unlink()


def _kept(path: Path, folder: Path | None) -> Path | None:
    """Where what a file loses is kept."""
    return None if folder is None else folder / path.parent.parent.name / path.parent.name / path.name


def _retire(path: Path, begin: Mapping[int, int], keep: Path | None) -> int:
    """Rewrite a file without rows at or after some offsets; how many there were."""
    with pq.ParquetFile(path) as file:
        if not any(_reaches(file.metadata.row_group(i), min(begin.values())) for i in range(file.num_row_groups)):
            return 0
        places = file.read(["kafka_partition", "kafka_offset"])
    before = places.num_rows
    kept = before - places.filter(_read_again(begin)).num_rows
    if kept == before:
        return 0
    if keep is not None and not keep.exists():
        keep.parent.mkdir(parents=True, exist_ok=True)
        if kept == 0:
            os.link(path, keep)
        else:
            _copy([path], _aside(keep), without=~_read_again(begin))
            put_in_place(_aside(keep), keep)
    if kept == 0:
        path.unlink()
    else:
        _copy([path], _aside(path), without=_read_again(begin))
        put_in_place(_aside(path), path)
    return before - kept


def _read_again(begin: Mapping[int, int]) -> pc.Expression:
    """Rows that a new epoch reads again."""
    partition, offset = pc.field("kafka_partition"), pc.field("kafka_offset")
    return functools.reduce(operator.or_, ((partition == p) & (offset >= first) for p, first in begin.items()))


def _reaches(row_group: pq.RowGroupMetaData, offset: int) -> bool:
    """Whether a row group may hold a message at or after an offset."""
    columns = (row_group.column(i) for i in range(row_group.num_columns))
    statistics = next(column.statistics for column in columns if column.path_in_schema == "kafka_offset")
    return statistics is None or not statistics.has_min_max or statistics.max >= offset


# -- files ----------------------------------------------------------------------------------


def _copy(sources: Sequence[Path], target: Path, *, without: pc.Expression | None = None) -> int:
    """Write the rows of Parquet files into one, in the types that Spark wrote them in; how many there are."""
    with pq.ParquetFile(sources[0]) as first:
        schema, metadata = first.schema_arrow, first.metadata
        physical = {first.schema.column(i).physical_type for i in range(len(first.schema))}
    codec = metadata.row_group(0).column(0).compression if metadata.num_row_groups else "SNAPPY"
    rows = 0
    with pq.ParquetWriter(
        target,
        schema,
        compression=codec,
        use_deprecated_int96_timestamps="INT96" in physical,
        store_decimal_as_integer=True,
        store_schema=False,
    ) as writer:
        for table in _row_groups(sources):
            kept = table if without is None else table.filter(~without)
            writer.write_table(kept, row_group_size=max(kept.num_rows, 1))
            rows += kept.num_rows
    if without is None and rows != (expected := sum(pq.read_metadata(path).num_rows for path in sources)):
        raise JobError(f"{expected} rows of {sources[0].parent} became {rows}; nothing was replaced.")
    return rows


def _row_groups(sources: Iterable[Path]) -> Iterator[pa.Table]:
    """The rows of some files, in pieces that are worth a row group each."""
    waiting: list[pa.Table] = []
    for source in sources:
        with pq.ParquetFile(source) as file:
            for number in range(file.num_row_groups):
                waiting.append(file.read_row_group(number))
                if sum(table.nbytes for table in waiting) >= _ROW_GROUP_BYTES:
                    yield pa.concat_tables(waiting)
                    waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _aside(path: Path) -> Path:
    """Where a file is written before it has its name: Hive, Spark and Arrow skip what starts with a dot."""
    return path.with_name(f".{path.name}.tmp")


def _journal(archive: Archive) -> Path:
    return archive.root / ".compaction.json"


@contextmanager
def _maintenance(archive: Archive, *, wait: bool = True) -> Iterator[None]:
    """Be the only one who replaces files, after what somebody killed left behind was ended."""
    try:
        archive.lock.acquire(timeout=_PATIENCE if wait else 0)
    except filelock.Timeout:
        raise JobError(
            f"Another process has been looking after the archive {archive.root} for {_PATIENCE:g} s.",
            remedy="Wait for its compaction to end, or end it: what it began is completed by the next one.",
        ) from None
    try:
        if _journal(archive).exists():
            _recover(archive)
        yield
    finally:
        archive.lock.release()
