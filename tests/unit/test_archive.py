"""The archive's files: every row once, whatever is killed, merged or retired."""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retailpulse_kernel.ground.errors import JobError, UnknownName
from retailpulse_kernel.stores.frames import from_arrow
from retailpulse_kernel.stores.hive.archive import Archive, ArchiveFile, arrow_schema
from retailpulse_kernel.stores.hive.compaction import Compaction, compact, recover, retire

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
TIMES = {"event_time", "arrival"}

Row = tuple[str, int, int]


def rows_of(numbers: range, hour: int, *, late: bool = False) -> pa.Table:
    """Events of an hour, whose number is their offset; every third one in partition 1."""
    at = [TEN.replace(hour=hour, tzinfo=None) + timedelta(milliseconds=250 * n) for n in numbers]
    values: dict[str, list[Any]] = {
        "event_id": [f"e{n}" for n in numbers],
        "event_type": ["purchase" if n % 2 else "view" for n in numbers],
        "event_time": at,
        "price": [Decimal(n).scaleb(-4) for n in numbers],
        "quantity": [1 for _ in numbers],
        "currency": ["USD" for _ in numbers],
        "order_line": [n if n % 2 else None for n in numbers],
        "late": [late for _ in numbers],
        "kafka_partition": [int(n % 3 == 0) for n in numbers],
        "kafka_offset": list(numbers),
        "arrival": at,
        "raw": [f'{{"n": {n}}}' for n in numbers],
    }
    fields = [
        pa.field(f.name, pa.timestamp("us") if f.name in TIMES else f.type, f.name != "late") for f in FULL_SCHEMA
    ]
    arrays = [pa.array(values.get(f.name, [None] * len(numbers)), f.type) for f in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata={"org.apache.spark.version": "4.2.1"}))


FULL_SCHEMA = pa.schema([*arrow_schema(), *arrow_schema(["raw"])])


