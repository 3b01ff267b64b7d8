"""The rows of any table of the catalogue: figures as they are stored, rows of a DataFrame, or single events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from retailpulse_kernel.catalogue.conditions import Wanted
from retailpulse_kernel.catalogue.tables import Found, TableEntry
from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.kinds import DIGITS, PLACES, Value
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.shop.tables import FigureTable, Grain
from retailpulse_kernel.stores.base import EventArchive, FigureStore, RowStore, Store
from retailpulse_kernel.stores.frames import Form, from_arrow, shaped
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.stores.selecting import Conditions, Selecting

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Contents"]

#: How a stored figure is shown: of a sketch the number that it estimates.
_TYPES = {
    Value.WHOLE: "long",
    Value.DECIMAL: f"decimal({DIGITS},{PLACES})",
    Value.TIME: "timestamp",
}


@dataclass(frozen=True)
class Rows:
    """Rows of a table.

    Attributes
    ----------
    rows : pyarrow.Table
        The columns that were asked for.
    read : int
        How many rows the store gave to find them.
    more : bool
        Whether the limit left some out.
    """

    rows: pa.Table
    read: int
    more: bool

    def framed(self, as_: Form = "pandas") -> Any:
        """The rows as a frame; a note says what was left out, and how many rows were looked at to find them.

        Parameters
        ----------
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.
        """
        found, total = self.rows.num_rows, None if self.more else self.rows.num_rows
        frame = from_arrow(self.rows.to_batches(), self.rows.schema)
        frame.attrs |= {"more": self.more, "total": total, "rows_read": self.read}
        if self.more:
            frame.attrs["note"] = f"{found:,} rows, more exist"
        if self.read > found + self.more:
            say(f"{self.read:,} rows of the table were read to give {found:,}.")
        shown = shaped(frame, as_)
        # Lists and bytes have no type of their own in pandas.
        return self.rows if as_ == "arrow" else shown


class Contents:
    """What a table holds, to be read.

    Parameters
    ----------
    found : Found
        The table, and windows where its name says them.
    contract : Contract
        The shop's: the archive has its fields as columns.
    store : Store
        The table's store.
    grain : Grain, optional
        The windows of stored figures; the finest when absent.

    Raises
    ------
    UsageError
        This program does not know such figures, or the table does not keep such windows.
    """

    def __init__(self, found: Found, contract: Contract, store: Store, grain: Grain | None = None) -> None:
        self.entry, self._contract, self._store = found.entry, contract, store
        self._figures = _known(found.entry) if found.entry.kind == "figures" else None
        self._grain = None if self._figures is None else _windows(self._figures, grain or found.grain)
        self.table = self._described()

    def read(self, wanted: Wanted) -> Rows:
        """Read what is wanted of the table.

        Parameters
        ----------
        wanted : Wanted
            Made by `wanted_of` for `table`.

        Raises
        ------
        NoSuchTable
            The job has not run yet.
        StoreUnavailable
            The store can't be reached.
        """
        try:
            read = {"figures": self._of_figures, "rows": self._of_rows, "events": self._of_events}[self.entry.kind]
            given = read(wanted)
        except NoSuchTable as error:
            raise self.entry.absent from error
        rows, more = wanted.of(self.table, given)
        return Rows(rows, given.num_rows, more)

    def part(self, columns: Sequence[str]) -> RowTable:
        """Some columns with their types.

        Parameters
        ----------
        columns : sequence of str
            Their names, in order.
        """
        return RowTable(self.table.name, tuple(Column(name, self.table.types[name]) for name in columns))

    def _described(self) -> RowTable:
        """The columns with their types."""
        from retailpulse_kernel.stores.hive.archive import arrow_schema

        if self.entry.plan.rows is not None:
            return self.entry.plan.row_table
        if self._figures is None or self._grain is None:
            columns = [Column(field.name, _type_of(field.type)) for field in arrow_schema(None, self._contract)]
            return RowTable(self.entry.name, tuple(columns))
        table, grain = self._figures, self._grain
        columns = [Column(grain.name, "timestamp"), *(Column(name, "string") for name in table.by)]
        columns += [Column(figure.name, _TYPES[figure.rules.shows]) for figure in table.figures]
        return RowTable(table.physical(grain), tuple(columns), table.key_columns(grain))

    def _of_figures(self, wanted: Wanted) -> pa.Table:
        import pyarrow as pa

        assert self._figures is not None and self._grain is not None
        table, store = self._figures, cast("FigureStore", self._store)
        names = {*wanted.columns, *wanted.where, *(name for name, _ in wanted.order), wanted.time}
        # A store gives no rows without figures.
        figures = [figure for figure in table.figures if figure.name in names] or list(table.figures[:1])
        only = {name: values for name, values in wanted.where.items() if name in table.by and None not in values}
        by_start = wanted.time == self._grain.name
        rows = store.read(
            table, self._grain, since=wanted.since if by_start else None, until=wanted.until if by_start else None,
            figures=figures, only=only or None,
        )  # fmt: skip
        shown = {figure.name: figure.rules.shown for figure in figures if figure.rules.value is Value.SKETCH}
        for row in rows:
            row |= {name: None if row[name] is None else show(row[name]) for name, show in shown.items()}
        return pa.Table.from_pylist(rows, schema=schema_of(self.table))

    def _of_rows(self, wanted: Wanted) -> pa.Table:
        if isinstance(self._store, Selecting):
            conditions = Conditions(wanted.where, wanted.time, wanted.since, wanted.until, wanted.first)
            return self._store.select_rows(self.table, conditions)
        return cast("RowStore", self._store).read_rows(self.table)

    def _of_events(self, wanted: Wanted) -> pa.Table:
        import pyarrow as pa

        store = cast("EventArchive", self._store)
        if not store.location.is_dir():
            raise self.entry.absent
        archive = store.archive
        only = {name: values for name, values in wanted.where.items() if _is_text(self.table, name, values)}
        by_time = wanted.time == "event_time"
        batches = archive.record_batches(
            wanted.since if by_time else None, wanted.until if by_time else None, only=only or None
        )
        schema = schema_of(self.table)
        return pa.Table.from_batches(_enough(batches, schema, wanted, self.table), schema)


def _enough(batches: Iterable[Any], schema: pa.Schema, wanted: Wanted, table: RowTable) -> Iterable[Any]:
    """The batches up to the one with which there are enough rows."""
    import pyarrow as pa

    kept = 0
    for batch in batches:
        cast_to = pa.Table.from_batches([batch]).cast(schema)
        yield from cast_to.to_batches()
        if wanted.first is not None:
            kept += replace(wanted, limit=None).of(table, cast_to)[0].num_rows
            if kept >= wanted.first:
                return


def _is_text(table: RowTable, name: str, values: tuple[Any, ...]) -> bool:
    return table.types[name] == "string" and None not in values


def _known(entry: TableEntry) -> FigureTable:
    if entry.figures is None:
        raise UsageError(
            f"The table {entry.name!r} holds figures or windows that this version of RetailPulse does not know.",
            remedy="Use the version that wrote the table.",
        )
    return entry.figures


def _windows(table: FigureTable, grain: Grain | None) -> Grain:
    if grain is None:
        return table.finest
    if grain not in table.every:
        kept = ", ".join(one.title for one in table.every)
        raise UsageError(
            f"The table {table.name!r} is not stored by the {grain.title}.",
            remedy=f"Choose from {kept}, or ask `rp.figures`, which adds windows up.",
        )
    return grain


def _type_of(kind: Any) -> str:
    """A column's type by Arrow's."""
    import pyarrow as pa

    tests: list[tuple[Callable[[Any], bool], str]] = [
        (pa.types.is_timestamp, "timestamp"), (pa.types.is_date, "date"), (pa.types.is_boolean, "bool"),
        (pa.types.is_int64, "long"), (pa.types.is_integer, "int"), (pa.types.is_floating, "double"),
        (pa.types.is_binary, "binary"),
    ]  # fmt: skip
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_list(kind):
        return f"list<{_type_of(kind.value_type)}>"
    return next((name for test, name in tests if test(kind)), "string")
