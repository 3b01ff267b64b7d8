"""Which columns and figures show values of fields that the contract marks as personal.

A table's plan does not say from which fields a column was computed. So a column counts as personal by its name: that of
a personal field, by itself or as a part between underscores (``email``, ``email_hash``, ``first_email``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from retailpulse_kernel.catalogue.tables import TableEntry
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.figures import Figure, Ratio, parts_of
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.rows import RowTable

__all__ = ["is_personal", "names_personal", "require_shown", "shows_personal", "without_personal"]

_WORD = re.compile(r"[A-Za-z_]\w*")


def is_personal(name: str, contract: Contract) -> bool:
    """Whether a column holds what a personal field holds, by its name.

    Parameters
    ----------
    name : str
        The column's.
    contract : Contract
        The shop's.
    """
    return any(f"_{field}_" in f"_{name}_" for field in contract.personal)


def names_personal(text: str, contract: Contract) -> bool:
    """Whether a condition or an expression may tell a value of a personal field.

    Parameters
    ----------
    text : str
        As a plan has it.
    contract : Contract
        The shop's.
    """
    return any(is_personal(word, contract) for word in _WORD.findall(text))


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


def shows_personal(figure: Figure | Ratio, contract: Contract) -> bool:
    """Whether a figure shows values of a personal field: the number of different ones tells none of them.

    Parameters
    ----------
    figure : Figure or Ratio
        As a table keeps it.
    contract : Contract
        The shop's.
    """
    return any(_shows(part, contract.personal) for part in parts_of([figure]))


def _shows(figure: Figure, personal: frozenset[str]) -> bool:
    rules = figure.rules
    # A sketch may estimate how many values there are, or one of them.
    is_number_of = rules.counts or rules.estimates is Value.WHOLE
    return not is_number_of and bool(figure.names & personal)


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