def write_batch(archive: Archive, epoch: int, batch: int, *tables: tuple[int, pa.Table]) -> None:
    """What the job does, with Spark's types and without Spark."""
    staging = archive.staging(epoch, batch)
    for place, (hour, table) in enumerate(tables):
        folder = staging / f"dt=2026-03-01/hour={hour}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            table, folder / f"part-{place}.parquet", use_deprecated_int96_timestamps=True,
            store_decimal_as_integer=True, store_schema=False, compression="snappy",
        )  # fmt: skip
    archive.put(epoch, batch)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Ten batches of 100 events, each in the hours 10 and 11, and two files an hour."""
    made = Archive(tmp_path / "events")
    for batch in range(10):
        first = 100 * batch
        write_batch(
            made, 1, batch,
            (10, rows_of(range(first, first + 30), 10)), (10, rows_of(range(first + 30, first + 60), 10)),
            (11, rows_of(range(first + 60, first + 100), 11)),
        )  # fmt: skip
    return made


def visible(archive: Archive) -> list[Row]:
    """Every row as Hive sees it: all Parquet files that are not hidden."""
    found: list[Row] = []
    for path in archive.root.glob("dt=*/hour=*/[!._]*.parquet"):
        table = pq.read_table(path, columns=["event_id", "kafka_partition", "kafka_offset"], partitioning=None)
        found += zip(*(table.column(i).to_pylist() for i in range(3)), strict=True)
    return sorted(found)


def counted(archive: Archive) -> list[Row]:
    """Every row as our own readers see it."""
    frame = from_arrow(archive.record_batches(), arrow_schema())
    return sorted(zip(frame["event_id"], frame["kafka_partition"], frame["kafka_offset"], strict=True))


def names(archive: Archive, hour: int) -> list[str]:
    return sorted(path.name for path in archive.files(archive.root / f"dt=2026-03-01/hour={hour}"))


ALL = sorted((f"e{n}", int(n % 3 == 0), n) for n in range(1000))


def test_an_hours_files_become_one_except_the_newest_batch(archive: Archive) -> None:
    assert visible(archive) == ALL
    done = compact(archive)
    assert names(archive, 10) == [
        "e0001-b000000009-000.parquet", "e0001-b000000009-001.parquet", "e0001-m000000000-000000008.parquet",
    ]  # fmt: skip
    assert visible(archive) == counted(archive) == ALL
    merged = [archive.root / f"dt=2026-03-01/hour={h}/e0001-m000000000-000000008.parquet" for h in (10, 11)]
    size = sum(path.stat().st_size for path in merged)
    assert done == Compaction(partitions=2, files_before=30, files_after=5, rows=900, bytes=size)
    again = compact(archive)
    assert again == Compaction(partitions=0, files_before=5, files_after=5)
    assert not list(archive.root.rglob(".*.tmp"))


def test_a_merged_file_has_the_types_of_its_sources(archive: Archive) -> None:
    source = pq.ParquetFile(archive.root / "dt=2026-03-01/hour=10/e0001-b000000000-000.parquet")
    compact(archive)
    merged = pq.ParquetFile(archive.root / "dt=2026-03-01/hour=10/e0001-m000000000-000000008.parquet")
    assert merged.schema.equals(source.schema)
    assert merged.schema_arrow.metadata == source.schema_arrow.metadata
    types = {merged.schema.column(i).name: merged.schema.column(i).physical_type for i in range(18)}
    assert (types["event_time"], types["price"]) == ("INT96", "INT64")
    assert merged.metadata.row_group(0).column(0).compression == "SNAPPY"
    frame = merged.read().to_pandas()
    pd.testing.assert_frame_equal(
        frame,
        pa.concat_tables(rows_of(range(100 * b, 100 * b + 60), 10) for b in range(9)).to_pandas().astype(frame.dtypes),
    )


def test_compaction_goes_on_where_it_was(archive: Archive) -> None:
    compact(archive)
    for batch in range(10, 20):
        write_batch(archive, 1, batch, (10, rows_of(range(100 * batch, 100 * batch + 100), 10)))
    compact(archive)
    assert names(archive, 10) == ["e0001-b000000019-000.parquet", "e0001-m000000000-000000018.parquet"]
    assert visible(archive) == sorted((f"e{n}", int(n % 3 == 0), n) for n in range(2000))


def test_large_files_are_left_alone(archive: Archive) -> None:
    one = (archive.root / "dt=2026-03-01/hour=10/e0001-b000000000-000.parquet").stat().st_size
    compact(archive, target_bytes=7 * one)
    merged = [name for name in names(archive, 10) if "-m" in name]
    assert len(merged) > 1
    assert visible(archive) == ALL
    assert compact(archive, target_bytes=one).rows == 0


def test_few_files_may_stay(archive: Archive) -> None:
    assert compact(archive, fewest=10).partitions == 1, "18 files may go in the hour 10, 9 in the hour 11"


def test_epochs_are_not_mixed(archive: Archive) -> None:
    write_batch(archive, 2, 0, (10, rows_of(range(5000, 5100), 10)))
    write_batch(archive, 2, 1, (10, rows_of(range(5100, 5200), 10)))
    write_batch(archive, 2, 2, (10, rows_of(range(5200, 5300), 10)))
    before = visible(archive)
    compact(archive)
    assert [name for name in names(archive, 10) if name.startswith("e0002")] == [
        "e0002-b000000002-000.parquet", "e0002-m000000000-000000001.parquet",
    ]  # fmt: skip
    assert visible(archive) == before


def test_a_replayed_batch_replaces_its_own_files_beside_merged_ones(archive: Archive) -> None:
    compact(archive)
    restarted = Archive(archive.root)
    write_batch(restarted, 1, 9, (10, rows_of(range(900, 960), 10)), (11, rows_of(range(960, 1000), 11)))
    assert visible(archive) == ALL
    assert "e0001-b000000009-001.parquet" not in names(archive, 10), "the first run had two files there"


def test_a_batch_that_was_merged_is_not_written_again(archive: Archive) -> None:
    compact(archive)
    with pytest.raises(JobError, match=r"batch 3 of epoch 1 already.*new epoch"):
        write_batch(Archive(archive.root), 1, 3, (10, rows_of(range(300, 360), 10)))
    assert visible(archive) == ALL


def test_no_archive_is_no_work(tmp_path: Path) -> None:
    nothing = Archive(tmp_path / "none")
    assert compact(nothing) == Compaction()
    recover(nothing)
    assert retire(nothing, 2, {0: 0}) == 0
    assert from_arrow(nothing.record_batches(), arrow_schema()).empty


class Killed(BaseException):
    """Not an Exception: no handler of errors may see it."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], Counter[str]]]:
    """Let the process end at its n-th change of the file system: half of them just before, half just after."""
    real = {name: getattr(os, name) for name in ("replace", "rename", "unlink", "fsync")}
    real_writer = pq.ParquetWriter.write_table
    seen: Counter[str] = Counter()
    limit: list[int | None] = [None]

    def counting(name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            seen[name] += 1
            step = 2 * seen.total()
            if limit[0] is not None and step >= limit[0] and limit[0] % 2 == 0:
                raise Killed(name)
            result = action(*args, **more)
            if limit[0] is not None and step >= limit[0]:
                raise Killed(name)
            return result

        return call

    def start(at: int | None) -> Counter[str]:
        limit[0] = at
        seen.clear()
        for name, action in real.items():
            monkeypatch.setattr(os, name, counting(name, action))
        monkeypatch.setattr(pq.ParquetWriter, "write_table", counting("write_table", real_writer))
        return seen

    yield start


def killed_at_each_step(
    killed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, work: Callable[[Archive], Any]
) -> Iterator[Archive]:
    """An archive after some work on it was killed, one step later each time, until it is not killed any more."""
    for at in itertools.count(1):
        archive = fresh(tmp_path / str(at))
        killed(at)
        try:
            work(archive)
            return
        except Killed:
            pass
        finally:
            monkeypatch.undo()
        yield Archive(archive.root)


def fresh(root: Path) -> Archive:
    """A small archive: three finished batches and the newest."""
    made = Archive(root)
    for batch in range(4):
        write_batch(made, 1, batch, (10, rows_of(range(50 * batch, 50 * batch + 50), 10)))
    return made


@pytest.mark.parametrize("healed_by", ["compaction", "the next batch", "recovery"])
def test_killed_anywhere_a_merge_loses_and_doubles_nothing(
    tmp_path: Path, killed: Any, monkeypatch: pytest.MonkeyPatch, healed_by: str
) -> None:
    truth = sorted((f"e{n}", int(n % 3 == 0), n) for n in range(200))
    steps = doubled = 0
    for archive in killed_at_each_step(killed, monkeypatch, tmp_path, compact):
        steps += 1
        assert counted(archive) == truth, "our own readers are never wrong"
        seen = visible(archive)
        assert set(seen) == set(truth), "nothing is ever missing"
        doubled += len(seen) > len(truth)
        if healed_by == "compaction":
            compact(archive)
            assert len(names(archive, 10)) == 2
        elif healed_by == "recovery":
            recover(archive)
        else:
            recover(archive, wait=False)  # what HiveStore.put begins with
            write_batch(archive, 1, 3, (10, rows_of(range(150, 200), 10)))
        assert visible(archive) == counted(archive) == truth
        assert not list(archive.root.glob(".compaction.json"))
    assert steps > 15 and doubled >= 3, "the moments between publishing and removing were among them"


def test_retiring_an_epoch_leaves_each_message_once(archive: Archive) -> None:
    compact(archive)
    begin = {0: 400, 1: 700}
    kept = [row for row in ALL if row[2] < begin[row[1]]]
    assert retire(archive, 2, begin) == len(ALL) - len(kept)
    assert visible(archive) == kept
    assert not any(path.name.startswith("e0001-b000000009") for path in archive.root.rglob("*.parquet")), "emptied"
    modified = {path: path.stat().st_mtime_ns for path in archive.root.rglob("*.parquet")}
    assert retire(archive, 2, begin) == 0
    (archive.root / ".retired.json").unlink()
    assert retire(archive, 2, begin) == 0, "also without the note of having done it"
    assert {path: path.stat().st_mtime_ns for path in archive.root.rglob("*.parquet")} == modified


def test_retiring_keeps_partitions_that_are_not_named_and_newer_epochs(archive: Archive) -> None:
    write_batch(archive, 2, 0, (10, rows_of(range(1000, 1100), 10)))
    retire(archive, 2, {1: 0})
    rows = visible(archive)
    assert [row for row in rows if row[2] >= 1000] == sorted((f"e{n}", int(n % 3 == 0), n) for n in range(1000, 1100))
    assert [row for row in rows if row[2] < 1000] == [row for row in ALL if row[1] == 0]
    assert retire(archive, 2, {}) == 0


def test_a_third_epoch_retires_the_second(archive: Archive) -> None:
    retire(archive, 2, {0: 500, 1: 500})
    write_batch(archive, 2, 0, (10, rows_of(range(500, 600), 10)))
    assert retire(archive, 3, {0: 500, 1: 500}) == 100
    assert retire(archive, 3, {0: 600, 1: 500}) == 0, "what is read again begins later: nothing more to do"
    assert retire(archive, 3, {0: 400, 1: 500}) == 67
    assert visible(archive) == [row for row in ALL if row[2] < (400, 500)[row[1]]]


@pytest.mark.parametrize("compacted", [False, True])
def test_what_was_retired_and_kept_comes_back_as_another_epoch(archive: Archive, *, compacted: bool) -> None:
    """The way to a new epoch and back: the old one's rows are kept, and later take the new one's place."""
    if compacted:
        compact(archive)
    begin, kept = {0: 400, 1: 700}, archive.root.parent / "kept-e0001"
    gone = [row for row in ALL if row[2] >= begin[row[1]]]
    for _ in range(2):
        retire(archive, 2, begin, keep=kept)
        (archive.root / ".retired.json").unlink()
    assert visible(Archive(kept)) == gone
    write_batch(archive, 2, 0, (10, rows_of(range(700, 1000), 10)))
    second = archive.root.parent / "kept-e0002"
    assert retire(archive, 3, begin, keep=second) == 300
    for _ in range(2):
        number, partitions = archive.take_in(kept, 3)
        assert number == len(list(kept.rglob("*.parquet"))) and partitions == {
            f"{path.parent.parent.name}/{path.parent.name}" for path in kept.rglob("*.parquet")
        }
    assert visible(archive) == ALL
    assert visible(Archive(second)) == sorted((f"e{n}", int(n % 3 == 0), n) for n in range(700, 1000))
    epochs = {file.epoch for hour in archive.partitions() for file in archive.batches(hour)}
    assert epochs == {1, 3}, "what the new epoch did not read is still the first one's"


def test_killed_anywhere_retiring_is_ended_by_the_next_call(
    tmp_path: Path, killed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = {0: 80, 1: 120}
    truth = sorted((f"e{n}", int(n % 3 == 0), n) for n in range(200) if n < begin[int(n % 3 == 0)])
    steps = 0
    for archive in killed_at_each_step(killed, monkeypatch, tmp_path, lambda archive: retire(archive, 2, begin)):
        steps += 1
        assert set(truth) <= set(visible(archive)) and len(visible(archive)) == len(set(visible(archive)))
        retire(archive, 2, begin)
        assert visible(archive) == truth
    assert steps > 8


def test_a_reader_that_has_begun_is_not_disturbed(archive: Archive) -> None:
    reader = archive.record_batches(columns=["kafka_offset"])
    rows = [*next(reader).column(0).to_pylist()]
    compact(archive)
    rows += [offset for batch in reader for offset in batch.column(0).to_pylist()]
    assert sorted(rows) == list(range(1000))


def test_beside_a_job_that_writes_every_row_is_read_once(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "events")
    table = rows_of(range(20), 10)
    written = 0

    def write() -> None:
        nonlocal written
        for batch in range(60):
            write_batch(archive, 1, batch, (10, table), (11, table))
            written = batch + 1

    job = threading.Thread(target=write)
    job.start()
    merges = 0
    try:
        while job.is_alive():
            merges += compact(Archive(archive.root)).partitions
            before = written
            read = sum(batch.num_rows for batch in Archive(archive.root).record_batches(columns=["late"]))
            # A batch is whole only when its last file is in its place.
            assert 40 * before <= read <= 40 * (written + 1) and read % 20 == 0
    finally:
        job.join()
    compact(archive)
    assert merges > 0 and len(list(archive.root.rglob("e*.parquet"))) == 4
    assert sum(batch.num_rows for batch in archive.record_batches(columns=["late"])) == 60 * 40


def test_what_is_read_has_exact_types(archive: Archive) -> None:
    frame = from_arrow(archive.record_batches(), arrow_schema())
    assert (len(frame), "raw" in frame) == (1000, False)
    assert frame["price"].sum() == Decimal(999 * 500).scaleb(-4)
    assert frame["price"].dtype == object and set(map(type, frame["price"])) == {Decimal}
    assert str(frame["event_id"].dtype) == "string"
    assert str(frame["event_time"].dtype) == str(frame["arrival"].dtype) == "datetime64[ns, UTC]"
    assert str(frame["event_type"].dtype) == "category" and str(frame["kafka_offset"].dtype) == "Int64"
    assert frame["event_time"].min() == TEN
    assert list(frame.loc[:1, "order_line"].isna()) == [True, False]
    first = from_arrow(archive.record_batches(), arrow_schema(), limit=10)
    assert first["event_id"].equals(frame["event_id"][:10]) and first.attrs["note"] == "10 rows, more exist"
    assert frame.attrs == {"more": False, "total": 1000}
    empty = from_arrow(archive.record_batches(since=TEN + timedelta(days=9)), arrow_schema())
    assert empty.empty and list(empty.dtypes.astype(str)) == list(
        frame.dtypes.astype(str).replace("category", "category")
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_range_is_half_open_and_reads_only_its_hours(archive: Archive, seed: int) -> None:
    dice = random.Random(seed)
    since = TEN + timedelta(milliseconds=250 * dice.randrange(-10, 1000))
    until = since + timedelta(milliseconds=250 * dice.randrange(0, 15_000))
    times = [TEN + timedelta(hours=int(n % 100 >= 60), milliseconds=250 * n) for n in range(1000)]
    found = from_arrow(archive.record_batches(since, until, columns=["event_time"]), arrow_schema(["event_time"]))
    assert sorted(found["event_time"]) == sorted(at for at in times if since <= at < until)
    assert archive.partitions(TEN + timedelta(minutes=30), TEN + timedelta(hours=1)) == [
        archive.root / "dt=2026-03-01/hour=10"
    ]
    naive = from_arrow(
        archive.record_batches(since.replace(tzinfo=None), until, columns=["event_time"]), arrow_schema(["event_time"])
    )
    assert len(naive) == len(found), "a time without a zone is UTC"


def test_late_events_and_columns_are_chosen(archive: Archive) -> None:
    write_batch(archive, 1, 10, (11, rows_of(range(1000, 1010), 11, late=True)))

    def count(late: bool | None) -> int:
        return sum(batch.num_rows for batch in archive.record_batches(columns=["raw"], late=late))

    assert (count(None), count(True), count(False)) == (1010, 10, 1000)
    with pytest.raises(UnknownName, match="Did you mean 'price'"):
        next(archive.record_batches(columns=["prize"]))


def test_files_of_others_are_read_and_left_alone(archive: Archive) -> None:
    pq.write_table(rows_of(range(2000, 2010), 10), archive.root / "dt=2026-03-01/hour=10/mine.parquet")
    compact(archive)
    assert "mine.parquet" in names(archive, 10)
    assert len(counted(archive)) == 1010


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("e0001-b000000017-000.parquet", (1, 17, 17, False)),
        ("e0012-m000000000-000000239.parquet", (12, 0, 239, True)),
        ("part-00000.parquet", None),
        (".e0001-b000000017-000.parquet.tmp", None),
    ],
)
def test_names(name: str, file: tuple[int, int, int, bool] | None) -> None:
    found = ArchiveFile.of(Path(name))
    assert (found and (found.epoch, found.first, found.last, found.merged)) == file
