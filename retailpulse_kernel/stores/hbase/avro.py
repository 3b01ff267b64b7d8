"""Rows in Avro's single-object encoding, which clients of other languages read.

A cell is ``C3 01``, the CRC-64-AVRO of the schema that wrote it (8 bytes, little-endian), and the row's binary form.
Every field is a union of null and its type: decimals are unscaled numbers with their scale in the schema, times are
``timestamp-micros``, dates ``date``, and the elements of a list may be null, too.
https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.hbase.packing import packed
from retailpulse_kernel.stores.rows import element_of, schema_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["fingerprint", "is_record", "pack", "record", "schema_of_record", "schema_text", "unpack"]

_MARK: Final = b"\xc3\x01"
#: Bytes before the record.
_HEAD: Final = len(_MARK) + 8
_DECIMAL: Final = re.compile(r"decimal\((\d+),(\d+)\)")
_TYPES: Final[dict[str, Any]] = {
    "bool": "boolean",
    "int": "int",
    "long": "long",
    "double": "double",
    "string": "string",
    "binary": "bytes",
    "date": {"type": "int", "logicalType": "date"},
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
}
#: Wide enough for any decimal of 38 digits, so that nothing is rounded.
_EXACT: Final = Context(prec=80)
_EMPTY: Final = 0xC15D213AA4D7A795


def schema_text(table: RowTable) -> str:
    """The Avro schema of a table's rows, as JSON.

    Parameters
    ----------
    table : RowTable
        The table.
    """
    fields = [{"name": name, "type": ["null", _avro(kind)]} for name, kind in table.types.items()]
    return orjson.dumps({"type": "record", "name": table.name, "fields": fields}).decode()


@lru_cache(maxsize=1_000)
def fingerprint(schema: str) -> bytes:
    """The CRC-64-AVRO of a schema's canonical form, little-endian.

    Parameters
    ----------
    schema : str
        JSON.
    """
    found = _EMPTY
    for byte in _canonical(orjson.loads(schema)).encode():
        found = (found >> 8) ^ _CRCS[(found ^ byte) & 0xFF]
    return struct.pack("<Q", found)


def pack(table: RowTable, rows: pa.Table) -> list[bytes]:
    """The cells of rows.

    Parameters
    ----------
    table : RowTable
        The table.
    rows : pyarrow.Table
        With the table's columns.
    """
    return packed(table, rows, _MARK + fingerprint(schema_text(table)))


def unpack(table: RowTable, cells: list[bytes], schemas: Mapping[bytes, str]) -> pa.Table:
    """Rows from their cells; a column that a cell does not have is null.

    Parameters
    ----------
    table : RowTable
        The table.
    cells : list of bytes
        As `pack` makes them, under any of the table's schemas.
    schemas : mapping of bytes to str
        The table's schemas by their fingerprints.
    """
    import pyarrow as pa

    found: dict[str, list[Any]] = {name: [] for name in table.types}
    for cell in cells:
        row = record(cell, schemas)
        for name, values in found.items():
            values.append(row.get(name))
    schema = schema_of(table)
    columns = [pa.array(found[field.name], _counted_type(field.type)).cast(field.type) for field in schema]
    return pa.table(columns, schema)


def is_record(cell: bytes) -> bool:
    """Whether a cell is in the single-object encoding.

    Parameters
    ----------
    cell : bytes
        Any cell.
    """
    return cell.startswith(_MARK)


def schema_of_record(cell: bytes) -> bytes:
    """The fingerprint of the schema that wrote a cell.

    Parameters
    ----------
    cell : bytes
        As `pack` makes it.
    """
    return cell[len(_MARK) : _HEAD]


def record(cell: bytes, schemas: Mapping[bytes, str]) -> dict[str, Any]:
    """A cell's fields; dates and times are numbers of days and microseconds.

    Parameters
    ----------
    cell : bytes
        As `pack` makes it.
    schemas : mapping of bytes to str
        The schema that wrote it, and others, by their fingerprints.
    """
    found, place = {}, _HEAD
    for name, read in _fields(schemas[schema_of_record(cell)]):
        found[name], place = read(cell, place)
    return found


@lru_cache(maxsize=1_000)
def _fields(schema: str) -> list[tuple[str, Callable[[bytes, int], tuple[Any, int]]]]:
    return [(field["name"], _reader(field["type"])) for field in orjson.loads(schema)["fields"]]


def _avro(kind: str) -> Any:
    if (element := element_of(kind)) is not None:
        return {"type": "array", "items": ["null", _avro(element)]}
    if decimal := _DECIMAL.fullmatch(kind):
        return {"type": "bytes", "logicalType": "decimal", "precision": int(decimal[1]), "scale": int(decimal[2])}
    return _TYPES[kind]


def _canonical(schema: Any) -> str:
    """Avro's Parsing Canonical Form of what `schema_text` makes."""
    if isinstance(schema, str):
        return f'"{schema}"'
    if isinstance(schema, list):
        return f"[{','.join(map(_canonical, schema))}]"
    if schema["type"] == "record":
        fields = ",".join(f'{{"name":"{f["name"]}","type":{_canonical(f["type"])}}}' for f in schema["fields"])
        return f'{{"name":"{schema["name"]}","type":"record","fields":[{fields}]}}'
    if schema["type"] == "array":
        return f'{{"type":"array","items":{_canonical(schema["items"])}}}'
    return _canonical(schema["type"])


