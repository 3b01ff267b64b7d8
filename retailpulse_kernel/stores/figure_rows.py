"""Rows of figures, as every store of figures takes and gives them: their forms, partitions, ranges and sums."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import Value, arrow_type
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "PATHS",
    "Only",
    "Rows",
    "arrow_rows",
    "buckets",
    "combined",
    "in_range",
    "is_among",
    "plain_rows",
    "version_of",
]

#: Rows of a figure table, as dictionaries or as an Arrow table with the columns of `arrow_rows`.
Rows: TypeAlias = "Sequence[Row] | pa.Table"

#: Values of dimensions: rows that have one of them in each; of `PATHS` also what is below it in its dot path.
Only = Mapping[str, Sequence[str]]

#: Dimensions whose values are dot paths.
PATHS = frozenset({"category"})


def arrow_rows(table: FigureTable, grain: Grain, rows: Rows) -> pa.Table:
    """Rows as an Arrow table: the window's start, the dimensions, the figures.

    Parameters
    ----------
    table, grain : FigureTable, Grain
        What the rows are of.
    rows : Rows
        A table is given back as it is.
    """
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows
    fields = [(grain.name, arrow_type(Value.TIME)), *((dimension, pa.string()) for dimension in table.by)]
    fields += [(figure.name, arrow_type(figure.rules.value)) for figure in table.figures]
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields))


def plain_rows(rows: Rows) -> Sequence[Row]:
    """Rows as dictionaries.

    Parameters
    ----------
    rows : Rows
        Dictionaries are given back as they are.
    """
    return rows if isinstance(rows, Sequence) else rows.to_pylist()


def version_of(epoch_ms: int, batch_id: int) -> int:
    """The write version of a micro-batch, in milliseconds.

    The epoch's first moment plus the batch's number: it grows within an epoch whatever the
    clock does, a replayed batch gets the same one again, and a later epoch always wins because
    it begins after the newest batch of the one before (`checkpoint.next_start_ms`).

    Parameters
    ----------
    epoch_ms : int
        The epoch's first moment, in milliseconds since 1970.
    batch_id : int
        The batch's number in its epoch, from 0.
    """
    return epoch_ms + batch_id


def buckets(grain: Grain, since: datetime, until: datetime) -> Iterator[datetime]:
    """The starts of the partitions that hold windows of ``[since, until)``.

    Parameters
    ----------
    grain : Grain
        How long the windows are; `Grain.bucket` is how long a partition is.
    since, until : datetime
        The range of window starts, without its end.
    """
    moment = grain.bucket.start(since)
    while moment < until:
        yield moment
        moment = grain.bucket.end(moment)


def combined(
    rows: Iterable[Row], table: FigureTable, grain: Grain, figures: Sequence[Figure] | None, by: Sequence[str] | None
) -> list[Row]:
    """What `FigureStore.read` makes of whole rows, for a store that can't do it by itself.

    Parameters
    ----------
    rows : iterable of Row
        Whole, as they are stored.
    table, grain : FigureTable, Grain
        What the rows are of.
    figures : sequence of Figure or None
        Some of the table's; all when None.
    by : sequence of str or None
        The dimensions to keep; None keeps every row by itself.
    """
    chosen = table.figures if figures is None else figures
    keys = (grain.name, *(table.by if by is None else by))
    if by is None:
        # A figure that was added later is absent from older rows.
        return [{key: row[key] for key in keys} | {f.name: row.get(f.name) for f in chosen} for row in rows]
    parts: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        parts[tuple(row[key] for key in keys)].append(row)
    return [
        dict(zip(keys, key, strict=True)) | {f.name: f.combine(row[f.name] for row in members) for f in chosen}
        for key, members in parts.items()
    ]


def is_among(row: Row, only: Only | None) -> bool:
    """Whether a row has the values that are asked for.

    Parameters
    ----------
    row : Row
        Has all dimensions that `only` names.
    only : Only or None
        The values by dimension; None is any.
    """
    return all(
        any(row[name] == value or (name in PATHS and row[name].startswith(f"{value}.")) for value in values)
        for name, values in (only or {}).items()
    )


def in_range(moment: datetime, since: datetime | None, until: datetime | None) -> bool:
    """Whether a window's start lies in ``[since, until)``; None is not a bound.

    Parameters
    ----------
    moment : datetime
        The window's start.
    since, until : datetime or None
        The range.
    """
    return (since is None or moment >= since) and (until is None or moment < until)
