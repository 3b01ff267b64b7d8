"""What a store of figures can do, and the helpers that stores share.

A new store is one module with `create`, `write` and `read`; the contract tests in
``tests/integration/test_store_contract.py`` then run against it and against its in-memory twin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from retailpulse_kernel.metrics import Figure, Kind
from retailpulse_kernel.tables import GRAINS, FigureTable, Grain

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "PATHS",
    "FigureStore",
    "Only",
    "Row",
    "Rows",
    "arrow_rows",
    "buckets",
    "combined",
    "in_range",
    "is_among",
    "plain_rows",
    "version_of",
]

#: A row of a figure table: its key's columns and its figures, by name.
Row = dict[str, Any]
#: Rows of a figure table, as dictionaries or as an Arrow table with the columns of `arrow_rows`.
Rows: TypeAlias = "Sequence[Row] | pa.Table"
#: Values of dimensions: rows that have one of them in each; of `PATHS` also what is below it in its dot path.
Only = Mapping[str, Sequence[str]]
#: Dimensions whose values are dot paths.
PATHS = frozenset({"category"})


@runtime_checkable
class FigureStore(Protocol):
    """A store that keeps figure tables as absolute values under deterministic keys."""

    name: str

    def create(self, table: FigureTable) -> None:
        """Make the table's physical tables where they are absent, and room for new figures where they are not."""

    def remove(self, table: FigureTable) -> None:
        """Remove the table's physical tables with all that they hold; nothing where they are absent."""

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Set rows. Of two writes of a key the one with the higher version stays.

        Writing the same rows again with the same version changes nothing. Different rows under
        the same version are the caller's mistake: Cassandra then keeps the larger value of each
        column, HBase the newer one.

        Raises
        ------
        StoreUnavailable
            The store can't be reached; the caller may write the same rows again.
        """

    def dump(self, table: FigureTable, grain: Grain, *, since: datetime | None = None) -> dict[Any, Any]:
        """Rows as they lie in this kind of store, by key: what is equal has the same form.

        Nothing but `load` and `delete` of a store of this kind knows the form; a table that has the same columns takes
        such rows at a third of the cost of `read` and `write`.
        """

    def load(self, table: FigureTable, grain: Grain, rows: Mapping[Any, Any], *, version: int) -> None:
        """Set rows that `dump` gave, as `write` does."""

    def delete(self, table: FigureTable, grain: Grain, keys: Collection[Any], *, version: int) -> None:
        """Remove rows by the keys that `dump` gave, as far as they were written with this version or a lower one.

        A later write with a higher version brings a row back.
        """

    def read(
        self,
        table: FigureTable,
        grain: Grain,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        figures: Sequence[Figure] | None = None,
        by: Sequence[str] | None = None,
        only: Only | None = None,
    ) -> list[Row]:
        """Rows whose window starts in ``[since, until)``, in no order; everything when both are None.

        With `figures` rows hold only these, with `by` they are combined over the table's other
        dimensions, with `only` there are no others: asking for little may be much cheaper than
        leaving away what is not needed.
        """

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""

    def ping(self) -> str:
        """Ask the store something real; its version or size in words, or `StoreUnavailable`."""


def arrow_rows(table: FigureTable, grain: Grain, rows: Rows) -> pa.Table:
    """Rows as an Arrow table: the window's start, the dimensions, the figures."""
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows
    time = pa.timestamp("us", tz="UTC")
    types = {
        Kind.COUNT: pa.int64(),
        Kind.SUM: pa.int64(),
        Kind.MONEY: pa.decimal128(28, 4),
        Kind.FIRST: time,
        Kind.LAST: time,
        Kind.USERS: pa.binary(),
    }
    fields = [(grain.name, time), *((dimension, pa.string()) for dimension in table.by)]
    fields += [(figure.name, types[figure.measure.kind]) for figure in table.figures]
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields))


def plain_rows(rows: Rows) -> Sequence[Row]:
    """Rows as dictionaries."""
    return rows if isinstance(rows, Sequence) else rows.to_pylist()


def version_of(epoch_ms: int, batch_id: int) -> int:
    """The write version of a micro-batch, in milliseconds.

    The epoch's first moment plus the batch's number: it grows within an epoch whatever the
    clock does, a replayed batch gets the same one again, and a later epoch always wins because
    it begins after the newest batch of the one before (`checkpoint.next_start_ms`).
    """
    return epoch_ms + batch_id


def buckets(grain: Grain, since: datetime, until: datetime) -> Iterator[datetime]:
    """The starts of the partitions that hold windows of ``[since, until)``."""
    bucket = GRAINS[grain.bucket]
    moment = bucket.start(since)
    while moment < until:
        yield moment
        moment += bucket.width


def combined(
    rows: Iterable[Row], table: FigureTable, grain: Grain, figures: Sequence[Figure] | None, by: Sequence[str] | None
) -> list[Row]:
    """What `FigureStore.read` makes of whole rows, for a store that can't do it by itself."""
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
    """Whether a row has the values that are asked for."""
    return all(
        any(row[name] == value or (name in PATHS and row[name].startswith(f"{value}.")) for value in values)
        for name, values in (only or {}).items()
    )


def in_range(moment: datetime, since: datetime | None, until: datetime | None) -> bool:
    """Whether a window's start lies in ``[since, until)``; None is no bound."""
    return (since is None or moment >= since) and (until is None or moment < until)
