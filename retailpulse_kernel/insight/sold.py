"""How a change of money splits into orders, quantity, mix and price."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from retailpulse_kernel.insight.effects import (
    Change,
    Groups,
    Parts,
    by_sign,
    came_or_went,
    mean_of,
    part_of,
    quotients,
    total_of,
)
from retailpulse_kernel.shop.figures import Figure

__all__ = ["Sold"]


@dataclass(frozen=True)
class Sold:
    """An amount that is sold in units and orders: price, mix, quantity and orders apart.

    A value's amount is units times price. The units change because all units do, or because the value's share of them
    does, which is the mix. All units are orders times units per order. Without units, orders stand in their place.

    Attributes
    ----------
    amount : Figure
        The money.
    units, orders : Figure, optional
        What the table counts; one of them at least.
    """

    amount: Figure
    units: Figure | None
    orders: Figure | None

    @property
    def parts(self) -> tuple[Figure, ...]:
        """The amount, and what is counted."""
        return tuple(figure for figure in (self.amount, self.units, self.orders) if figure is not None)

    @property
    def effects(self) -> tuple[str, ...]:
        """As fine as what is counted allows."""
        orders = ("orders",) if self.orders else ()
        return (*orders, "quantity", "mix", "price") if self.units else (*orders, "mix", "order value")

    def value(self, parts: Parts) -> Fraction | None:
        """The amount; see `Decomposition`.

        Parameters
        ----------
        parts : mapping
            The parts by name.
        """
        return self.share(parts)

    def share(self, parts: Parts) -> Fraction:
        """The amount; see `Decomposition`.

        Parameters
        ----------
        parts : mapping
            The parts by name.
        """
        return part_of(self.amount, parts)

    def changes(self, before: Groups, after: Groups) -> dict[Any, Change]:
        """Each value's change, split into the effects; see `Decomposition`.

        Parameters
        ----------
        before, after : mapping
            The parts by value.
        """
        volume = self.units or self.orders
        whole = total_of(before), total_of(after)
        volumes = [part_of(volume, parts) for parts in whole]
        orders = [part_of(self.orders, parts) for parts in whole]
        per_order = mean_of(quotients(volumes, orders))
        found = {}
        for value in {**before, **after}:
            sides = before.get(value, {}), after.get(value, {})
            amounts = [part_of(self.amount, parts) for parts in sides]
            own = [part_of(volume, parts) for parts in sides]
            change = amounts[1] - amounts[0]
            price = mean_of(quotients(amounts, own))
            of_volume = price * (own[1] - own[0])
            share = mean_of(quotients(own, volumes))
            with_all = price * share * (volumes[1] - volumes[0])
            effects = {"mix": of_volume - with_all, self.effects[-1]: change - of_volume}
            if self.units and self.orders:
                effects["orders"] = price * share * per_order * (orders[1] - orders[0])
                effects["quantity"] = with_all - effects["orders"]
            else:
                effects["quantity" if self.units else "orders"] = with_all
            ordered = {name: effects[name] for name in self.effects}
            found[value] = Change(amounts[0], amounts[1], change, ordered)
        return found

    def reason(self, before: Parts, after: Parts, change: Change) -> str:
        """By the value's own units and orders; see `Decomposition`.

        Parameters
        ----------
        before, after : mapping
            The value's parts.
        change : Change
            Its change.
        """
        if word := came_or_went(before, after):
            return word
        price = change.effects[self.effects[-1]]
        volume = change.contribution - price
        if abs(price) > abs(volume):
            return f"{by_sign(price, 'higher', 'lower')} {self.effects[-1]}"
        units, orders = ([part_of(figure, parts) for parts in (before, after)] for figure in (self.units, self.orders))
        if self.units is None:
            return f"{by_sign(volume, 'more', 'fewer')} orders"
        by_orders = mean_of(quotients(units, orders)) * (orders[1] - orders[0])
        if not all(orders):  # an order counts where its first line does
            return f"{by_sign(volume, 'more', 'fewer')} units"
        if abs(by_orders) >= abs(units[1] - units[0] - by_orders):
            return f"{by_sign(by_orders, 'more', 'fewer')} orders"
        return f"{by_sign(volume, 'more', 'fewer')} units per order"
