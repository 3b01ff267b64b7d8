"""Published rates, checked: what one unit of a currency is worth in the shop's base currency on a day.

>>> entries = [Entry("line 2", date(2026, 3, 6), "USD", Decimal("1.25"))]
>>> Rates.of_entries(entries, base="EUR", per="EUR", name="rates.csv").on("USD", date(2026, 3, 8))
Rate(factor=Decimal('0.8'), day=datetime.date(2026, 3, 6))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.currencies import CURRENCIES

if TYPE_CHECKING:
    from retailpulse_kernel.shop.contract.model import Contract

__all__ = ["Entry", "Rate", "Rates", "business_day"]

#: Significant digits of a factor: it is the quotient of two published rates, and most quotients have no end.
FACTOR_DIGITS: Final = 28
#: How many days old a rate may be: markets are closed over weekends and holidays, such as the four days of Easter.
OLDEST_DAYS: Final = 7
#: Faults that one error tells.
_MOST_FAULTS: Final = 10
_QUOTIENT: Final = Context(prec=FACTOR_DIGITS)


def business_day(moment: datetime, contract: Contract) -> date:
    """The day of the shop's books that a moment belongs to.

    Parameters
    ----------
    moment : datetime
        Any time with a zone.
    contract : Contract
        The shop's, whose zone says when a day begins.
    """
    return contract.shop.calendar.day_of(moment)


@dataclass(frozen=True)
class Entry:
    """A published rate, before it is checked.

    Attributes
    ----------
    where : str
        Its place, for errors: ``"line 7"``.
    day : date
        The day that it was published for.
    currency : str
        Whose rate it is.
    rate : Decimal or str
        Units of the currency for one unit of the currency that the rates are per.
    """

    where: str
    day: date
    currency: str
    rate: Decimal | str


@dataclass(frozen=True)
class Rate:
    """What converts an amount.

    Attributes
    ----------
    factor : Decimal
        The base currency's units for one unit of the currency.
    day : date
        The day that the rate was published for.
    """

    factor: Decimal
    day: date


@dataclass(frozen=True)
class Rates:
    """Rates of many days, all per one unit of the same currency.

    Attributes
    ----------
    base : str
        The shop's base currency.
    per : str
        The currency of which one unit is worth the rates.
    published : mapping
        The rates of each currency by day.
    """

    base: str
    per: str
    published: Mapping[str, Mapping[date, Decimal]] = field(repr=False)
    _known: dict[tuple[str, date], Rate | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of_entries(cls, entries: Iterable[Entry], *, base: str, per: str, name: str) -> Rates:
        """Rates that are checked, one by one and as a whole.

        Parameters
        ----------
        entries : iterable of Entry
            In any order.
        base : str
            The shop's base currency.
        per : str
            The currency of which one unit is worth the rates.
        name : str
            Where the entries are from, for errors.

        Raises
        ------
        UsageError
            A rate can't be, a currency has two rates on a day, or the base currency has none.
        """
        published: dict[str, dict[date, Decimal]] = {}
        faults = []
        for entry in entries:
            of_currency = published.setdefault(entry.currency, {})
            found = _number(entry.rate)
            if fault := _fault(entry, found, per, is_twice=entry.day in of_currency):
                faults.append(f"{entry.where}: {fault}")
            elif found is not None:
                of_currency[entry.day] = found
        if faults:
            more = [f"{len(faults) - _MOST_FAULTS:,} more"] if len(faults) > _MOST_FAULTS else []
            said = "\n  ".join([*faults[:_MOST_FAULTS], *more])
            raise UsageError(f"The rates of {name} can't be used:\n  {said}", remedy="Correct the rates.")
        if base != per and not published.get(base):
            raise UsageError(
                f"The rates of {name} are per {per}, and there is none of {base}, the shop's currency.",
                remedy=f"Add rates of {base}, or give the shop the currency of the rates: currency = {per!r}.",
            )
        return cls(base, per, published)

    def on(self, currency: str, day: date) -> Rate | None:
        """The rate of a business day: the day's own, else the last one before; None where that is too old.

        A rate between two currencies is the quotient of both as they were published for the same day.

        Parameters
        ----------
        currency : str
            That of an amount.
        day : date
            The business day.
        """
        key = (currency, day)
        if key not in self._known:
            self._known[key] = self._found(currency, day)
        return self._known[key]

    def _found(self, currency: str, day: date) -> Rate | None:
        if currency == self.base:
            return Rate(Decimal(1), day)
        for age in range(OLDEST_DAYS + 1):
            published = day - timedelta(days=age)
            base, own = self._of_per(self.base, published), self._of_per(currency, published)
            if base is not None and own is not None:
                return Rate(_QUOTIENT.divide(base, own), published)
        return None

    def _of_per(self, currency: str, day: date) -> Decimal | None:
        return Decimal(1) if currency == self.per else self.published.get(currency, {}).get(day)


def _number(rate: Decimal | str) -> Decimal | None:
    try:
        found = Decimal(rate)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _fault(entry: Entry, rate: Decimal | None, per: str, *, is_twice: bool) -> str:
    """What is wrong with a rate; empty where nothing is."""
    of = f"the rate of {entry.currency} on {entry.day}"
    if entry.currency not in CURRENCIES:
        return f"{entry.currency!r} is not a currency of ISO 4217."
    if rate is None:
        return f"{of} is {str(entry.rate)[:40]!r}, which is not a number."
    if rate <= 0:
        return f"{of} is {entry.rate}, and a rate is greater than 0."
    if entry.currency == per and rate != 1:
        return f"{of} is {entry.rate}, and one {per} is 1 {per}."
    return f"{entry.currency} has a second rate on {entry.day}." if is_twice else ""
