"""A table of the catalogue without the columns that show values of personal fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from retailpulse_kernel.catalogue.tables import TableEntry
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.personal import is_personal, shows_personal
from retailpulse_kernel.shop.rows import RowTable

__all__ = ["require_shown", "without_personal"]


def require_shown(names: Iterable[str], contract: Contract) -> None:
    """Refuse dimensions that hold values of a personal field.

    Parameters
    ----------
    names : iterable of str
        The dimensions that an answer goes by, or is filtered by.
    contract : Contract
        The shop's.

    Raises
    ------
    UsageError
        One of them does.
    """
    if personal := [name for name in names if is_personal(name, contract)]:
        raise UsageError(f"{personal[0]!r} holds values of a personal field.", remedy="Ask for another dimension.")


def without_personal(entry: TableEntry, table: RowTable, contract: Contract) -> RowTable:
    """A table's columns without the personal ones.

    Parameters
    ----------
    entry : TableEntry
        The table in the catalogue.
    table : RowTable
        Its columns.
    contract : Contract
        The shop's.
    """
    shown = entry.figures.figures if entry.figures is not None else ()
    hidden = {figure.name for figure in shown if shows_personal(figure, contract)}
    hidden |= {name for name in table.types if is_personal(name, contract)}
    return replace(
        table,
        columns=tuple(column for column in table.columns if column.name not in hidden),
        key=tuple(_without(table.key, hidden)),
    )


def _without(names: Iterable[str], hidden: set[str]) -> Iterable[str]:
    return (name for name in names if name not in hidden)
