"""Rates in a reference table: a row for each day and currency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.rates.published import Entry, Rates

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["misfit_of", "table_rates"]

#: The columns of such a table. The last may be absent: the rates are per one unit of the base currency then.
_DAY, _CURRENCY, _RATE, _PER = "day", "currency", "rate", "per"
_SIMPLE: Final = {_DAY: "date", _CURRENCY: "string"}


def misfit_of(columns: Mapping[str, str]) -> str:
    """Why a table with some columns can't have rates, as a sentence; empty where the table can.

    Parameters
    ----------
    columns : mapping of str to str
        The types of the table's columns, as a contract has them.
    """
    for name, kind in {**_SIMPLE, _RATE: "decimal", _PER: "string"}.items():
        given = columns.get(name)
        if given is None and name != _PER:
            return f"The table has no column {name!r}."
        if given is not None and (not given.startswith("decimal(") if name == _RATE else given != kind):
            return f"The column {name!r} is a {given} and not a {kind}."
    return ""


def table_rates(rows: pa.Table, base: str, name: str) -> Rates:
    """The rates of a table's rows.

    Parameters
    ----------
    rows : pyarrow.Table
        With the columns ``day``, ``currency`` and ``rate``: units of the currency for one unit of the one in ``per``,
        or of the base currency where there is no such column.
    base : str
        The shop's base currency.
    name : str
        The table's name, for errors.

    Raises
    ------
    UsageError
        A rate can't be, a currency has two rates on a day, or the rates are not all per one currency.
    """
    what = f"the reference table {name!r}"
    found = rows.to_pylist()
    pers = sorted({str(row[_PER]) for row in found}) if _PER in rows.column_names else []
    if len(pers) > 1:
        raise UsageError(
            f"The rates of {what} are per several currencies: {', '.join(pers)}.",
            remedy="Keep rates per one currency, such as EUR. Others are the quotients of two of them.",
        )
    return Rates.of_entries(_entries(found, what), base=base, per=pers[0] if pers else base, name=what)


def _entries(rows: list[dict[str, Any]], what: str) -> Iterator[Entry]:
    for number, row in enumerate(rows, 1):
        if missing := next((name for name in (_DAY, _CURRENCY, _RATE) if row[name] is None), ""):
            said = ", ".join(f"{name} {row[name]}" for name in (_DAY, _CURRENCY, _RATE) if row[name] is not None)
            raise UsageError(
                f"The row {number} of {what} has no {missing}: {said or 'it is empty'}.", remedy="Complete the row."
            )
        yield Entry(f"row {number}", row[_DAY], row[_CURRENCY], row[_RATE])
