"""Rows of CSV, JSONL and Parquet files, gzip or plain, in constant memory.

The content says which container a file is, not its name: people call a gzipped JSONL ``events.txt``.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from retailpulse_kernel.errors import EventError, RetailPulseError, UsageError

__all__ = ["MAX_LINE", "BadRow", "Row", "Rows", "open_rows"]

MAX_LINE: Final = 1024 * 1024
"""Bytes; a longer line is rejected without ever being held as a whole. No event comes near it."""

_MAX_RECORD_LINES = 50  # a quoted CSV field may span lines, but a lost quote must not swallow the file
_BATCH = 4096


@dataclass(slots=True)
class Row:
    """One row of a file: its `fields`, or the line of JSON (`value`) that holds them."""

    line: int
    fields: dict[str, Any] | None = None
    value: bytes | None = None
    text: str | None = None

    @property
    def record(self) -> dict[str, Any]:
        """The fields; read from the JSON only when asked."""
        return self.fields if self.fields is not None else _object(self.value or b"")

    @property
    def raw(self) -> str:
        """The row as it stands in the file; a Parquet row as JSON."""
        if self.text is not None:
            return _readable(self.text)
        if self.value is not None:
            return self.value.decode(errors="replace")
        return json.dumps(self.fields, default=str)


class BadRow(NamedTuple):
    """A row that can't even be read as one."""

    line: int
    reason: str
    detail: str
    raw: str


class _Line(NamedTuple):
    number: int
    value: bytes
    whole: bool


@dataclass
class Rows:
    """A file's rows, and its columns: all of them (`fixed`), or those of the first JSON object."""

    columns: tuple[str, ...] | None
    fixed: bool
    each: Iterator[Row | BadRow]
    fraction: Callable[[int], float]
    """How much of the file has been read, from 0 to 1, once this many rows have."""

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self.each


def open_rows(path: Path) -> Rows:
    """Open a file whatever its container.

    Raises
    ------
    UsageError
        There is no such file, or it holds neither CSV, JSONL nor Parquet.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"The file {path} {what}.", remedy="Give the path of a CSV, JSONL or Parquet file.")
    try:
        on_disk = path.open("rb")
        magic = on_disk.read(4)
        on_disk.seek(0)
        if magic == b"PAR1":
            on_disk.close()
            return _parquet(path)
        packed = magic.startswith(b"\x1f\x8b")
        lines = _lines(on_disk, packed, path)
        head = next((line for line in lines if line.value.strip()), None)
    except OSError as error:
        raise UsageError(f"The file {path} can't be read: {error.strerror or error}.") from error
    if head is None:
        raise UsageError(f"The file {path} is empty.", remedy="A file of events has at least a header or one line.")
    start = head.value.lstrip()
    if start.startswith(b"PAR1"):
        raise UsageError(f"{path} is Parquet inside gzip.", remedy="Unpack it: Parquet compresses its own columns.")
    if start.startswith(b"["):
        raise UsageError(f"{path} is one JSON array.", remedy="Write one object a line (JSONL), as `jq -c '.[]'` does.")
    lines = itertools.chain([head], lines)
    size = path.stat().st_size

    def fraction(_: int) -> float:
        return 1.0 if on_disk.closed else on_disk.tell() / size

    if start.startswith(b"{"):
        return Rows(_keys(start), fixed=False, each=_json_rows(lines), fraction=fraction)
    header, delimiter = _header(lines, path)
    return Rows(header, fixed=True, each=_records(lines, header, delimiter), fraction=fraction)


def _lines(on_disk: IO[bytes], packed: bool, path: Path) -> Iterator[_Line]:
    """Numbered lines without their ends; too long ones are cut."""
    file = cast(IO[bytes], gzip.GzipFile(fileobj=on_disk)) if packed else on_disk
    number = 0
    try:
        with file, on_disk:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                whole = len(line) <= MAX_LINE or line.endswith(b"\n")
                rest = b"" if whole else line
                while rest and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE)
                yield _Line(number, line.rstrip(b"\r\n"), whole)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RetailPulseError(
            f"{path} is damaged after line {number}: {error}.", remedy="Fetch it again; the lines before are good."
        ) from error


def _too_long(line: _Line) -> BadRow:
    raw = line.value[:1000].decode(errors="replace")
    return BadRow(line.number, "too_long", f"the line is longer than {MAX_LINE} bytes", raw)


def _json_rows(lines: Iterator[_Line]) -> Iterator[Row | BadRow]:
    return (Row(line.number, value=line.value) if line.whole else _too_long(line) for line in lines if line.value)


def _keys(line: bytes) -> tuple[str, ...] | None:
    try:
        return tuple(_object(line))
    except EventError:
        return None


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise EventError("not_json", str(error)[:200]) from None
    if not isinstance(found, dict):
        raise EventError("not_object", "the line is not a JSON object")
    return found


def _header(lines: Iterator[_Line], path: Path) -> tuple[tuple[str, ...], str]:
    """A CSV file's columns, and the character between them."""
    try:
        header = next(lines).value.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is neither CSV, JSONL nor Parquet.") from None
    delimiter = max(",\t;|", key=header.count)
    return tuple(name.strip() for name in _fields(header, delimiter) or ()), delimiter


