"""What a micro-batch's events add to the windows that they are in, aggregated in Arrow.

Spark says of each event what it adds to each figure; rows of few keys are then aggregated here more quickly than by two
more stages and a shuffle (docs/adr/0019). Each table is aggregated in its finest windows, and wider
windows are made of the widest that divide them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import PLACES, Combination, Value, arrow_type
from retailpulse_kernel.shop.tables import FigureTable, Grain
from retailpulse_kernel.streaming.state.aggregation import dimensions_of, figures_of, slots

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["aggregate_batch", "contributions"]

_TIME: Final = "end"  # a name that no figure has; windows are told by it in the result

#: Wide enough for the sum of as many numbers as an array can have.
_WIDE: Final = {Value.WHOLE: pa.decimal128(38, 0), Value.DECIMAL: pa.decimal128(38, PLACES)}


def contributions(frame: DataFrame, tables: Sequence[FigureTable]) -> DataFrame:
    """Each event's time, its dimensions, and what it adds to each figure.

    Parameters
    ----------
    frame : DataFrame
        Events, with the columns of `columns_needed`.
    tables : sequence of FigureTable
        Those whose figures are wanted.
    """
    from pyspark.sql import functions as F

    figures = (F.expr(figure.sql).alias(figure.name) for figure in figures_of(tables))
    return frame.select(F.col("event_time").alias(_TIME), *dimensions_of(tables), *figures)


def aggregate_batch(rows: pa.Table, tables: Sequence[FigureTable]) -> pa.Table:
    """What events add to each window and key.

    Parameters
    ----------
    rows : pyarrow.Table
        In the columns of `contributions`.
    tables : sequence of FigureTable
        What to sum up.

    Returns
    -------
    pyarrow.Table
        In the columns that `aggregation.aggregate` gives: slot, end of the window, dimensions, figures.

    Raises
    ------
    OverflowError
        A sum does not fit into its column.
    """
    figures, dimensions = figures_of(tables), dimensions_of(tables)
    for figure in figures:
        if figure.rules.value is Value.SKETCH:
            rows = _replaced(rows, figure.name, figure.rules.sketching.prepared(rows[figure.name]))
    found: dict[tuple[FigureTable, Grain], pa.Table] = {}
    for table in tables:
        for grain in sorted(table.every, key=lambda grain: grain.seconds):
            finer = [one for one in table.every if (table, one) in found and one.divides(grain)]
            parts = found[table, finer[-1]] if finer else rows
            found[table, grain] = _combined(_windowed(parts, grain), table.by, figures)
    return pa.concat_tables(
        [_as_slot(number, found[slot], slot[1], dimensions, figures) for number, slot in enumerate(slots(tables))]
    )


def _windowed(rows: pa.Table, grain: Grain) -> pa.Table:
    """Times as the starts of their windows."""
    return _replaced(rows, _TIME, pa.array(grain.starts(_microseconds(rows))).cast(pa.timestamp("us")))


def _microseconds(rows: pa.Table) -> Any:
    return rows[_TIME].combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False)


def _combined(rows: pa.Table, by: Sequence[str], figures: Sequence[Figure]) -> pa.Table:
    """One row for each window and key."""
    for figure in figures:
        # As many events as a batch can have are counted in 64 bits; what they add may be more.
        if figure.rules.weighed_as and not _fits(rows[figure.name]):
            rows = _replaced(rows, figure.name, rows[figure.name].cast(_WIDE[figure.rules.value]))
    nothing_is_zero = pc.ScalarAggregateOptions(min_count=0)
    how: list[Any] = []
    for figure in figures:
        match figure.rules.combination:
            case Combination.SUM:
                how.append((figure.name, "sum", nothing_is_zero))
            case Combination.UNION:
                how.append((figure.name, "list"))
            case extreme:
                how.append((figure.name, str(extreme)))
    # In one thread: rows of one key come in their order, and the columns are few.
    grouped = rows.group_by([_TIME, *by], use_threads=False).aggregate(how)
    columns = {name: grouped[name] for name in (_TIME, *by)}
    for figure, (_, combine, *_) in zip(figures, how, strict=True):
        columns[figure.name] = _stored(figure, grouped[f"{figure.name}_{combine}"])
    return pa.table(columns)


def _fits(column: pa.ChunkedArray) -> bool:
    """Whether no sum of a column's whole numbers can leave 64 bits, which Arrow would not notice."""
    if not pa.types.is_int64(column.type):
        return False
    ends = pc.min_max(column).as_py()
    return max(-(ends["min"] or 0), ends["max"] or 0) * len(column) < 2**63


def _stored(figure: Figure, column: pa.ChunkedArray) -> Any:
    """A combined column as it is stored."""
    value = figure.rules.value
    if value is Value.SKETCH:
        # Of single events their values, of finer windows their sketches.
        merge = figure.rules.combine if pa.types.is_binary(column.type.value_type) else figure.rules.sketching.of
        return pa.array([merge(values) for values in column.to_pylist()], pa.binary())
    if value is Value.TIME:
        return column  # as Spark has it
    try:
        return column.cast(arrow_type(value))
    except pa.ArrowInvalid as error:
        raise OverflowError(f"{figure.name} became greater than its column holds: {error}.") from error


def _as_slot(
    number: int, rows: pa.Table, grain: Grain, dimensions: Sequence[str], figures: Sequence[Figure]
) -> pa.Table:
    """Rows with a column for everything that any table has."""
    length = rows.num_rows
    end = pa.array(grain.ends(_microseconds(rows))).cast(pa.timestamp("us", tz="UTC"))
    columns: dict[str, Any] = {"slot": pa.repeat(pa.scalar(number, pa.int32()), length), _TIME: end}
    for name in dimensions:
        columns[name] = rows[name] if name in rows.column_names else pa.nulls(length, pa.string())
    return pa.table(columns | {figure.name: rows[figure.name] for figure in figures})


def _replaced(rows: pa.Table, name: str, column: Any) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, column)
