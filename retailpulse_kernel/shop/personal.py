"""Which columns and figures show values of fields that the contract marks as personal, and how a row is told without.

A table's plan does not say from which fields a column was computed. So a column counts as personal by its name: that of
a personal field, by itself or as a part between underscores (``email``, ``email_hash``, ``first_email``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.figures import Figure, Ratio, parts_of
from retailpulse_kernel.shop.kinds import Value

__all__ = ["HIDDEN", "is_personal", "masked", "named_only", "names_personal", "shows_personal", "told_detail"]


class _Hidden(str):
    """A text without quotes, also where texts are quoted."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


#: What an error, a report or a gate has in place of a value of a personal field.
HIDDEN: Final = _Hidden("(personal)")

_WORD = re.compile(r"[A-Za-z_]\w*")
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*:(?= )")


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


def masked(row: Mapping[str, Any], contract: Contract, figures: Iterable[Figure] = ()) -> dict[str, Any]:
    """A row as an error, a report or the gate may tell it: without the values of personal fields.

    A column without a value still has none.

    Parameters
    ----------
    row : mapping of str
        Values by their columns.
    contract : Contract
        The shop's.
    figures : iterable of Figure
        Those of the table, whose names need not be those of the fields.
    """
    hidden = {figure.name for figure in figures if shows_personal(figure, contract)}
    hidden |= {name for name in row if is_personal(name, contract)}
    return {name: HIDDEN if name in hidden and value is not None else value for name, value in row.items()}


def named_only(why: str) -> str:
    """The name of an exception without its words, which may quote any value.

    >>> named_only("KeyError: 'ada@example.com'")
    'KeyError: (personal)'

    Parameters
    ----------
    why : str
        The last line of a traceback, or another text.
    """
    found = _EXCEPTION.match(why)
    return f"{found[0]} {HIDDEN}" if found else HIDDEN


def told_detail(reason: str, detail: str, contract: Contract) -> str:
    """Why a message is bad, in words that do not quote the value of a personal field.

    Parameters
    ----------
    reason : str
        The short code, such as ``type:email``.
    detail : str
        The words.
    contract : Contract
        The shop's.
    """
    return f"{HIDDEN} is not what the field holds" if names_personal(reason, contract) else detail


def _shows(figure: Figure, personal: frozenset[str]) -> bool:
    rules = figure.rules
    # A sketch may estimate how many values there are, or one of them.
    is_number_of = rules.counts or rules.estimates is Value.WHOLE
    return not is_number_of and bool(figure.names & personal)
