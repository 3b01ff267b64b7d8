"""The rates of the business days that a live view shows; the browser converts with them as `Conversion` does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from retailpulse_kernel.catalogue.rates import rates_of
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.rates.published import business_day
from retailpulse_kernel.shop.tables import GRAINS

__all__ = ["DayRates"]


class DayRates:
    """Factors into the base currency, by business day.

    Parameters
    ----------
    settings : Settings
        Whose contract.

    Attributes
    ----------
    content : dict or None
        What browsers get: the base currency, what is wrong with the rates, and for each day its start in epoch seconds
        and for each currency the factor, as text, with the day that it was published for. None where the contract names
        no rates.
    version : int
        Grows when the content changes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.content: dict[str, Any] | None = None
        self.version = 0

    def read(self, since: int, until: int) -> None:
        """Take the rates of the days of a range.

        Parameters
        ----------
        since, until : int
            Seconds since 1970.
        """
        contract = contract_of(self._settings)
        if not contract.shop.rates:
            return
        content: dict[str, Any] = {"base": contract.shop.currency, "fault": "", "days": []}
        try:
            content["days"] = self._days(since, until)
        except RetailPulseError as error:  # the view goes on in the currencies themselves
            content["fault"] = error.message
        if content != self.content:
            self.content = content
            self.version += 1

    def _days(self, since: int, until: int) -> list[list[Any]]:
        contract, rates = contract_of(self._settings), rates_of(self._settings)
        grain = GRAINS["day"].within(contract.shop.calendar)
        currencies = sorted({rates.base, rates.per, *rates.published})
        days = []
        moment, last = (datetime.fromtimestamp(end, UTC) for end in (since, until))
        while moment <= last:
            day = business_day(moment, contract)
            found = {currency: rates.on(currency, day) for currency in currencies}
            factors = {name: [format(one.factor, "f"), str(one.day)] for name, one in found.items() if one is not None}
            days.append([int(grain.start(moment).timestamp()), factors])
            moment = grain.end(moment)
        return days
