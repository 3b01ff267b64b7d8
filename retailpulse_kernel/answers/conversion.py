"""Converting stored rows into the base currency: each by the rate of its business day, and what has no rate is told.

A row's amounts are multiplied by the factor of its day, exactly. Rows are added up after that, and sums are rounded
once, so figures of any grouping add up from the same parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from retailpulse_kernel.answers.base_figures import EXACT, BaseFigure, amounts_of
from retailpulse_kernel.answers.reading import money
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.shop.rates.published import Rates, business_day
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row

__all__ = ["Conversion", "within_days"]

_DAY: Final = timedelta(days=1)
#: The days that windows are compared with: rules of zones repeat after these.
_FIRST, _LAST = date(2000, 1, 1), date(2037, 12, 31)


@dataclass
class Missing:
    """The amounts of a currency that have no rate.

    Attributes
    ----------
    days : set of date
        The business days.
    amounts : dict of str to Decimal
        What was not converted, by the name of the stored figure, in the currency itself.
    """

    days: set[date] = field(default_factory=set)
    amounts: dict[str, Decimal] = field(default_factory=dict)


class Conversion:
    """One conversion of the rows of an answer; it keeps which rates it used, and which were missing.

    Parameters
    ----------
    contract : Contract
        The shop's: its zone says when a business day begins.
    rates : callable
        Gives the rates; it is called when the first row is converted.
    """

    def __init__(self, contract: Contract, rates: Callable[[], Rates]) -> None:
        self._contract, self._rates = contract, rates
        self._used: defaultdict[str, set[date]] = defaultdict(set)
        self.missing: defaultdict[str, Missing] = defaultdict(Missing)

    @property
    def base(self) -> str:
        """The base currency."""
        return self._contract.shop.currency

    @property
    def rate_dates(self) -> dict[str, list[date]]:
        """The days of the rates that were used, by currency."""
        return {currency: sorted(self._used[currency]) for currency in sorted(self._used)}

    def rows(self, rows: Iterable[Row], figures: Sequence[Figure | Ratio], starts: Sequence[str]) -> Iterator[Row]:
        """Rows with the parts of the figures in the base currency beside what they hold.

        Parameters
        ----------
        rows : iterable of Row
            Each of one currency, and of a window that lies within one business day.
        figures : sequence of Figure or Ratio
            What is asked for.
        starts : sequence of str
            Columns, of which each row has the one with its window's start.
        """
        parts = amounts_of(figures)
        if not parts:
            return iter(rows)
        return (self._converted(row, parts, next(row[name] for name in starts if name in row)) for row in rows)

    def _converted(self, row: Row, parts: Sequence[BaseFigure], start: datetime) -> Row:
        amounts = {part.source.name: row[part.source.name] for part in parts if part.is_amount}
        currency, day = row["currency"], business_day(start, self._contract)
        # An amount of 0 is 0 in every currency: views need no rate.
        rate = self._rates().on(currency, day) if any(amounts.values()) else None
        if rate is None and any(amounts.values()):
            self._miss(currency, day, parts, amounts)
            return {**row, **dict.fromkeys(part.name for part in parts)}
        if rate is not None and currency != self.base:
            self._used[currency].add(rate.day)
        factor = Decimal(1) if rate is None else rate.factor
        made = {part.name: _times(row[part.source.name], factor, part) for part in parts}
        return {**row, **made}

    def _miss(self, currency: str, day: date, parts: Sequence[BaseFigure], amounts: dict[str, Any]) -> None:
        missing = self.missing[currency]
        missing.days.add(day)
        for figure in (part.source for part in parts if part.is_amount):
            known = [missing.amounts[figure.name]] if figure.name in missing.amounts else []
            missing.amounts[figure.name] = figure.combine([*known, amounts[figure.name]])

    @property
    def attributes(self) -> dict[str, Any]:
        """What was done, for the attributes of a frame: days are texts in ISO 8601, ``conversion`` is for people."""
        dates = {currency: list(map(str, days)) for currency, days in self.rate_dates.items()}
        missing = {currency: (len(of.days), dict(of.amounts)) for currency, of in sorted(self.missing.items())}
        return {"base_currency": self.base, "rate_dates": dates, "missing": missing, "conversion": self.words}

    def plain(self) -> dict[str, Any]:
        """What was done, as plain values: the base currency, the first and the last rate's day, what has no rate."""
        used = {currency: {"first": str(days[0]), "last": str(days[-1])} for currency, days in self.rate_dates.items()}
        missing = {
            currency: {"days": len(of.days), "amounts": {name: money(amount) for name, amount in of.amounts.items()}}
            for currency, of in sorted(self.missing.items())
        }
        return {"currency": self.base, "rates": used, "missing": missing}

    @property
    def words(self) -> str:
        """The same for people, in one line."""
        said = [f"{currency} of {_span(days)}" for currency, days in self.rate_dates.items()]
        told = [f"Amounts in {self.base} use the rates for {', '.join(said)}."] if said else []
        for currency, of in sorted(self.missing.items()):
            amounts = ", ".join(f"{name} {money(amount)}" for name, amount in of.amounts.items())
            days = "1 day" if len(of.days) == 1 else f"{len(of.days):,} days"
            told.append(f"There is no rate for {currency} on {days} ({_span(sorted(of.days))}): {amounts} {currency} "
                        "is not converted.")  # fmt: skip
        return " ".join(told)


def _times(value: Any, factor: Decimal, part: BaseFigure) -> Any:
    return EXACT.multiply(value, factor) if part.is_amount and value is not None else value


def _span(days: Sequence[date]) -> str:
    return str(days[0]) if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def within_days(table: FigureTable, contract: Contract) -> FigureTable:
    """A table with those of its windows only that lie within a business day each.

    Parameters
    ----------
    table : FigureTable
        The table.
    contract : Contract
        The shop's, whose zone says when a day begins.

    Raises
    ------
    UsageError
        The table has no such windows.
    """
    every = tuple(grain for grain in table.every if _begins_with_days(grain, contract.shop.zone))
    if every:
        return replace(table, every=every)
    kept = ", ".join(grain.title for grain in table.every)
    raise UsageError(
        f"The table {table.name!r} can't answer in the base currency: its windows ({kept}) do not lie within one "
        f"business day in {contract.shop.zone} each, and each day has a rate of its own.",
        remedy="Add a width of an hour or less to the job's every=[...], or ask for the money in its own currency.",
    )


@cache
def _begins_with_days(grain: Grain, zone: str) -> bool:
    """Whether each business day begins where a window begins, so that no window lies in two days."""
    if grain.width > _DAY:
        return False
    info = ZoneInfo(zone)
    days = (_FIRST + timedelta(days=number) for number in range((_LAST - _FIRST).days))
    starts = (datetime(day.year, day.month, day.day, tzinfo=info).astimezone(UTC) for day in days)
    return all(grain.start(start) == start for start in starts)
