"""What a generated stream truly holds, counted while it is made, in whole hundredths of the currency.

It uses nothing of the code that it is there to check: neither the parser nor the figures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

__all__ = ["Truth"]


class Figures:
    """The figures of a set of events.

    Attributes
    ----------
    cents : dict
        Revenue (purchases less refunds) in hundredths, by currency and category.
    orders : Counter
        Orders by currency; an order counts on its line 1.
    events_by_type : Counter
    users : set of str
    """

    def __init__(self) -> None:
        self.cents: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.orders: Counter[str] = Counter()
        self.events_by_type: Counter[str] = Counter()
        self.users: set[str] = set()

    def add(self, event_type: str, user: str, category: str, cents: int, currency: str, line: int) -> None:
        """Count one event; `cents` is its line's amount, negative for a refund and 0 for anything but an order.

        Parameters
        ----------
        event_type : str
            Of the contract's types.
        user : str
            The user's id.
        category : str
            A dot path.
        cents : int
            Of the currency, for the whole line.
        currency : str
            ISO 4217.
        line : int
            The order's line, from 1, which counts the order; 0 for what is not an order.
        """
        self.events_by_type[event_type] += 1
        self.users.add(user)
        if line:
            self.cents[currency][category] += cents
            self.orders[currency] += event_type == "purchase" and line == 1

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON has them: money as decimal text."""
        return {
            "currencies": {
                currency: {
                    "revenue": _money(sum(cents.values())),
                    "orders": self.orders[currency],
                    "average_order_value": _average(sum(cents.values()), self.orders[currency]),
                    "revenue_by_category": {name: _money(value) for name, value in sorted(cents.items())},
                }
                for currency, cents in sorted(self.cents.items())
            },
            "events_by_type": dict(sorted(self.events_by_type.items())),
            "active_users": len(self.users),
        }


class Truth:
    """The accounts of a stream: ``sent == accepted + duplicates + late + bad``.

    Attributes
    ----------
    on_time : Figures
        Of the events that are neither late nor repeated: what a stream should show.
    with_late : Figures
        The late ones counted too: what a backfill, or a bounded run, should show.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.duplicates = 0
        self.late = 0
        self.bad: Counter[str] = Counter()
        self.on_time = Figures()
        self._late = Figures()

    @property
    def sent(self) -> int:
        """All messages so far."""
        return self.accepted + self.duplicates + self.late + self.bad.total()

    @property
    def with_late(self) -> Figures:
        """See the class."""
        both = Figures()
        for part in (self.on_time, self._late):
            for currency, cents in part.cents.items():
                for category, value in cents.items():
                    both.cents[currency][category] += value
            both.orders.update(part.orders)
            both.events_by_type.update(part.events_by_type)
            both.users |= part.users
        return both

    def add(
        self, event_type: str, user: str, category: str, cents: int, currency: str, line: int, *, late: bool
    ) -> None:
        """Count a valid event that was not sent before.

        Parameters
        ----------
        event_type : str
            Of the contract's types.
        user : str
            The user's id.
        category : str
            A dot path.
        cents : int
            Of the currency, for the whole line.
        currency : str
            ISO 4217.
        line : int
            The order's line, from 1; 0 for what is not an order.
        late : bool
            Count the event among the late ones.
        """
        if late:
            self.late += 1
            self._late.add(event_type, user, category, cents, currency, line)
        else:
            self.accepted += 1
            self.on_time.add(event_type, user, category, cents, currency, line)

    def as_dict(self) -> dict[str, Any]:
        """The accounts and both sets of figures, for JSON."""
        return {
            "sent": self.sent,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "late": self.late,
            "bad": self.bad.total(),
            "bad_by_reason": dict(sorted(self.bad.items())),
            "figures": self.on_time.as_dict(),
            "figures_with_late": self.with_late.as_dict(),
        }


def _money(cents: int) -> str:
    return format(Decimal(cents).scaleb(-2), ".2f")


def _average(cents: int, orders: int) -> str | None:
    if not orders:
        return None
    return str((Decimal(cents) / 100 / orders).quantize(Decimal("0.0001"), ROUND_HALF_UP))