def _records(lines: Iterator[_Line], columns: tuple[str, ...], delimiter: str) -> Iterator[Row | BadRow]:
    waiting: deque[_Line] = deque()  # lines that an open quote had asked for in vain

    def following() -> _Line | None:
        return waiting.popleft() if waiting else next(lines, None)

    while (line := following()) is not None:
        if not line.value:  # a blank line is nothing, but within quotes it is part of a field
            continue
        if not line.whole:
            yield _too_long(line)
            continue
        # A byte that is not UTF-8 spoils its row only: it becomes a lone surrogate, which no event may hold.
        text = line.value.decode(errors="surrogateescape")
        fields = _fields(text, delimiter)
        taken: list[_Line] = []
        while fields is None and len(taken) < _MAX_RECORD_LINES and (more := following()) is not None:
            taken.append(more)
            longer = b"\n".join([line.value, *(part.value for part in taken)]).decode(errors="surrogateescape")
            fields = _fields(longer, delimiter)
        if fields is not None and len(fields) == len(columns):
            yield Row(line.number, dict(zip(columns, fields, strict=True)), text=longer if taken else text)
            continue
        waiting.extendleft(reversed(taken))
        found = "an open quote" if fields is None or taken else f"{len(fields)} fields"
        yield BadRow(line.number, "format:row", f"{found}; the header has {len(columns)} columns", _readable(text))


def _fields(text: str, delimiter: str) -> list[str] | None:
    """The fields of a record; None when a quote is still open."""
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        return None


def _readable(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _parquet(path: Path) -> Rows:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} is not a Parquet file that can be read: {error}.") from error
    total = max(1, file.metadata.num_rows)
    return Rows(
        tuple(file.schema_arrow.names),
        fixed=True,
        each=_parquet_rows(file, path),
        fraction=lambda read: read / total,
    )


def _parquet_rows(file: pq.ParquetFile, path: Path) -> Iterator[Row | BadRow]:
    number = 0
    try:
        with file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for record in _without_float32(batch).to_pylist():
                    number += 1
                    yield Row(number, record)
    except (pa.ArrowException, OSError) as error:
        raise RetailPulseError(f"{path} is damaged after row {number}: {error}.") from error


def _without_float32(batch: pa.RecordBatch) -> pa.RecordBatch:
    """float32 as text: 19.99 must not become 19.989999771118164 on its way to a decimal."""
    for index, field in enumerate(batch.schema):
        if pa.types.is_float32(field.type):
            batch = batch.set_column(index, field.name, batch.column(index).cast(pa.string()))
    return batch
