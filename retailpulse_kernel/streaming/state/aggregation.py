"""Figure tables as one Spark aggregation.

All tables and grains of a job share one pass: an event is exploded into its windows (minute,
hour, day), and one ``groupBy`` keeps them all in one state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.spans import milliseconds
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.messages import EVENT_TYPES
from retailpulse_kernel.shop.tables import FigureTable, Grain

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

__all__ = ["aggregate", "columns_needed", "dimensions_of", "event_time", "figures_of", "rows_by_table", "slots"]

#: The metadata key by which Spark knows an event-time column and its delay; `window()` sets it
#: on its own column, and a window column made by hand needs it too, or its state is never freed.
_WATERMARK_KEY = "spark.watermarkDelayMs"


def event_time(column: str, name: str, delay: timedelta) -> Column:
    """A column by whose time Spark frees state, once its watermark has passed it by the delay.

    Parameters
    ----------
    column : str
        A column of timestamps.
    name : str
        The new column's.
    delay : timedelta
        How far the watermark stays behind the newest time.
    """
    from pyspark.sql import functions as F

    return F.col(column).alias(name, metadata={_WATERMARK_KEY: milliseconds(delay)})


def slots(tables: Sequence[FigureTable]) -> list[tuple[FigureTable, Grain]]:
    """Every table at every grain; a slot's number is what the aggregation groups by.

    Parameters
    ----------
    tables : sequence of FigureTable
        Those of the aggregation.
    """
    return [(table, grain) for table in tables for grain in table.every]


def figures_of(tables: Sequence[FigureTable]) -> list[Figure]:
    """The figures of an aggregation, in the order of its columns.

    Parameters
    ----------
    tables : sequence of FigureTable
        Those of the aggregation.

    Raises
    ------
    UsageError
        Two figures have one name, and the aggregation has one column for it.
    """
    found: dict[str, Figure] = {}
    for table in tables:
        for figure in table.figures:
            known = found.setdefault(figure.name, figure)
            if (known.measure, known.where) != (figure.measure, figure.where):
                raise UsageError(
                    f"The job has two figures {figure.name!r} that measure different things, one of them in the table "
                    f"{table.name!r}.",
                    remedy="Give one of them another name.",
                )
    return list(found.values())


def dimensions_of(tables: Sequence[FigureTable]) -> list[str]:
    """The dimensions of an aggregation, in the order of its columns.

    Parameters
    ----------
    tables : sequence of FigureTable
        Those of the aggregation.
    """
    return sorted({dimension for table in tables for dimension in table.by})


def columns_needed(tables: Sequence[FigureTable]) -> set[str]:
    """The event's columns that the tables' dimensions and figures use.

    Parameters
    ----------
    tables : sequence of FigureTable
        Those of the aggregation.
    """
    names = {name for table in tables for name in table.by} | {n for f in figures_of(tables) for n in f.names}
    types = names.intersection(EVENT_TYPES)
    return (names - types) | {"event_time"} | ({"event_type"} if types else set())


def aggregate(rows: DataFrame, tables: Sequence[FigureTable], *, watermark: timedelta = timedelta(0)) -> DataFrame:
    """The tables' figures, in the columns slot, end, dimensions and figures.

    Parameters
    ----------
    rows : DataFrame
        Accepted events, streaming or not.
    tables : sequence of FigureTable
        What to compute.
    watermark : timedelta
        How long a window's state is kept after its end; of a frame that is not a stream there is none.

    Raises
    ------
    UsageError
        The frame is a stream, and Spark would have to keep every value of a figure in its state.
    """
    from pyspark.sql import functions as F

    dimensions = dimensions_of(tables)
    figures = figures_of(tables)
    if rows.isStreaming:
        _require_small_state(figures)

    def window_end(grain: Grain) -> Column:
        return F.expr(grain.end_sql("event_time"))

    def window(slot: int, table: FigureTable, grain: Grain) -> Column:
        keys = [(F.col(d) if d in table.by else F.lit(None).cast("string")).alias(d) for d in dimensions]
        return F.struct(F.lit(slot).alias("slot"), window_end(grain).alias("end"), *keys)

    windows = F.array(*[window(i, table, grain) for i, (table, grain) in enumerate(slots(tables))])
    exploded = rows.select(
        *[F.expr(figure.sql).alias(f"f_{figure.name}") for figure in figures], F.explode(windows).alias("w")
    )
    keyed = exploded.select(
        F.col("w.slot"),
        event_time("w.end", "end", watermark),
        *[F.col(f"w.{d}") for d in dimensions],
        *[F.col(f"f_{figure.name}").alias(figure.name) for figure in figures],
    )
    return keyed.groupBy("slot", "end", *dimensions).agg(*[_aggregated(f).alias(f.name) for f in figures])


def _require_small_state(figures: Sequence[Figure]) -> None:
    """Refuse figures of which Spark's state would hold every value."""
    for figure in figures:
        if figure.rules.sketch is not None and figure.rules.sketch.is_collected:
            raise UsageError(
                f"Spark can't keep the quantile {figure.name!r} in its state: the state would hold every value.",
                remedy="Run the job on one machine, with windows that are written at each change and with no figure "
                "that only Spark's state can hold; or leave the quantile out.",
            )


def _aggregated(figure: Figure) -> Column:
    """A figure's column, combined over many events."""
    from pyspark.sql import functions as F

    combined, sketch = F.expr(figure.aggregate_sql), figure.rules.sketch
    if sketch is None or not sketch.is_collected:
        return combined
    return F.udf(lambda values: sketch.of(sketch.prepared(values).to_pylist()), "binary")(combined)


def rows_by_table(result: pa.Table, tables: Sequence[FigureTable]) -> dict[tuple[FigureTable, Grain], pa.Table]:
    """The rows of an aggregation's result, by the table and grain they belong to, as `stores.base.arrow_rows`.

    Parameters
    ----------
    result : pyarrow.Table
        With `slots` in the column ``slot`` and the windows' ends in ``end``.
    tables : sequence of FigureTable
        Those of the aggregation, in the same order.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = {}
    for slot, (table, grain) in enumerate(slots(tables)):
        rows = result.filter(pc.equal(result["slot"], slot))
        if rows.num_rows:
            # The end itself lies in the next window.
            inside = rows["end"].combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False) - 1
            start = pa.array(grain.starts(inside)).cast(pa.timestamp("us", tz="UTC"))
            names = [*table.by, *(figure.name for figure in table.figures)]
            found[table, grain] = rows.select(names).add_column(0, grain.name, start)
    return found
