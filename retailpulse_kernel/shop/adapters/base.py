"""What all adapters share: the interface, and the rules that a shop may choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from retailpulse_kernel.ground.errors import EventError, UnknownName, UsageError
from retailpulse_kernel.shop.adapters.records import Mapped, is_event, record_of
from retailpulse_kernel.shop.adapters.values import currency_code, day_session, exact_price, utc_time
from retailpulse_kernel.shop.contract.mapping.items import Items
from retailpulse_kernel.shop.contract.model import PRICES, USERS
from retailpulse_kernel.shop.currencies import CURRENCIES

__all__ = ["WHOLE_ORDER", "Adapter", "Rules"]

#: The product of a refund that names no products: the order as a whole.
WHOLE_ORDER: Final = "whole-order"


@dataclass(frozen=True)
class Rules:
    """Choices where shops differ; docs/events.md says when each applies.

    Attributes
    ----------
    currency : str
        Of an amount that names none.
    prices : str
        ``computed`` rounds prices that a machine computed (15 digits or more), ``exact`` none, ``round`` all.
    users : str
        ``own`` gives a hit without any user's id a user of its own, ``reject`` rejects it.

    Raises
    ------
    UsageError
        The currency is not in ISO 4217.
    UnknownName
        There is no such choice.
    """

    currency: str = "USD"
    prices: str = "computed"
    users: str = "own"

    def __post_init__(self) -> None:
        if self.currency not in CURRENCIES:
            raise UsageError(f"The currency {self.currency!r} is not in ISO 4217.", remedy="Write a code such as EUR.")
        if self.prices not in PRICES:
            raise UnknownName("rule of prices", self.prices, PRICES)
        if self.users not in USERS:
            raise UnknownName("rule of users", self.users, USERS)


class Adapter:
    """One format. A subclass names its columns and maps a record.

    Parameters
    ----------
    source : str
        What an event id starts with where the format has none of its own.
    items : Items, optional
        Category and price by product.
    rules : Rules, optional
        Choices where shops differ.
    alone : bool
        Whether nothing is known of the records before one, as of a message of a topic: no order is put together from
        several of them.

    Attributes
    ----------
    changed : list of str
        What the last record's values had to be changed for: ``rounded:price``, ``defaulted:currency``,
        ``derived:session_id`` ... Emptied by who counts.
    once : dict of int to tuple of str
        The events of the last record that bear their order's own amounts, by `id`, with the amounts' names. Emptied by
        who counts.
    owed : dict of str to str
        Amounts of an order of which no row has been an event yet.
    lost : list of str
        The names of amounts that no event bears. Emptied by who counts.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    #: All columns that are looked at, where `columns` are only those that a table needs.
    reads: ClassVar[tuple[str, ...]] = ()
    needs_source: ClassVar[bool] = False
    #: Columns of a record that holds several, instead of `columns`.
    envelope: ClassVar[tuple[str, ...]] = ()
    #: The columns of a file that has no header, in their order: a table with tabs, without quotes.
    headless: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, *, source: str = "", items: Items | None = None, rules: Rules | None = None, alone: bool = False
    ) -> None:
        self.source, self.alone = source, alone
        self.items = items
        self.rules = rules or Rules()
        self.changed: list[str] = []
        self.once: dict[int, tuple[str, ...]] = {}
        self.owed: dict[str, str] = {}
        self.lost: list[str] = []
        self._counted: Counter[Any] = Counter()

    @classmethod
    def found_in(cls, columns: Sequence[str]) -> list[str]:
        """Which of the format's columns a file has; those of an envelope count as all.

        Parameters
        ----------
        columns : sequence of str
            The columns of the file; the keys of records may stand in them with dots behind.
        """
        known = {*columns, *(name.split(".")[0] for name in columns)}
        enveloped = [name for name in cls.envelope if name in known]
        return enveloped or [name for name in cls.columns if name in known]

    @classmethod
    def missing_in(cls, columns: Sequence[str]) -> list[str]:
        """Which of the format's columns a file lacks.

        Parameters
        ----------
        columns : sequence of str
            The columns of the file.
        """
        found = cls.found_in(columns)
        return [] if cls.envelope and set(found) & {*cls.envelope} else [n for n in cls.columns if n not in found]

    @classmethod
    def opened(cls, message: bytes) -> Mapping[str, Any]:
        """The record that a message of a topic holds.

        Parameters
        ----------
        message : bytes
            As it is in the topic.

        Raises
        ------
        EventError
            The message is not a record.
        """
        return record_of(message)

    def adapt(self, record: Mapping[str, Any], row: int) -> Sequence[Mapped]:
        """The fields of our events that a record holds; `row` counts the source's records from 1.

        Parameters
        ----------
        record : mapping
            One record, its fields by name.
        row : int
            The number of the record in its source, from 1.

        Raises
        ------
        EventError
            The record is nothing that our events know.
        """
        raise NotImplementedError

    def lines(
        self,
        items: Iterable[Any],
        fields_of: Callable[[int, Any], dict[str, Any]],
        once: Mapping[str, str] | None = None,
    ) -> list[Mapped]:
        """One event for each line of an order; a bad line takes no other with it, nor the order's own amounts.

        Parameters
        ----------
        items : iterable
            The lines as the record has them.
        fields_of : callable
            Maps a line, given its number from 1 and the line.
        once : mapping of str to str, optional
            Amounts of the order as a whole: the first line that can be an event bears them. They are lost where there
            is none.
        """
        found: list[Mapped] = []
        for number, item in enumerate(items, start=1):
            try:
                found.append(fields_of(number, item))
            except EventError as error:
                found.append(error)
        bearer = next((one for one in found if is_event(one)), None) if once else None
        if once and isinstance(bearer, dict):
            self.bear(bearer, once)
        else:
            self.lost += once or ()
        return found

    def bear(self, event: dict[str, Any], once: Mapping[str, str]) -> None:
        """Give an event the amounts of its order.

        Parameters
        ----------
        event : dict
            The event's fields.
        once : mapping of str to str
            The amounts by their names.
        """
        event.update(once)
        self.once[id(event)] = tuple(once)

    def next_line(self, order: Any) -> int:
        """The number of an order's next line, where each line is a record: they are counted as they come.

        Parameters
        ----------
        order : object
            What tells the order from all others.
        """
        self._counted[order] += 1
        return self._counted[order]

    def event_id(self, row: int) -> str:
        """An id for a record that has none: where it comes from.

        Parameters
        ----------
        row : int
            The number of the record in its source, from 1.
        """
        return f"{self.source}-{row}" if self.source else str(row)

    def price(self, value: Any) -> str | None:
        """A price by the rules.

        Parameters
        ----------
        value : object
            As the file has it.
        """
        rule = self.rules.prices
        return exact_price(value, self.changed, computed=rule != "exact", every=rule == "round")

    def amounts(self, **values: Any) -> dict[str, str]:
        """Amounts beside the price, such as a discount, as further fields of an event.

        An amount that is no number is left out and counted: it takes no line of an order with it. One of more than four
        decimal places is rounded and counted.

        Parameters
        ----------
        **values : object
            As the file has them, by the fields' names.
        """
        found = {}
        for name, value in values.items():
            try:
                amount = exact_price(value, self.changed, every=True, name=name)
            except EventError:
                self.changed.append(f"left_out:{name}")
                continue
            if amount is not None:
                found[name] = amount
        return found

    def whole_refund(self, event_id: str, order: str | None, price: str, currency: Any) -> dict[str, Any]:
        """The fields of a refund that names no products: one piece of the order as a whole, at what was refunded.

        Parameters
        ----------
        event_id : str
            The event's id.
        order : str or None
            The order's id.
        price : str
            What was refunded for the products, without shipping and tax.
        currency : object
            As the file has it.
        """
        self.changed.append("chosen:whole_order")
        return {
            "event_id": event_id,
            "order_id": order,
            "order_line": 1,
            "product_id": WHOLE_ORDER,
            "price": price,
            "quantity": 1,
            "currency": self.currency(currency, price),
        }

    def currency(self, value: Any, amount: Any) -> str:
        """The currency that a record names, else that of the rules; told where an amount depends on it.

        Parameters
        ----------
        value : object
            As the file has it.
        amount : object
            What it is the currency of; None where there is no amount.
        """
        if code := currency_code(value):
            return code
        if amount is not None:
            self.changed.append("defaulted:currency")
        return self.rules.currency

    def time(self, value: Any) -> Any:
        """A time in RFC 3339, of a format that does not say in which zone its times are; told where one has none.

        Parameters
        ----------
        value : object
            As the file has it.
        """
        return utc_time(value, self.changed)

    def session(self, known: str | None, user: str | None, time: Any) -> str | None:
        """The session that a record names, else the user's day in UTC.

        Parameters
        ----------
        known : str or None
            What the record names.
        user : str or None
            The user's id.
        time : object
            When it happened: RFC 3339, or milliseconds since 1970.
        """
        if known is None and user is not None:
            self.changed.append("derived:session_id")
            return day_session(user, time)
        return known
