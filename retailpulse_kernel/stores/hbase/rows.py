"""How a figure table's row lies in HBase: its key, and the one cell that holds all of it.

The key is ``<window's start>#<dimension>#...``, so that a scan by prefix is a scan by time. The
cell is a JSON object of dimensions and figures: money as text with its decimals, times as RFC 3339,
sketches as base64. Rows are packed column by column: one by one was measured to take longer than
HBase needs to store them.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["decode", "pack_cells", "pack_keys", "stamp", "unpack"]

#: How the start of windows of whole days, hours, minutes or seconds is written.
_STAMPS = {86_400: "%Y%m%d", 3_600: "%Y%m%dT%H", 60: "%Y%m%dT%H%M", 1: "%Y%m%dT%H%M%S"}
#: The same, by how long it is when it is written.
_BY_LENGTH = {8: "%Y%m%d", 11: "%Y%m%dT%H", 13: "%Y%m%dT%H%M", 15: "%Y%m%dT%H%M%S"}
#: What a key holds as it is, beside letters, digits and ``_.-~``.
_SAFE = " !$&'()*+,-./:;<=>?@[]^_`{|}~"
_PLAIN = f"^[A-Za-z0-9{re.escape(_SAFE)}]*$"
#: What JSON has to escape in a text.
_ESCAPED = r'["\\\x00-\x1f]'


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


def pack_cells(table: FigureTable, rows: pa.Table) -> list[bytes]:
    """The cells of rows.

    Parameters
    ----------
    table : FigureTable
        Whose dimensions and figures a cell holds.
    rows : pyarrow.Table
        With the columns of `stores.base.arrow_rows`.
    """
    import pyarrow.compute as pc

    parts: list[Any] = []
    for name in table.by:
        parts += [f',"{name}":', _json_texts(rows[name])]
    for figure in table.figures:
        parts += [f',"{figure.name}":', _json_values(figure, rows[figure.name])]
    parts[0] = "{" + parts[0][1:]
    joined = pc.binary_join_element_wise(*parts, "}", "", null_handling="replace", null_replacement="null")
    return [cell.encode() for cell in joined.to_pylist()]


def unpack(table: FigureTable, grain: Grain, key: bytes, cell: bytes) -> Row:
    """A row from its key and its cell.

    Parameters
    ----------
    table, grain : FigureTable, Grain
        Which stored table; a figure that the cell does not have is None.
    key, cell : bytes
        As `pack_keys` and `pack_cells` make them.
    """
    found = orjson.loads(cell)
    row: Row = {grain.name: _start(key.split(b"#", 1)[0].decode(), grain), **{name: found[name] for name in table.by}}
    return row | {figure.name: decode(figure, found.get(figure.name)) for figure in table.figures}


@lru_cache(maxsize=1_000)
def _start(text: str, grain: Grain) -> datetime:
    # To parse it takes longer than all the rest of a row, and there are few.
    moment = datetime.strptime(text, _BY_LENGTH[len(text)])
    return grain.calendar.midnight(moment.date()) if len(text) == 8 else moment.replace(tzinfo=UTC)


def decode(figure: Figure, value: Any) -> Any:
    """A figure's value from what JSON says of it.

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
    import pyarrow.compute as pc

    texts = pc.fill_null(texts, str(None))
    if pc.all(pc.match_substring_regex(texts, _PLAIN)).as_py() is not False:
        return texts
    return _each(texts, lambda text: quote(text, safe=_SAFE))


def _json_texts(texts: pa.ChunkedArray) -> Any:
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(texts, _ESCAPED)).as_py():
        return _each(texts, lambda text: orjson.dumps(text).decode())
    return pc.binary_join_element_wise('"', texts, '"', "")


def _json_values(figure: Figure, values: pa.ChunkedArray) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    match figure.rules.value:
        case Value.WHOLE:
            return pc.cast(values, pa.string())
        case Value.SKETCH:
            return _each(values, lambda sketch: f'"{b64encode(sketch).decode()}"')
        case Value.TIME:
            return pc.binary_join_element_wise(
                '"', pc.replace_substring(pc.cast(values, pa.string()), " ", "T"), '"', ""
            )
        case _:
            return pc.binary_join_element_wise('"', pc.cast(values, pa.string()), '"', "")


def _each(values: pa.ChunkedArray, function: Any) -> pa.Array:
    """A function of every value that is there, one by one."""
    import pyarrow as pa

    return pa.array([None if value is None else function(value) for value in values.to_pylist()], pa.string())
