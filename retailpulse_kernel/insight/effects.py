"""How a change splits into what each value of a dimension contributes, and that into effects. All of it is exact.

Each quantity is a `fractions.Fraction`, and the last effect of a split is the rest, so that effects add up to their
contribution and contributions to the change whatever the numbers are.

A product of two factors changes by ``mean(b) * (change of a) + mean(a) * (change of b)``. That is Shapley's value: the
mean over both orders in which the factors may change. A factor that one side does not have, such as the price of what
was not sold, counts there as on the other side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from retailpulse_kernel.shop.figures import Figure, Ratio

__all__ = ["Added", "Change", "Decomposition", "Divided", "Groups", "Parts", "Sold", "total_of"]

#: The parts of a figure, such as a ratio's numerator and denominator, by their names.
Parts = Mapping[str, Fraction]
#: The parts by the value of a dimension.
Groups = Mapping[Any, Parts]

_NONE = Fraction(0)


@dataclass(frozen=True)
class Change:
    """What one value of a dimension contributes to a change.

    Attributes
    ----------
    before, after : Fraction or None
        The value's own figure in both ranges; None where it is not known.
    contribution : Fraction
        How much it adds to the change of the whole.
    effects : mapping of str to Fraction
        What the contribution is made of. They add up to it.
    """

    before: Fraction | None
    after: Fraction | None
    contribution: Fraction
    effects: Mapping[str, Fraction]


class Decomposition(Protocol):
    """A way to split the changes of a figure."""

    @property
    def parts(self) -> tuple[Figure, ...]:
        """What must be read."""

    @property
    def effects(self) -> tuple[str, ...]:
        """The names of the effects."""

    def value(self, parts: Parts) -> Fraction | None:
        """The figure of some parts; None where it is not known.

        Parameters
        ----------
        parts : mapping
            The parts by name; what is absent is 0.
        """

    def share(self, parts: Parts) -> Fraction:
        """What a value's part of the whole is measured by.

        Parameters
        ----------
        parts : mapping
            The parts by name.
        """

    def changes(self, before: Groups, after: Groups) -> dict[Any, Change]:
        """The contribution of each value.

        Parameters
        ----------
        before, after : mapping
            The parts by the values of a dimension, in both ranges.
        """

    def reason(self, before: Parts, after: Parts, change: Change) -> str:
        """The effect that is most of a contribution, in words; empty where there is only one.

        Parameters
        ----------
        before, after : mapping
            The value's parts.
        change : Change
            What `changes` gives of it.
        """


@dataclass(frozen=True)
class Added:
    """A figure that is added up: each value contributes its own change.

    Attributes
    ----------
    figure : Figure
        Which one.
    """

    figure: Figure
    effects: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Figure, ...]:
        """The figure."""
        return (self.figure,)

    def value(self, parts: Parts) -> Fraction | None:
        """The figure itself; see `Decomposition`.

        Parameters
        ----------
        parts : mapping
            The parts by name.
        """
        return parts.get(self.figure.name, _NONE)

    def share(self, parts: Parts) -> Fraction:
        """The figure itself; see `Decomposition`.

        Parameters
        ----------
        parts : mapping
            The parts by name.
        """
        return parts.get(self.figure.name, _NONE)

    def changes(self, before: Groups, after: Groups) -> dict[Any, Change]:
        """Each value's own change; see `Decomposition`.

        Parameters
        ----------
        before, after : mapping
            The parts by value.
        """
        found = {}
        for value in {**before, **after}:
            old, new = (self.share(groups.get(value, {})) for groups in (before, after))
            found[value] = Change(old, new, new - old, {})
        return found

    def reason(self, before: Parts, after: Parts, change: Change) -> str:
        """Whether the value is new or gone; see `Decomposition`.

        Parameters
        ----------
        before, after : mapping
            The value's parts.
        change : Change
            Its change.
        """
        return _came_or_went(before, after)


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
        return _of(self.amount, parts)

    def changes(self, before: Groups, after: Groups) -> dict[Any, Change]:
        """Each value's change, split into the effects; see `Decomposition`.

        Parameters
        ----------
        before, after : mapping
            The parts by value.
        """
        volume = self.units or self.orders
        whole = total_of(before), total_of(after)
        volumes = [_of(volume, parts) for parts in whole]
        orders = [_of(self.orders, parts) for parts in whole]
        per_order = _mean(*_quotients(volumes, orders))
        found = {}
        for value in {**before, **after}:
            sides = before.get(value, {}), after.get(value, {})
            amounts = [_of(self.amount, parts) for parts in sides]
            own = [_of(volume, parts) for parts in sides]
            change = amounts[1] - amounts[0]
            price = _mean(*_quotients(amounts, own))
            of_volume = price * (own[1] - own[0])
            with_all = price * _mean(*_quotients(own, volumes)) * (volumes[1] - volumes[0])
            effects = {"mix": of_volume - with_all, self.effects[-1]: change - of_volume}
            if self.units and self.orders:
                share = _mean(*_quotients(own, volumes))
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
        if word := _came_or_went(before, after):
            return word
        price = change.effects[self.effects[-1]]
        volume = change.contribution - price
        if abs(price) > abs(volume):
            return f"{_up(price, 'higher', 'lower')} {self.effects[-1]}"
        units, orders = ([_of(figure, parts) for parts in (before, after)] for figure in (self.units, self.orders))
        if self.units is None:
            return f"{_up(volume, 'more', 'fewer')} orders"
        by_orders = _mean(*_quotients(units, orders)) * (orders[1] - orders[0])
        if not all(orders):  # an order counts where its first line does
            return f"{_up(volume, 'more', 'fewer')} units"
        if abs(by_orders) >= abs(units[1] - units[0] - by_orders):
            return f"{_up(by_orders, 'more', 'fewer')} orders"
        return f"{_up(volume, 'more', 'fewer')} units per order"


@dataclass(frozen=True)
class Divided:
    """A ratio: each value's own rate, and its share of what is divided by, apart.

    A value whose share grows adds as much as its rate differs from that of the whole. Where a value has something to
    divide and nothing to divide by, there is no rate to tell apart, and all of it counts as the effect of the rate.

    Attributes
    ----------
    ratio : Ratio
        Which one.
    """

    ratio: Ratio
    effects: tuple[str, ...] = ("rate", "mix")

    @property
    def parts(self) -> tuple[Figure, ...]:
        """Numerator and denominator."""
        return (self.ratio.over, self.ratio.under)

    def value(self, parts: Parts) -> Fraction | None:
        """The ratio; see `Decomposition`.

        Parameters
        ----------
        parts : mapping
            The parts by name.
        """
        over, under = (_of(figure, parts) for figure in self.parts)
        return over / under if under else None

    def share(self, parts: Parts) -> Fraction:
        """What is divided by; see `Decomposition`.

        Parameters
        ----------
        parts : mapping
            The parts by name.
        """
        return _of(self.ratio.under, parts)

    def changes(self, before: Groups, after: Groups) -> dict[Any, Change]:
        """Each value's contribution, split into rate and mix; see `Decomposition`.

        Parameters
        ----------
        before, after : mapping
            The parts by value. In both ranges there must be something to divide by.
        """
        wholes = [total_of(groups) for groups in (before, after)]
        unders = [_of(self.ratio.under, parts) for parts in wholes]
        mean = _mean(*(_of(self.ratio.over, parts) / under for parts, under in zip(wholes, unders, strict=True)))
        found = {}
        for value in {**before, **after}:
            sides = before.get(value, {}), after.get(value, {})
            overs = [_of(self.ratio.over, parts) for parts in sides]
            own = [_of(self.ratio.under, parts) for parts in sides]
            shares = [part / whole for part, whole in zip(own, unders, strict=True)]
            weighed = [part / whole for part, whole in zip(overs, unders, strict=True)]
            contribution = weighed[1] - weighed[0] - mean * (shares[1] - shares[0])
            has_rates = all(under or not over for over, under in zip(overs, own, strict=True))
            rate = _mean(*_quotients(overs, own))
            mix = (shares[1] - shares[0]) * (rate - mean) if has_rates else _NONE
            effects = {"rate": contribution - mix, "mix": mix}
            found[value] = Change(self.value(sides[0]), self.value(sides[1]), contribution, effects)
        return found

    def reason(self, before: Parts, after: Parts, change: Change) -> str:
        """The rate or the share; see `Decomposition`.

        Parameters
        ----------
        before, after : mapping
            The value's parts.
        change : Change
            Its change.
        """
        if word := _came_or_went(before, after):
            return word
        rate, mix = change.effects["rate"], change.effects["mix"]
        if abs(rate) >= abs(mix):
            return f"{_up(rate, 'higher', 'lower')} {_small(self.ratio.title)}"
        return f"mix of {_small(self.ratio.under.title)}"


def total_of(groups: Groups) -> dict[str, Fraction]:
    """The parts of all values together.

    Parameters
    ----------
    groups : mapping
        The parts by value.
    """
    found: dict[str, Fraction] = {}
    for parts in groups.values():
        for name, part in parts.items():
            found[name] = found.get(name, _NONE) + part
    return found


def _of(figure: Figure | None, parts: Parts) -> Fraction:
    return _NONE if figure is None else parts.get(figure.name, _NONE)


def _mean(*numbers: Fraction) -> Fraction:
    return sum(numbers, _NONE) / len(numbers)


def _quotients(over: Iterable[Fraction], under: Iterable[Fraction]) -> list[Fraction]:
    """Quotients on both sides. The one that is not known is that of the other side, and 0 where none is."""
    found = [one / by if by else None for one, by in zip(over, under, strict=True)]
    known = next((one for one in found if one is not None), _NONE)
    return [known if one is None else one for one in found]


def _came_or_went(before: Parts, after: Parts) -> str:
    """A value without any parts in one of the ranges."""
    there = [any(parts.values()) for parts in (before, after)]
    return {(False, True): "new", (True, False): "gone"}.get((there[0], there[1]), "")


def _up(number: Fraction, more: str, less: str) -> str:
    return more if number > 0 else less


def _small(title: str) -> str:
    return title[:1].lower() + title[1:]
