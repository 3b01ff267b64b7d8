"""Rows as every store takes them: a table's columns in their types, the last row of each key, and what can't be kept.

>>> table = RowTable("carts", (Column("user_id", "string"), Column("items", "int")), key=("user_id",))
>>> schema_of(table).names
['user_id', 'items']
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.shop.rows import DELETED, Column, RowTable

if TYPE_CHECKING:
    import pyarrow as pa

    from retailpulse_kernel.stores.base import RowStore

__all__ = [
    "arrow_type",
    "check_key",
    "check_name",
    "element_of",
    "last_of_each",
    "prepared",
    "refuse_empty",
    "refuse_holes",
    "refuse_long",
    "require_key",
    "require_same",
    "rows_if_any",
    "schema_of",
    "split",
    "with_removals",
]

_LIST = re.compile(r"list<(.+)>")
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


def element_of(column_type: str) -> str | None:
    """The type of a list's elements; None of what is not a list.

    >>> element_of("list<decimal(9,2)>")
    'decimal(9,2)'

    Parameters
    ----------
    column_type : str
        As `Column.type` has it.
    """
    found = _LIST.fullmatch(column_type)
    return found[1] if found else None


def arrow_type(column_type: str) -> pa.DataType:
    """Arrow's type of a column.

    Parameters
    ----------
    column_type : str
        As `Column.type` has it.
    """
    import pyarrow as pa

    if (element := element_of(column_type)) is not None:
        return pa.list_(arrow_type(element))
    if found := _DECIMAL.fullmatch(column_type):
        return pa.decimal128(int(found[1]), int(found[2]))
    return {
        "bool": pa.bool_(),
        "int": pa.int32(),
        "long": pa.int64(),
        "double": pa.float64(),
        "string": pa.string(),
        "binary": pa.binary(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
    }[column_type]


def schema_of(table: RowTable) -> pa.Schema:
    """A table's columns as Arrow has them.

    Parameters
    ----------
    table : RowTable
        The table.
    """
    import pyarrow as pa

    return pa.schema([(column.name, arrow_type(column.type)) for column in table.columns])


def require_key(table: RowTable, store: str) -> None:
    """Refuse a table without a key, and what `check_key` and `check_name` refuse.

    Parameters
    ----------
    table : RowTable
        The table.
    store : str
        Who asks, for people.

    Raises
    ------
    UsageError
        The table has no key, or the name or the key can't be one.
    """
    check_name(table)
    if not table.is_keyed:
        raise UsageError(
            f"{store} keeps rows by their key, and the table {table.name!r} has none.",
            remedy="Name the columns that tell a row from another: `key=[...]`. Hive takes rows without a key.",
        )
    check_key(table)


def check_name(table: RowTable) -> None:
    """Refuse a name that a store's table can't have.

    Parameters
    ----------
    table : RowTable
        The table.

    Raises
    ------
    UsageError
        The name can't be one.
    """
    if not is_name(table.name):
        raise UsageError(f"{table.name!r} can't be the name of a table.", remedy=NAME_RULE)


def check_key(table: RowTable) -> None:
    """Refuse a key whose values can't be told apart for sure.

    Parameters
    ----------
    table : RowTable
        With a key or without.

    Raises
    ------
    UsageError
        A list or a double is part of the key: 0.0 and -0.0 are equal, and NaN is not equal to itself.
    """
    for name in table.key:
        kind = table.types[name]
        if kind == "double" or element_of(kind):
            raise UsageError(
                f"The column {name!r} of the table {table.name!r} has the type {kind!r}, which can't be part of a key.",
                remedy="Cast the column to a decimal or to a string, or leave the column out of the key.",
            )


def prepared(table: RowTable, rows: pa.Table) -> pa.Table:
    """Rows with the table's columns in their types, and `DELETED` behind them; of a key, only the last row.

    Parameters
    ----------
    table : RowTable
        The table.
    rows : pyarrow.Table
        What a caller of `RowWriter.write_rows` gives.

    Raises
    ------
    UsageError
        A column is absent, has values that do not fit the type, or is null in a key.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for column in table.columns:
        if column.name not in rows.column_names:
            raise UsageError(
                f"The rows for the table {table.name!r} have no column {column.name!r}.",
                remedy=f"They have {', '.join(rows.column_names)}.",
            )
        columns.append(_cast(table, column, rows[column.name]))
        if column.name in table.key and columns[-1].null_count:
            raise UsageError(
                f"The column {column.name!r} is part of the key of the table {table.name!r}, and is null in "
                f"{columns[-1].null_count:,} rows.",
                remedy="Filter these rows out, or fill the column: `F.coalesce(column, ...)`.",
            )
    deleted = pa.chunked_array([pa.repeat(False, len(rows))])
    if DELETED in rows.column_names:
        if not table.is_keyed:
            raise UsageError(
                f"The rows for the table {table.name!r} have a column {DELETED!r}, and the table has no key.",
                remedy="Give the table a key, or drop the column.",
            )
        deleted = pc.fill_null(rows[DELETED].cast(pa.bool_()), False)
    found = pa.table([*columns, deleted], schema_of(table).append(pa.field(DELETED, pa.bool_())))
    return last_of_each(found, list(table.key)) if table.is_keyed else found


def last_of_each(rows: pa.Table, key: list[str]) -> pa.Table:
    """The last row of each key, in the order of the rows.

    Parameters
    ----------
    rows : pyarrow.Table
        In the order in which they were made.
    key : list of str
        The key's columns.
    """
    import pyarrow as pa

    place = "_place"
    numbered = rows.select(key).append_column(place, pa.array(range(len(rows)), pa.int64()))
    last = numbered.group_by(key).aggregate([(place, "max")])[f"{place}_max"]
    return rows if len(last) == len(rows) else rows.take(last.sort())


