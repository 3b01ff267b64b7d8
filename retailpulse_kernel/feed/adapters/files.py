"""Rows of CSV, JSON, JSONL and Parquet files in constant memory, packed or plain."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retailpulse_kernel.feed.adapters.containers import Opened, opened
from retailpulse_kernel.feed.adapters.lines import MAX_LINE, Line
from retailpulse_kernel.ground.errors import EventError, RetailPulseError, UsageError
from retailpulse_kernel.shop.adapters.items import refuse_doubles
from retailpulse_kernel.shop.adapters.records import record_of

__all__ = ["BadRow", "Row", "Rows", "open_rows"]

_MAX_RECORD_LINES = 50  # a quoted CSV field may span lines, but a lost quote must not swallow the file
_BATCH = 4096
#: JSON objects whose keys tell a file's columns: one alone may lack what is null in it.
_LOOKED_AT = 20

# Numbers keep all their digits: a float in between would change them.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass(slots=True)
class Row:
    """One row of a file: its `fields`, or the JSON (`value`) that holds them; of a topic with the broker's time."""

    line: int
    fields: dict[str, Any] | None = None
    value: bytes | None = None
    text: str | None = None
    arrival_ms: int | None = None

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


def open_rows(path: Path, headless: Collection[tuple[str, ...]] = ()) -> Rows:
    """Open a file whatever its container.

    Parameters
    ----------
    path : Path
        CSV, JSONL or Parquet, the first two perhaps compressed.
    headless : collection of tuple of str
        The columns of tables without a header, which are told by how many they are: with tabs between them, and without
        quotes.

    Raises
    ------
    UsageError
        There is no such file, or it holds neither CSV, JSON, JSONL nor Parquet.
    """
    file = opened(path)
    if file.head().startswith(b"PAR1"):
        if file.packed:
            raise UsageError(
                f"{path} is Parquet inside {file.packed}.", remedy="Unpack it: Parquet packs its own columns."
            )
        file.content.close()
        return _parquet(path)
    start = file.head().lstrip(b" \t\r\n")
    if start.startswith(b"[") or _is_spread(start):
        return _json(file, _json_rows(file.values()))
    lines = file.lines()
    head = next((line for line in lines if line.value.strip()), None)
    if head is None:
        raise UsageError(f"The file {path} is empty.", remedy="A file of events has at least a header or one line.")
    rest, lines = lines, itertools.chain([head], lines)
    if start.startswith(b"{"):
        return _json(file, _json_rows(lines))
    columns = next((such for such in headless if head.value.count(b"\t") + 1 == len(such)), None)
    if columns is not None:
        first = head.value.decode(errors="replace").split("\t")
        lines = rest if tuple(name.strip() for name in first) == columns else lines
        each = _records(lines, columns, "\t", quoted=False)
        return Rows(columns, fixed=True, each=each, fraction=lambda _: file.fraction())
    header, delimiter = _header(lines, path)
    return Rows(header, fixed=True, each=_records(lines, header, delimiter), fraction=lambda _: file.fraction())


def _json(file: Opened, rows: Iterator[Row | BadRow]) -> Rows:
    first = list(itertools.islice(rows, _LOOKED_AT))
    keys = [key for row in first if isinstance(row, Row) for key in _keys(row)]
    columns = tuple(dict.fromkeys(keys)) or None
    return Rows(columns, fixed=False, each=itertools.chain(first, rows), fraction=lambda _: file.fraction())


def _is_spread(start: bytes) -> bool:
    """Whether a JSON object spans lines, as people print it; JSONL has one in each."""
    first, end, rest = start.partition(b"\n")
    if not start.startswith(b"{") or not end or not rest.strip():
        return False
    try:
        _decode(first)
    except (ValueError, RecursionError):
        return not rest.lstrip().startswith(b"{")
    return False


def _json_rows(lines: Iterable[Line]) -> Iterator[Row | BadRow]:
    """Lines, or values whose numbers stand for the line; a blank line is nothing."""
    return (
        Row(line.number, value=line.value) if line.whole else _too_long(line) for line in lines if line.value.strip()
    )


def _too_long(line: Line) -> BadRow:
    raw = line.value[:1000].decode(errors="replace")
    return BadRow(line.number, "too_long", f"the line is longer than {MAX_LINE} bytes", raw)


def _keys(row: Row) -> tuple[str, ...]:
    try:
        return tuple(record_of(row.value or b""))
    except EventError:
        return ()


def _header(lines: Iterator[Line], path: Path) -> tuple[tuple[str, ...], str]:
    """A CSV file's columns, and the character between them."""
    try:
        header = next(lines).value.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is neither CSV, JSONL nor Parquet.") from None
    delimiter = max(",\t;|", key=header.count)
    names = tuple(name.strip() for name in _fields(header, delimiter) or ())
    refuse_doubles(names, path)
    return names, delimiter