def _crc(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (_EMPTY & -(value & 1))
    return value


_CRCS: Final = [_crc(byte) for byte in range(256)]


def _counted_type(kind: pa.DataType) -> pa.DataType:
    """The type in which dates and times are numbers of days and microseconds."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return pa.list_(_counted_type(kind.value_type))
    return pa.int32() if pa.types.is_date(kind) else pa.int64() if pa.types.is_timestamp(kind) else kind


def _read_number(cell: bytes, place: int) -> tuple[int, int]:
    if (byte := cell[place]) < 0x80:  # most of them
        return (byte >> 1) ^ -(byte & 1), place + 1
    found = shift = 0
    while True:
        byte = cell[place]
        place += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (found >> 1) ^ -(found & 1), place
        shift += 7


def _read_bytes(cell: bytes, place: int) -> tuple[bytes, int]:
    length, place = _read_number(cell, place)
    return cell[place : place + length], place + length


def _read_text(cell: bytes, place: int) -> tuple[str, int]:
    found, place = _read_bytes(cell, place)
    return found.decode(), place


def _reader(schema: Any) -> Callable[[bytes, int], tuple[Any, int]]:
    """What reads a value of a schema from a place in a cell, and gives the place behind it."""
    if isinstance(schema, list):
        read = _reader(schema[1])
        return lambda cell, place: read(cell, place + 1) if cell[place] else (None, place + 1)
    match schema if isinstance(schema, str) else schema["type"]:
        case "array":
            return _list_reader(_reader(schema["items"]))
        case "bytes" if isinstance(schema, dict):
            return _decimal_reader(schema["scale"])
        case "bytes":
            return _read_bytes
        case "string":
            return _read_text
        case "double":
            return lambda cell, place: (struct.unpack_from("<d", cell, place)[0], place + 8)
        case "boolean":
            return lambda cell, place: (cell[place] == 1, place + 1)
    return _read_number


def _list_reader(read: Callable[[bytes, int], tuple[Any, int]]) -> Callable[[bytes, int], tuple[list[Any], int]]:
    def read_list(cell: bytes, place: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        count, place = _read_number(cell, place)
        while count:
            for _ in range(count):
                value, place = read(cell, place)
                found.append(value)
            count, place = _read_number(cell, place)
        return found, place

    return read_list


def _decimal_reader(scale: int) -> Callable[[bytes, int], tuple[Decimal, int]]:
    scaled = partial(Decimal.scaleb, other=-scale, context=_EXACT)

    def read(cell: bytes, place: int) -> tuple[Decimal, int]:
        found, place = _read_bytes(cell, place)
        return scaled(Decimal(int.from_bytes(found, "big", signed=True))), place

    return read
