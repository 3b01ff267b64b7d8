"""How a figure table's row lies in HBase: its key, and the one cell that holds all of it.

The key is ``<window's start>#<dimension>#...``, so that a scan by prefix is a scan by time. The cell is an Avro record
of dimensions and figures: money as an unscaled number with its scale, times as ``timestamp-micros``, sketches as bytes
(see `retailpulse_kernel.stores.hbase.avro`). Cells of before are JSON objects, and are still read: money is text in
them, times are RFC 3339, sketches base64.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import DIGITS, PLACES, Value
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row
from retailpulse_kernel.stores.hbase.avro import fingerprint, is_record, pack, record, schema_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FIGURES_CELL",
    "as_rows",
    "decode",
    "own_schemas",
    "pack_cells",
    "pack_keys",
    "stamp",
    "stamp_from",
    "unpacker",
]

#: The one cell of a figure table's row.
FIGURES_CELL: Final = b"f:row"

#: How the start of windows of whole days, hours, minutes or seconds is written.
_STAMPS = {86_400: "%Y%m%d", 3_600: "%Y%m%dT%H", 60: "%Y%m%dT%H%M", 1: "%Y%m%dT%H%M%S"}
#: The same, by how long it is when it is written.
_BY_LENGTH = {8: "%Y%m%d", 11: "%Y%m%dT%H", 13: "%Y%m%dT%H%M", 15: "%Y%m%dT%H%M%S"}
#: What a key holds as it is, beside letters, digits and ``_.-~``.
_SAFE = " !$&'()*+,-./:;<=>?@[]^_`{|}~"
_PLAIN = f"^[A-Za-z0-9{re.escape(_SAFE)}]*$"
#: The types of a cell's figures.
_TYPES: Final = {
    Value.WHOLE: "long", Value.DECIMAL: f"decimal({DIGITS},{PLACES})", Value.TIME: "timestamp", Value.SKETCH: "binary",
}  # fmt: skip
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def stamp(moment: datetime, grain: Grain) -> str:
    """How a window's start is written in a key.

    Parameters
    ----------
    moment : datetime
        With a zone.
    grain : Grain
        How long the window is. Of whole days the stamp is the day, of whole hours also the hour, and so on. A day is
        that of the grain's calendar, and everything finer is UTC, in which no hour comes twice.
    """
    if (form := _form(grain)) == _STAMPS[86_400]:
        return grain.calendar.day_of(moment).strftime(form)
    return moment.astimezone(UTC).strftime(form)


def stamp_from(moment: datetime, grain: Grain) -> bytes:
    """The beginning of the key of the first window that starts at a time or later.

    Parameters
    ----------
    moment : datetime
        With a zone.
    grain : Grain
        How long the windows are.
    """
    return stamp(grain.start_from(moment), grain).encode()


def _form(grain: Grain) -> str:
    if grain.unit in ("day", "week", "month"):
        return _STAMPS[86_400]
    if not grain.calendar.is_utc:  # hours that begin at any minute of those of UTC
        return _STAMPS[1]
    return next(form for part, form in _STAMPS.items() if not grain.seconds % part)


def pack_keys(table: FigureTable, grain: Grain, rows: pa.Table) -> list[bytes]:
    """The keys of rows; different dimensions never make the same key.

    Parameters
    ----------
    table, grain : FigureTable, Grain
        Which stored table.
    rows : pyarrow.Table
        With the columns of `stores.base.arrow_rows`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    starts = rows[grain.name].combine_chunks().dictionary_encode()
    stamps = pa.array([stamp(start, grain) for start in starts.dictionary.to_pylist()], pa.string()).take(
        starts.indices
    )
    keys = pc.binary_join_element_wise(stamps, *(_escaped(rows[d]) for d in table.by), "#")
    return [key.encode() for key in keys.to_pylist()]


@cache
def as_rows(table: FigureTable) -> RowTable:
    """What a cell holds, as a table of rows: the dimensions and the figures.

    Its name says nothing, so that a copy of a table has the same cells.

    Parameters
    ----------
    table : FigureTable
        At any of its grains.
    """
    figures = (Column(figure.name, _TYPES[figure.rules.value]) for figure in table.figures)
    return RowTable("row", (*(Column(name, "string") for name in table.by), *figures), table.by)


@cache
def own_schemas(table: FigureTable) -> dict[bytes, str]:
    """The schema of the cells that are written now, by its fingerprint.

    Parameters
    ----------
    table : FigureTable
        At any of its grains.
    """
    schema = schema_text(as_rows(table))
    return {fingerprint(schema): schema}


def pack_cells(table: FigureTable, rows: pa.Table) -> list[bytes]:
    """The cells of rows.

    Parameters
    ----------
    table : FigureTable
        Whose dimensions and figures a cell holds.
    rows : pyarrow.Table
        With the columns of `stores.base.arrow_rows`.
    """
    return pack(as_rows(table), rows)


def unpacker(
    table: FigureTable, grain: Grain, schemas: Mapping[bytes, str] | None = None
) -> Callable[[bytes, bytes], Row]:
    """What makes a row of its key and its cell, as `pack_keys` and `pack_cells` make them.

    Parameters
    ----------
    table, grain : FigureTable, Grain
        Which stored table; a figure that a cell does not have is None.
    schemas : mapping of bytes to str, optional
        Of all cells, by their fingerprints; that of the table when absent.
    """
    known = own_schemas(table) if schemas is None else schemas
    names = (*table.by, *(figure.name for figure in table.figures))
    times = [figure.name for figure in table.figures if figure.rules.value is Value.TIME]

    def fields(cell: bytes) -> dict[str, Any]:
        if not is_record(cell):
            found = orjson.loads(cell)
            return found | {figure.name: decode(figure, found.get(figure.name)) for figure in table.figures}
        found = record(cell, known)
        for name in times:
            if (microseconds := found.get(name)) is not None:
                found[name] = _EPOCH + timedelta(microseconds=microseconds)
        return found

    def unpack(key: bytes, cell: bytes) -> Row:
        found = fields(cell)
        row: Row = {grain.name: _start(key.split(b"#", 1)[0].decode(), grain)}
        for name in names:
            row[name] = found.get(name)
        return row

    return unpack


@lru_cache(maxsize=1_000)
def _start(text: str, grain: Grain) -> datetime:
    # To parse it takes longer than all the rest of a row, and there are few.
    moment = datetime.strptime(text, _BY_LENGTH[len(text)])
    return grain.calendar.midnight(moment.date()) if len(text) == 8 else moment.replace(tzinfo=UTC)


def decode(figure: Figure, value: Any) -> Any:
    """A figure's value from what a JSON cell of before says of it.

    Parameters
    ----------
    figure : Figure
        Says what type the value has.
    value : object
        Text or a number; None stays None.
    """
    if value is None:
        return None
    match figure.rules.value:
        case Value.SKETCH:
            return b64decode(value)
        case Value.DECIMAL:
            return Decimal(value)
        case Value.TIME:
            return datetime.fromisoformat(value)
        case _:
            return value


def _escaped(texts: pa.ChunkedArray) -> Any:
    """Parts of keys: '#' separates and '%' escapes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.fill_null(texts, str(None))
    if pc.all(pc.match_substring_regex(texts, _PLAIN)).as_py() is not False:
        return texts
    return pa.array([quote(text, safe=_SAFE) for text in texts.to_pylist()], pa.string())
