"""The rows of a reference table: in the columns' types, each key once. What does not fit is refused with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from csv import reader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.contract.model import ReferenceTable
from retailpulse_kernel.shop.contract.types import arrow_type, element_of
from retailpulse_kernel.shop.contract.values import typed_value, value_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CSV", "PARQUET", "file_rows", "object_rows", "typed_rows"]

CSV: Final = ".csv"
PARQUET: Final = ".parquet"


def file_rows(table: ReferenceTable, folder: Path) -> pa.Table:
    """The rows of a table's file.

    Parameters
    ----------
    table : ReferenceTable
        Its place is a CSV or Parquet file.
    folder : Path
        The contract's folder, to which the file's path is relative.

    Raises
    ------
    UnknownName
        The file lacks a column.
    UsageError
        The file is not there or can't be read, or its rows do not fit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / table.place
    try:
        rows = _csv(path) if path.suffix == CSV else pq.read_table(path)
    except FileNotFoundError:
        raise UsageError(
            f"The file {path} is not there.", remedy="Its path is relative to the contract's folder."
        ) from None
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"The file {path} can't be read: {error}.", remedy="Write it again.") from error
    return typed_rows(table, rows, path.name)


def _csv(path: Path) -> pa.Table:
    """A CSV file as texts; an empty cell is null."""
    import pyarrow as pa
    from pyarrow import csv

    with path.open(newline="", encoding="utf-8-sig") as lines:
        names = next(reader(lines), [])
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    return csv.read_csv(path, convert_options=options)


def object_rows(table: ReferenceTable, objects: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows from JSON objects, such as the messages of a topic; what an object does not have is null.

    Parameters
    ----------
    table : ReferenceTable
        The table.
    objects : iterable of mapping
        Numbers with a point as `Decimal`.

    Raises
    ------
    UsageError
        A value is not of its column's type, or the rows do not fit.
    """
    import pyarrow as pa

    found = list(objects)
    columns = []
    for name, kind in table.columns:
        try:
            columns.append(pa.array([_value(kind, one.get(name)) for one in found], arrow_type(kind)))
        except (ValueError, pa.ArrowInvalid) as error:
            raise _misfit(table, name, kind, error) from error
    return _keyed(table, pa.table(columns, _schema_of(table)))


def _value(kind: str, given: Any) -> Any:
    if given is None:
        return None
    if (element := element_of(kind)) is None:
        return typed_value(kind, value_of(kind, given))
    if not isinstance(given, list):
        raise ValueError(f"{given!r} is not a list")
    return [_value(element, one) for one in given]


def typed_rows(table: ReferenceTable, rows: pa.Table, source: str) -> pa.Table:
    """Rows in the table's columns and their types.

    Parameters
    ----------
    table : ReferenceTable
        The table.
    rows : pyarrow.Table
        With the columns in any type that converts without loss; further columns are left out.
    source : str
        Where the rows come from, for the error: ``"products.csv"``.

    Raises
    ------
    UnknownName
        A column is missing.
    UsageError
        A value does not fit its column's type, or a key is null or comes twice.
    """
    import pyarrow as pa

    columns = []
    for name, kind in table.columns:
        if name not in rows.column_names:
            raise UnknownName("column", name, rows.column_names, of=source)
        try:
            columns.append(rows[name].cast(arrow_type(kind)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise _misfit(table, name, kind, error) from error
    return _keyed(table, pa.table(columns, _schema_of(table)))


def _misfit(table: ReferenceTable, name: str, kind: str, error: Exception) -> UsageError:
    said = str(error).splitlines()[0].rstrip(".")
    return UsageError(
        f"The column {name!r} of the reference table {table.name!r} has a value that is not a {kind}: {said}.",
        remedy="Correct the value, or give the column another type in the contract.",
    )


def _keyed(table: ReferenceTable, rows: pa.Table) -> pa.Table:
    """The rows, once it is known that each key is there once, and whole; in the order of the key."""
    import pyarrow.compute as pc

    remedy = "Correct the rows: a key tells one row of the table from all others."
    for name in table.key:
        if nulls := rows[name].null_count:
            said = "1 row" if nulls == 1 else f"{nulls:,} rows"
            raise UsageError(
                f"The key column {name!r} of the reference table {table.name!r} is null in {said}.", remedy=remedy
            )
    counted = rows.group_by(list(table.key)).aggregate([([], "count_all")])
    if counted.num_rows < rows.num_rows:
        again = counted.filter(pc.greater(counted["count_all"], 1)).slice(0, 1).to_pylist()[0]
        key = " and ".join(f"{name} = {again[name]!s}" for name in table.key)
        raise UsageError(
            f"The reference table {table.name!r} has the key {key} {again['count_all']} times.", remedy=remedy
        )
    # The same rows in another order are the same version.
    return rows.sort_by([(name, "ascending") for name in table.key])


def _schema_of(table: ReferenceTable) -> pa.Schema:
    """The table's columns as Arrow has them."""
    import pyarrow as pa

    return pa.schema([(name, arrow_type(kind)) for name, kind in table.columns])
