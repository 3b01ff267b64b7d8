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
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.rows import element_of, schema_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["fingerprint", "pack", "schema_text", "unpack"]

_MARK: Final = b"\xc3\x01"
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
    head = _MARK + fingerprint(schema_text(table))
    columns = []
    for name, kind in table.types.items():
        encode = _writer(kind)
        columns.append([encode(value) for value in _counted(rows[name], kind).to_pylist()])
    return [head + b"".join(parts) for parts in zip(*columns, strict=True)]


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

    readers: dict[bytes, list[tuple[str, Callable[[bytes, int], tuple[Any, int]]]]] = {}
    found: dict[str, list[Any]] = {name: [] for name in table.types}
    for cell in cells:
        mark = cell[2:10]
        if mark not in readers:
            written = orjson.loads(schemas[mark])["fields"]
            readers[mark] = [(field["name"], _reader(field["type"])) for field in written]
        row, place = dict.fromkeys(found), 10
        for name, read in readers[mark]:
            row[name], place = read(cell, place)
        for name, values in found.items():
            values.append(row[name])
    schema = schema_of(table)
    columns = [pa.array(found[field.name], _counted_type(field.type)).cast(field.type) for field in schema]
    return pa.table(columns, schema)


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


def _counted(values: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    return values.cast(_counted_type(values.type)) if (element_of(kind) or kind) in ("date", "timestamp") else values


def _writer(kind: str) -> Callable[[Any], bytes]:
    """What writes a value, or null, of a type."""
    element = element_of(kind)
    write = _list_writer(_writer(element)) if element else _WRITERS.get(kind) or _decimal_writer(kind)
    return lambda value: b"\0" if value is None else b"\2" + write(value)


def _list_writer(write: Callable[[Any], bytes]) -> Callable[[list[Any]], bytes]:
    return lambda values: _number(len(values)) + b"".join(map(write, values)) + b"\0" if values else b"\0"


def _decimal_writer(kind: str) -> Callable[[Decimal], bytes]:
    scale = int(_DECIMAL.fullmatch(kind)[2])  # type: ignore[index]

    def write(value: Decimal) -> bytes:
        number = int(value.scaleb(scale, _EXACT))
        return _bytes(number.to_bytes((max(number, ~number).bit_length() + 8) // 8, "big", signed=True))

    return write


def _number(value: int) -> bytes:
    """A whole number of variable length, zig-zag."""
    left = (value << 1) ^ (value >> 63)
    if left < 0x80:
        return _SMALL[left]
    found = bytearray()
    while left >= 0x80:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


def _bytes(value: bytes) -> bytes:
    return _number(len(value)) + value


_SMALL: Final = [bytes([value]) for value in range(0x80)]
_WRITERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "bool": lambda value: b"\1" if value else b"\0",
    "int": _number,
    "long": _number,
    "date": _number,
    "timestamp": _number,
    "double": struct.Struct("<d").pack,
    "string": lambda value: _bytes(value.encode()),
    "binary": _bytes,
}


def _read_number(cell: bytes, place: int) -> tuple[int, int]:
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
    def read(cell: bytes, place: int) -> tuple[Decimal, int]:
        found, place = _read_bytes(cell, place)
        return Decimal(int.from_bytes(found, "big", signed=True)).scaleb(-scale, _EXACT), place

    return read
