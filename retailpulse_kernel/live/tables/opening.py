"""Which live view a call of ``rp.live`` means: a table, figures, or a statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from retailpulse_kernel.catalogue.answering import Asking
from retailpulse_kernel.catalogue.tables import Found, catalogue_of
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.tables.figures import FigureSource
from retailpulse_kernel.live.tables.reading import Source
from retailpulse_kernel.live.tables.rows import RowSource, StatementSource
from retailpulse_kernel.live.tables.view import TableView
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.stores.base import Store
from retailpulse_kernel.stores.binding import one_statement, only_reads

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Asked", "Dialect", "open_view"]

Dialect = Literal["cql", "hive", "spark"]
#: What is shown of a table when nobody says how much: events are many, and rows may be old.
_LAST: dict[str, str | None] = {"figures": "1h", "events": "15m", "rows": None}


@dataclass(frozen=True)
class Asked:
    """What `Workbench.live` was asked; its parameters have the same names.

    Attributes
    ----------
    statements : mapping
        A statement by its language.
    """

    table: str | None = None
    figure: str | Figure | Ratio | Sequence[str | Figure | Ratio] | None = None
    statements: Mapping[Dialect, str] = field(default_factory=dict)
    by: str | Sequence[str] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    last: str | timedelta | None = "auto"
    every: str | None = None
    columns: str | Sequence[str] | None = None
    chart: str = "auto"
    store: str | None = None
    time: str | None = None
    currency: str | None = None
    refresh: str | timedelta = "2s"


def open_view(
    settings: Settings, asked: Asked, store_of: Callable[[str], Store], ask: Callable[[Dialect, str, int], pd.DataFrame]
) -> TableView:
    """The live view of a table, of figures or of a statement.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    asked : Asked
        What is asked.
    store_of : callable
        Gives a store by its name.
    ask : callable
        Runs a statement of a language, with a number of rows at most.

    Raises
    ------
    UnknownName
        There is no such table, figure, column or chart.
    UsageError
        Nothing is named, or too much; no table answers; or the statement does not only read.
    """
    source = _statement(settings, asked, ask) if asked.statements else _catalogued(settings, asked, store_of)
    return TableView(source, chart=asked.chart, refresh=asked.refresh, currency=asked.currency or "")


def _statement(settings: Settings, asked: Asked, ask: Callable[[Dialect, str, int], pd.DataFrame]) -> Source:
    if len(asked.statements) > 1 or asked.table is not None or asked.figure is not None:
        raise UsageError(
            "A live view shows one thing, and several are named.", remedy="Name a table, a figure or one statement."
        )
    ((dialect, text),) = asked.statements.items()
    statement = one_statement(text, dialect)
    if not only_reads(statement, dialect):
        raise UsageError(
            "A live view runs its statement every few seconds, and this one may change something.",
            remedy="Write a statement that begins with SELECT, or with WITH and a SELECT.",
        )
    if asked.where or asked.columns is not None or asked.every or asked.last not in ("auto", None):
        raise UsageError(
            "`where`, `last`, `every` and `columns` are not for a statement.", remedy="Write them into the statement."
        )
    by = next(iter(_names(asked.by)), "")
    return StatementSource(
        statement, lambda one, most: ask(dialect, one, most), contract_of(settings), _title(statement), by
    )


def _catalogued(settings: Settings, asked: Asked, store_of: Callable[[str], Store]) -> Source:
    def catalogue() -> Any:
        return catalogue_of(settings)

    found = None if asked.table is None else catalogue().find(asked.table, asked.store)
    kind = "figures" if found is None else found.entry.kind
    last = _LAST[kind] if asked.last == "auto" else asked.last
    if kind == "figures":
        return _figures(asked, found, last, catalogue, store_of)
    assert asked.table is not None
    if asked.figure is not None or asked.every is not None:
        raise UsageError(
            f"The table {asked.table!r} holds {kind}, and no figures.", remedy="Leave figure and every out."
        )
    where = dict(asked.where) | ({"currency": asked.currency} if asked.currency else {})
    (by, *_) = (*_names(asked.by), "")
    columns = None if asked.columns is None else _names(asked.columns)
    return RowSource.of(
        asked.table, catalogue, store_of, by=by, where=where, last=last, columns=columns, store=asked.store,
        time=asked.time,
    )  # fmt: skip


def _figures(
    asked: Asked, found: Found | None, last: str | timedelta | None, catalogue: Callable[[], Any],
    store_of: Callable[[str], Store],
) -> FigureSource:  # fmt: skip
    """Figures of any table where some are named, or else all those of one table."""
    named = asked.figure if asked.figure is not None else asked.columns
    figures: tuple[str | Figure | Ratio, ...] = ()
    if isinstance(named, str | Figure | Ratio):
        figures = (named,)
    elif named is not None:
        figures = tuple(named)
    where = {name: _texts(value) for name, value in asked.where.items()}
    if asked.currency:
        where["currency"] = (asked.currency,)
    every = asked.every or (found.grain.name if found is not None and found.grain is not None else None)
    table = None if found is None else found.entry.name
    asking = Asking(figures, _names(asked.by), where, last, None, None, every, table)
    return FigureSource.of(asking, catalogue, store_of, rows=asked.figure is None)


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple | set | frozenset) else (str(value),)


def _title(statement: str) -> str:
    line = " ".join(statement.split())
    return line if len(line) <= 100 else f"{line[:99]}…"