def _records(
    lines: Iterator[Line], columns: tuple[str, ...], delimiter: str, *, quoted: bool = True
) -> Iterator[Row | BadRow]:
    waiting: deque[Line] = deque()  # lines that an open quote had asked for in vain

    def following() -> Line | None:
        return waiting.popleft() if waiting else next(lines, None)

    while (line := following()) is not None:
        if not line.value:  # a blank line is nothing, but within quotes it is part of a field
            continue
        if not line.whole:
            yield _too_long(line)
            continue
        # A byte that is not UTF-8 spoils its row only: it becomes a lone surrogate, which no event may hold.
        text = line.value.decode(errors="surrogateescape")
        fields = _fields(text, delimiter) if quoted else text.split(delimiter)
        taken: list[Line] = []
        while fields is None and len(taken) < _MAX_RECORD_LINES and (more := following()) is not None:
            taken.append(more)
            longer = _joined([line, *taken]).decode(errors="surrogateescape")
            fields = _fields(longer, delimiter)
        if fields is not None and len(fields) == len(columns):
            yield Row(line.number, dict(zip(columns, fields, strict=True)), text=longer if taken else text)
            continue
        waiting.extendleft(reversed(taken))
        found = "an open quote" if fields is None or taken else f"{len(fields)} fields"
        yield BadRow(line.number, "format:row", f"{found}; the header has {len(columns)} columns", _readable(text))


def _joined(lines: Sequence[Line]) -> bytes:
    """Lines with what ended them, as it stands within quotes; not the end of the last."""
    return b"".join(line.value + line.end for line in lines[:-1]) + lines[-1].value


#: Only LF ends a line here; `str.splitlines` would also cut at characters that a name may hold, such as U+2028.
_LINES = re.compile(r"[^\n]*\n|[^\n]+")


def _fields(text: str, delimiter: str) -> list[str] | None:
    """The fields of a record; None when a quote is still open."""
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader(_LINES.findall(text), delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        return None


def _readable(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _parquet(path: Path) -> Rows:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} is not a Parquet file that can be read: {error}.") from error
    refuse_doubles(_leaf_names(file.schema_arrow), path)
    total = max(1, file.metadata.num_rows)
    return Rows(
        tuple(file.schema_arrow.names),
        fixed=True,
        each=_parquet_rows(file, path),
        fraction=lambda read: read / total,
    )


def _leaf_names(fields: Iterable[pa.Field], above: str = "") -> list[str]:
    """The names of all columns, those within records too, by their path."""
    names = []
    for field in fields:
        inner = field.type
        while pa.types.is_list(inner) or pa.types.is_large_list(inner):
            inner = inner.value_type
        names.append(above + field.name)
        if pa.types.is_struct(inner):
            names += _leaf_names((inner.field(index) for index in range(inner.num_fields)), f"{above}{field.name}.")
    return names


def _parquet_rows(file: pq.ParquetFile, path: Path) -> Iterator[Row | BadRow]:
    number = 0
    reads = {field.name: read for field in file.schema_arrow if (read := _exact(field.type))}
    try:
        with file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for record in _records_of(batch):
                    number += 1
                    yield Row(number, record | {name: read(record[name]) for name, read in reads.items()})
    except (pa.ArrowException, OSError) as error:
        raise RetailPulseError(f"{path} is damaged after row {number}: {error}.") from error


def _records_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows of a batch; a map is an object."""
    try:
        yield from batch.to_pylist(maps_as_pydicts="strict")
    except (KeyError, OverflowError, ValueError):
        # Python has no value for some cell: a time of the year 11,000, a map in which a key comes twice.
        for row in range(len(batch)):
            yield {n: _cell(batch.column(n).slice(row, 1)) for n in batch.schema.names}


def _cell(column: pa.Array) -> Any:
    """The value of a column of one; text where Python has none, so that a format that reads the cell refuses it."""
    for value_of in (
        lambda: column.to_pylist(maps_as_pydicts="strict"),
        lambda: column.cast(pa.string()).to_pylist(),
    ):
        try:
            return value_of()[0]
        except (KeyError, OverflowError, ValueError, pa.ArrowException):
            continue
    return f"no value of Python: {column.type}"


def _exact(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """How a value of a type that holds short floats, however deep, keeps its digits; None when there are none.

    As a double 19.99 of 32 bits is 19.989999771118164; its shortest text is what was written.
    """
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        short = np.float32 if pa.types.is_float32(kind) else np.float16
        return lambda value: None if value is None else Decimal(str(short(value)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        each = _exact(kind.value_type)
        return each and (lambda values: None if values is None else [each(value) for value in values])
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        reads = {field.name: read for field in fields if (read := _exact(field.type))}
        return (
            (lambda record: record and record | {name: read(record[name]) for name, read in reads.items()})
            if reads
            else None
        )
    return None
