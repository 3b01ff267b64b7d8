"""How a change splits into what each value of a dimension contributes, and that into effects. All of it is exact.

Each quantity is a `fractions.Fraction`, and the last effect of a split is the rest, so that effects add up to their
contribution and contributions to the change whatever the numbers are.

A product of two factors changes by ``mean(b) * (change of a) + mean(a) * (change of b)``. That is Shapley's value: the
mean over both orders in which the factors may change. A factor that one side does not have, such as the price of what
was not sold, counts there as on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from retailpulse_kernel.shop.figures import Figure

__all__ = [
    "NOTHING",
    "Added",
    "Change",
    "Decomposition",
    "Groups",
    "Parts",
    "by_sign",
    "came_or_went",
    "mean_of",
    "part_of",
    "quotients",
    "total_of",
]

#: The parts of a figure, such as a ratio's numerator and denominator, by their names.
Parts = Mapping[str, Fraction]
#: The parts by the value of a dimension.
Groups = Mapping[Any, Parts]

#: What a part is that a value does not have.
NOTHING = Fraction(0)


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
        return parts.get(self.figure.name, NOTHING)

    def share(self, parts: Parts) -> Fraction:
        """The figure itself; see `Decomposition`.

        Parameters
        ----------
        parts : mapping
            The parts by name.
        """
        return parts.get(self.figure.name, NOTHING)

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
        return came_or_went(before, after)


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
            found[name] = found.get(name, NOTHING) + part
    return found


def part_of(figure: Figure | None, parts: Parts) -> Fraction:
    """One of the parts; 0 where it is absent, or where there is no such figure.

    Parameters
    ----------
    figure : Figure or None
        Which one.
    parts : mapping
        The parts by name.
    """
    return NOTHING if figure is None else parts.get(figure.name, NOTHING)


def mean_of(numbers: Sequence[Fraction]) -> Fraction:
    """The mean of some numbers.

    Parameters
    ----------
    numbers : sequence of Fraction
        One at least.
    """
    return sum(numbers, NOTHING) / len(numbers)


def quotients(over: Sequence[Fraction], under: Sequence[Fraction]) -> list[Fraction]:
    """Quotients in both ranges. The one that is not known is that of the other range, and 0 where none is.

    Parameters
    ----------
    over, under : sequence of Fraction
        What is divided, and by what, in both ranges.
    """
    found = [one / by if by else None for one, by in zip(over, under, strict=True)]
    known = next((one for one in found if one is not None), NOTHING)
    return [known if one is None else one for one in found]


def came_or_went(before: Parts, after: Parts) -> str:
    """What is said of a value that has no parts in one of the ranges; empty otherwise.

    Parameters
    ----------
    before, after : mapping
        The value's parts.
    """
    there = [any(parts.values()) for parts in (before, after)]
    return {(False, True): "new", (True, False): "gone"}.get((there[0], there[1]), "")


def by_sign(number: Fraction, more: str, less: str) -> str:
    """One of two words.

    Parameters
    ----------
    number : Fraction
        Any.
    more, less : str
        The word for a number above 0, and the one for others.
    """
    return more if number > 0 else less
