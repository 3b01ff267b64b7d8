"""Files as they come: odd, damaged, endless, and any text at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.feed.adapters import Reject, read, read_rows
from retailpulse_kernel.feed.adapters.lines import MAX_LINE
from retailpulse_kernel.ground.errors import RetailPulseError, UsageError
from retailpulse_kernel.shop.events import Event
from tests.adapters import HEADER, VIEW, rees46, rejects_of


def test_bytes_that_are_not_utf8_spoil_their_row_only(tmp_path: Path) -> None:
    row = VIEW.encode().replace(b"shiseido", b"shis\xe9ido")
    path = rees46(tmp_path, HEADER.encode() + row + VIEW.encode())
    assert [(reject.line, reject.reason) for reject in rejects_of(path, "rees46")] == [(2, "not_utf8")]
    json.dumps(rejects_of(path, "rees46")).encode()


def test_a_quoted_field_may_span_lines(tmp_path: Path) -> None:
    row = VIEW.replace("shiseido", '"shi\nsei ""do"""')
    path = rees46(tmp_path, HEADER + row + VIEW.replace("35.79", "x"))
    first, reject = read(path, "rees46")
    assert isinstance(first, Event) and first.brand == 'shi\nsei "do"'
    assert isinstance(reject, Reject) and reject.line == 4


def test_a_missing_column_is_named_with_what_was_found(tmp_path: Path) -> None:
    text = HEADER.replace("price,", "cost,") + VIEW
    with pytest.raises(UsageError, match=r"'price'.*rees46.*cost"):
        read(rees46(tmp_path, text), "rees46")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b'[{"a": 1}]', "no column"),
        (b"PAR1", "Parquet"),
        (b"\x89\xff\x00\x01", "neither CSV"),
        (gzip.compress(b"PAR1xxxx", mtime=0), "inside gzip"),
        (gzip.compress(b"Obj\x01xxxx", mtime=0), "a file of Avro"),
        (gzip.compress(b"a.csv".ljust(257, b"\0") + b"ustar\x0000", mtime=0), "a file of tar"),
        ("événement,price\n".encode("latin-1"), "first line of .* is not UTF-8: .* at byte 1"),
        (b'{"a": 1}', "no column"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(rees46(tmp_path, content), "rees46")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path / "nothing.csv", "rees46")
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path, "rees46")


def test_a_damaged_file_says_where(tmp_path: Path) -> None:
    whole = gzip.compress((HEADER + VIEW * 5000).encode())
    rows = read(rees46(tmp_path, whole[: len(whole) // 2]), "rees46")
    with pytest.raises(RetailPulseError, match="damaged after line"):
        list(rows)


def test_a_line_without_end_is_rejected_and_never_held(tmp_path: Path) -> None:
    path = rees46(tmp_path, HEADER + VIEW + "x" * (3 * MAX_LINE) + "\n" + VIEW)
    (reject,) = rejects_of(path, "rees46")
    assert (reject.line, reject.reason, len(reject.raw)) == (3, "too_long", 1000)


def test_memory_stays_constant(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "big.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(HEADER)
        for _ in range(20):
            file.write(VIEW * 1000)
    tracemalloc.start()
    count = sum(1 for _ in read(path, "rees46"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 1_500_000


def test_reading_says_how_far_it_is(tmp_path: Path) -> None:
    reading = read_rows(rees46(tmp_path, HEADER + VIEW * 10), "rees46")
    assert [reading.rows, *(0 for _ in reading)] == [0] * 11
    assert (reading.rows, reading.fraction) == (10, 1.0)


@given(st.lists(st.text(alphabet='ab,"\n\r é', max_size=30) | st.just(VIEW.strip()), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_text_after_the_header(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "events.csv"
    path.write_text(HEADER + "\n".join(lines), newline="")
    rows = list(read(path, "rees46"))
    assert sum(isinstance(row, Event) for row in rows) >= sum(line == VIEW.strip() for line in lines[:1])


@given(st.lists(st.lists(st.text(alphabet='ab,"\n é', max_size=8), min_size=9, max_size=9), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_csv_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    from retailpulse_kernel.feed.adapters.files import open_rows
    from retailpulse_kernel.feed.adapters.rows import Row

    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([HEADER.strip().split(","), *rows])
    path = tmp_path_factory.mktemp("csv") / "events.csv"
    path.write_text(buffer.getvalue(), newline="")
    found = [list(row.fields.values()) for row in open_rows(path) if isinstance(row, Row) and row.fields]
    assert found == rows
