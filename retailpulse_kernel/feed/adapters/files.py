"""Rows of CSV, JSON, JSONL and Parquet files in constant memory, packed or plain."""

from __future__ import annotations

import csv
import itertools
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from retailpulse_kernel.feed.adapters.containers import Opened, opened
from retailpulse_kernel.feed.adapters.lines import MAX_LINE, Line
from retailpulse_kernel.feed.adapters.parquet import parquet_rows
from retailpulse_kernel.feed.adapters.rows import BadRow, Row, Rows, readable
from retailpulse_kernel.ground.errors import EventError, UsageError
from retailpulse_kernel.shop.adapters.records import record_of
from retailpulse_kernel.shop.contract.mapping.items import refuse_doubles

__all__ = ["open_rows"]

_MAX_RECORD_LINES = 50  # a quoted CSV field may span lines, but a lost quote must not swallow the file
#: JSON objects whose keys tell a file's columns: one alone may lack what is null in it.
_LOOKED_AT = 20

# Numbers keep all their digits: a float in between would change them.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


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
        return parquet_rows(path)
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
    first = next(lines).value
    try:
        header = first.decode()
    except UnicodeDecodeError as error:
        if first.decode("latin-1").replace("\t", " ").isprintable():
            raise UsageError(
                f"The first line of {path} is not UTF-8: {error.reason} at byte {error.start + 1}.",
                remedy="Save the file as UTF-8. It may be in Latin 1 or Windows' encoding.",
            ) from None
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
        yield BadRow(line.number, "format:row", f"{found}; the header has {len(columns)} columns", readable(text))


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