def split(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows that are to be there and rows that are to be removed, both without `DELETED`.

    Parameters
    ----------
    rows : pyarrow.Table
        As `prepared` gives them.
    """
    import pyarrow.compute as pc

    deleted = rows[DELETED]
    without = rows.drop_columns([DELETED])
    return without.filter(pc.invert(deleted)), without.filter(deleted)


def rows_if_any(store: RowStore, table: RowTable) -> pa.Table:
    """The rows of a table; none where the job has not made the table yet.

    Parameters
    ----------
    store : RowStore
        Where the table is.
    table : RowTable
        The table.

    Raises
    ------
    StoreUnavailable
        The store does not answer.
    """
    try:
        return store.read_rows(table)
    except NoSuchTable:
        return schema_of(table).empty_table()


def with_removals(table: RowTable, rows: pa.Table, before: pa.Table) -> pa.Table:
    """Rows, and a removal of each row of before whose key they do not have.

    Parameters
    ----------
    table : RowTable
        A table with a key.
    rows : pyarrow.Table
        The rows that the table is to have.
    before : pyarrow.Table
        Those that it has.
    """
    import pyarrow as pa

    key, schema = list(table.key), schema_of(table)
    kept = rows.select(schema.names).cast(schema)
    gone = before.select(key).join(kept.select(key), key, join_type="left anti")
    removed = pa.table([gone[f.name] if f.name in key else pa.nulls(len(gone), f.type) for f in schema], schema=schema)
    return pa.concat_tables(
        [
            part.append_column(DELETED, pa.repeat(pa.scalar(is_gone), len(part)))
            for part, is_gone in ((kept, False), (removed, True))
        ]
    )


def refuse_empty(table: RowTable, rows: pa.Table, name: str, store: str) -> None:
    """Refuse empty values of a column that can't be empty.

    Parameters
    ----------
    table : RowTable
        For the error.
    rows : pyarrow.Table
        As `prepared` gives them.
    name : str
        A column of texts or bytes; any other is never empty.
    store : str
        Who refuses, for people.

    Raises
    ------
    UsageError
        A value is empty.
    """
    import pyarrow.compute as pc

    if table.types[name] in ("string", "binary") and pc.any(pc.equal(pc.binary_length(rows[name]), 0)).as_py():
        raise UsageError(
            f"{store} can't keep a row whose key begins with an empty value: the column {name!r} of the table "
            f"{table.name!r} has one.",
            remedy=f"Give empty values a name, `F.when(F.col({name!r}) == '', '(none)')`, or put a column first in "
            "`key` that is never empty.",
        )


def refuse_long(table: RowTable, rows: pa.Table, names: Collection[str], most: int, store: str) -> None:
    """Refuse texts and bytes that are too long for a key.

    Parameters
    ----------
    table : RowTable
        For the error.
    rows : pyarrow.Table
        As `prepared` gives them.
    names : collection of str
        The columns to look at.
    most : int
        Bytes that one value may have.
    store : str
        Who refuses, for people.

    Raises
    ------
    UsageError
        A value is longer.
    """
    import pyarrow.compute as pc

    for name in names:
        if table.types[name] not in ("string", "binary"):
            continue
        longest = pc.max(pc.binary_length(rows[name])).as_py() or 0
        if longest > most:
            raise UsageError(
                f"A key in {store} has values of at most {most:,} bytes: the column {name!r} of the table "
                f"{table.name!r} has one of {longest:,}.",
                remedy=f"Shorten the column, or use a hash as the key: `F.sha2({name!r}, 256)`.",
            )


def refuse_holes(table: RowTable, rows: pa.Table, store: str) -> None:
    """Refuse lists that have a null among their elements.

    Parameters
    ----------
    table : RowTable
        For the error.
    rows : pyarrow.Table
        As `prepared` gives them.
    store : str
        Who refuses, for people.

    Raises
    ------
    UsageError
        A list has a null.
    """
    import pyarrow.compute as pc

    for name, kind in table.types.items():
        if element_of(kind) and pc.list_flatten(rows[name]).null_count:
            raise UsageError(
                f"{store} can't keep a null within a list: the column {name!r} of the table {table.name!r} has one.",
                remedy=f"Leave the nulls out: `F.array_compact({name!r})`.",
            )


def require_same(table: RowTable, store: str, *, key: Collection[str], types: Mapping[str, Any], wanted: Any) -> None:
    """Refuse a table that is there already, and is another one.

    Parameters
    ----------
    table : RowTable
        What is asked for.
    store : str
        Who refuses, for people.
    key : collection of str
        The key of the table that is there, in order.
    types : mapping of str to object
        The types of the columns that are there, as the store calls them.
    wanted : callable
        The store's type for a `Column.type`.

    Raises
    ------
    UsageError
        The key or the type of a column is another one.
    """
    remedy = "Write to a table of another name, or remove this one with all its rows."
    if tuple(key) != table.key:
        raise UsageError(
            f"The {store} table {table.name!r} is there, and its key is {_named(key)}, not {_named(table.key)}.",
            remedy=remedy,
        )
    for name, kind in table.types.items():
        if name in types and types[name] != wanted(kind):
            raise UsageError(
                f"The {store} table {table.name!r} is there, and its column {name!r} is {types[name]}, "
                f"not {wanted(kind)}.",
                remedy=remedy,
            )


def _named(key: Collection[str]) -> str:
    return f"({', '.join(key)})" if key else "absent"


def _cast(table: RowTable, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        return values.cast(arrow_type(column.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"The column {column.name!r} of the table {table.name!r} is {column.type}, and its values do not fit: "
            f"{str(error).splitlines()[0].rstrip('.')}.",
            remedy="Cast the column in the notebook to the table's type.",
        ) from error
