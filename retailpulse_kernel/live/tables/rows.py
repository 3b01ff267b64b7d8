"""Rows as a live view reads them: those of a table, the newest first, or those of a statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.catalogue.conditions import Wanted, time_column_if_any, wanted_of
from retailpulse_kernel.catalogue.contents import Contents
from retailpulse_kernel.catalogue.personal import without_personal
from retailpulse_kernel.catalogue.tables import Catalogue, Found
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.spans import span_of
from retailpulse_kernel.live.tables.picture import kinds_of
from retailpulse_kernel.live.tables.reading import ROWS, Reading, reach_of, since_words, span_words
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.types import is_numeric
from retailpulse_kernel.shop.personal import is_personal
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.base import Store
from retailpulse_kernel.stores.rows import element_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RowSource", "StatementSource"]


@dataclass(frozen=True)
class RowSource:
    """The rows of a table, the newest first where it has a column of times.

    Attributes
    ----------
    name : str
        The table.
    catalogue : callable
        Gives the tables that there are now.
    store_of : callable
        Gives a store by its name.
    table : RowTable
        The columns that may be shown.
    drawn : str
        The column by which it is drawn at first.
    where : mapping, optional
        A value, or a list of values, by column.
    last : str or timedelta, optional
        The newest span; all rows when absent.
    columns : sequence of str, optional
        The columns that are shown; all when absent.
    store : str, optional
        The store, where several have a table of the name.
    time : str
        The column of times; empty where there is none.
    """

    name: str
    catalogue: Callable[[], Catalogue] = field(repr=False)
    store_of: Callable[[str], Store] = field(repr=False)
    table: RowTable = field(repr=False)
    drawn: str = ""
    where: Mapping[str, Any] | None = None
    last: str | timedelta | None = None
    columns: Sequence[str] | None = None
    store: str | None = None
    time: str = ""

    @classmethod
    def of(
        cls, name: str, catalogue: Callable[[], Catalogue], store_of: Callable[[str], Store], *, by: str = "",
        where: Mapping[str, Any] | None = None, last: str | timedelta | None = None,
        columns: Sequence[str] | None = None, store: str | None = None, time: str | None = None,
    ) -> RowSource:  # fmt: skip
        """The source of a table's rows, checked before anything is read.

        Parameters
        ----------
        name : str
            The table.
        catalogue : callable
            Gives the tables that there are.
        store_of : callable
            Gives a store by its name.
        by : str
            The column by which it is drawn at first; the first text of the key that is not the only key when empty.
        where : mapping, optional
            A value, or a list of values, by column.
        last : str or timedelta, optional
            The newest span; all rows when absent.
        columns : sequence of str, optional
            The columns that are shown; all when absent.
        store : str, optional
            The store, where several have a table of the name.
        time : str, optional
            The column of times; of events their own time, and otherwise as `time_column` chooses when absent.

        Raises
        ------
        UnknownName
            There is no such table or column.
        UsageError
            A value is none of the column's type, or `last` is given and no column tells the time.
        """
        known = catalogue()
        found = known.find(name, store)
        table = _shown(found, known, store_of)
        if time is None and found.entry.kind == "events":
            time = "event_time"
        made = cls(name, catalogue, store_of, table, by, where, last, columns, store, time_column_if_any(table, time))
        made._wanted(table, None)
        if by and by not in made.dimensions:
            raise UnknownName(f"column to draw the table {name!r} by", by, made.dimensions)
        return made if by else replace(made, drawn=next(iter(made._texts_of_key), ""))

    @property
    def title(self) -> str:
        """The table, and who writes it."""
        last = "" if self.last is None else f", last {span_words(self.last)}"
        entry = self.catalogue().find(self.name, self.store).entry
        return f"{self.name}{last} (in {entry.store}, by {entry.writer})"

    @property
    def dimensions(self) -> Sequence[str]:
        """The columns of texts and truth values."""
        return [name for name in self._shown if self.table.types[name] in ("string", "bool")]

    @property
    def reach(self) -> timedelta | None:
        """A day, or 24 times what is shown; None without a column of times."""
        return reach_of(None if self.last is None else span_of(self.last)) if self.time else None

    @property
    def _shown(self) -> list[str]:
        return list(self.table.types) if self.columns is None else list(self.columns)

    @property
    def _texts_of_key(self) -> list[str]:
        return [name for name in self.dimensions if name in self.table.key]

    def read(self, by: str | None, until: datetime | None) -> Reading:
        """Read the rows.

        Parameters
        ----------
        by : str, optional
            The column that is drawn apart; none when empty, that of the source when absent.
        until : datetime, optional
            The end of the range; now when absent.
        """
        by = self.drawn if by is None else by
        catalogue = self.catalogue()
        found = catalogue.find(self.name, self.store)
        contents = Contents(found, catalogue.contract, self.store_of(found.entry.store))
        rows = contents.read(self._wanted(_shown(found, catalogue, self.store_of), until))
        frame = rows.framed()
        notes = [f"The {'newest' if self.time else 'first'} {ROWS:,} rows; others exist."] if rows.more else []
        if not len(frame):
            notes.append(f"No rows{since_words(self.last)}.")
        time = self.time if self.time in frame.columns else ""
        numbers = {name: name for name in frame.columns if is_numeric(self.table.types[name])}
        key = self.table.key if set(self.table.key) <= set(frame.columns) else ()
        series, dimensions = frame if time else None, tuple(self.dimensions)
        return Reading(frame, key, frame, series, time, by, numbers, dimensions=dimensions, notes=tuple(notes))

    def _wanted(self, table: RowTable, until: datetime | None) -> Wanted:
        since = None if self.last is None else (until or datetime.now(UTC)) - span_of(self.last)
        order = [f"-{self.time}"] if self.time else [one for one in table.key if not element_of(table.types[one])]
        return wanted_of(
            table, where=self.where, since=since, until=until, time=self.time or None, columns=self.columns,
            order=order, limit=ROWS,
        )  # fmt: skip


@dataclass(frozen=True)
class StatementSource:
    """The rows of a statement.

    Attributes
    ----------
    statement : str
        One statement that only reads.
    ask : callable
        Runs the statement, with a number of rows at most.
    contract : Contract
        The shop's: columns with the names of its personal fields are left out.
    title : str
        What it is, for people.
    by : str
        The column that is drawn apart; empty for the first column of texts.
    """

    statement: str
    ask: Callable[[str, int], pd.DataFrame] = field(repr=False)
    contract: Contract = field(repr=False)
    title: str = ""
    by: str = ""
    reach: None = None

    def read(self, by: str | None, until: datetime | None) -> Reading:
        """Run the statement.

        Parameters
        ----------
        by : str, optional
            The column that is drawn apart; none when empty. That of the source, or the first of texts, when absent.
        until : datetime, optional
            A statement has no range: this is not used.
        """
        frame = self.ask(self.statement, ROWS)
        if frame.columns.has_duplicates:
            raise UsageError(
                "Two columns of the statement have the same name.", remedy="Name each: select ... as NAME."
            )
        shown = frame[[name for name in frame.columns if not is_personal(str(name), self.contract)]]
        kinds = kinds_of(shown)
        time = next((name for name, kind in kinds.items() if kind == "time"), "")
        texts = [name for name, kind in kinds.items() if kind == "text"]
        drawn = (self.by or next(iter(texts), "")) if by is None else by
        if drawn and drawn not in kinds:
            raise UnknownName("column of the statement", drawn, kinds)
        numbers = {name: name for name, kind in kinds.items() if kind == "number"}
        notes = [f"The first {ROWS:,} rows; others exist."] if frame.attrs.get("more") else []
        if len(shown.columns) < len(frame.columns):
            notes.append("Columns of personal fields are not shown.")
        series = shown if time else None
        return Reading(shown, (), shown, series, time, drawn, numbers, dimensions=tuple(texts), notes=tuple(notes))


def _shown(found: Found, catalogue: Catalogue, store_of: Callable[[str], Store]) -> RowTable:
    """A table's columns without the personal ones."""
    contents = Contents(found, catalogue.contract, store_of(found.entry.store))
    return without_personal(found.entry, contents.table, catalogue.contract)
