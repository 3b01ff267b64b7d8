"""A change by the values of one dimension, in numbers that add up as they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from retailpulse_kernel.insight.effects import Change, Decomposition, Groups, total_of
from retailpulse_kernel.insight.shown import number_of, rounded, shared

__all__ = ["Breakdown", "Mover", "breakdown_of", "change_between"]

#: A number as it is shown: whole numbers as such.
Number = int | Decimal


@dataclass(frozen=True)
class Mover:
    """What one value of a dimension adds to a change.

    Attributes
    ----------
    value : str
        The value, or what several values are called together.
    before, after : int or Decimal or None
        Its figure in both ranges; None where that is not known.
    contribution : int or Decimal
        How much it adds to the change of the whole.
    effects : mapping
        What the contribution is made of, by the effects' names. They add up to it.
    reason : str
        The largest of them in words; may be empty.
    others : int
        How many values stand together here; 0 for a single one.
    """

    value: str
    before: Number | None
    after: Number | None
    contribution: Number
    effects: Mapping[str, Number]
    reason: str = ""
    others: int = 0


@dataclass(frozen=True)
class Breakdown:
    """A change by the values of a dimension, those that moved most first.

    Attributes
    ----------
    dimension : str
        Which one.
    movers : tuple of Mover
        Every value.
    apart : Fraction
        How far the values moved apart: see `breakdown_of`.
    groups : tuple of mapping
        The exact parts of both ranges by value.
    decomposition : Decomposition
        How the change was split.
    places : int
        Decimal places of the numbers.
    """

    dimension: str
    movers: tuple[Mover, ...]
    apart: Fraction
    groups: tuple[Groups, Groups] = field(repr=False)
    decomposition: Decomposition = field(repr=False)
    places: int

    def largest(self, top: int | None) -> tuple[Mover, ...]:
        """The values that moved most, and all others as one.

        Parameters
        ----------
        top : int or None
            How many stand by themselves; all when None.
        """
        if top is None or len(self.movers) <= top + 1:
            return self.movers
        kept, rest = self.movers[:top], self.movers[top:]
        names = {mover.value for mover in rest}
        sides = [
            total_of({value: parts for value, parts in groups.items() if str(value) in names}) for groups in self.groups
        ]
        known = [self.decomposition.value(parts) for parts in sides]
        before, after = (None if one is None else _number(number_of(one, self.places)) for one in known)
        effects = {name: sum(mover.effects[name] for mover in rest) for name in self.decomposition.effects}
        label = f"{len(rest):,} others"
        return (*kept, Mover(label, before, after, sum(mover.contribution for mover in rest), effects, "", len(rest)))


def change_between(
    decomposition: Decomposition, before: Groups, after: Groups, places: int
) -> tuple[Fraction | None, Fraction | None]:
    """The whole figure in both ranges, as it is shown.

    Parameters
    ----------
    decomposition : Decomposition
        Knows the figure.
    before, after : mapping
        The parts by value.
    places : int
        Decimal places.
    """
    values = [decomposition.value(total_of(groups)) for groups in (before, after)]
    old, new = (None if value is None else rounded(value, places) for value in values)
    return old, new


def breakdown_of(dimension: str, decomposition: Decomposition, before: Groups, after: Groups, places: int) -> Breakdown:
    """A change by the values of a dimension.

    How far the values moved apart is the sum of the squares of what each contributes beyond its share: had all values
    moved as the whole did, it would be 0. Squares make one value that moved much count more than many that moved a
    little, so that a dimension does not win by having many values.

    Parameters
    ----------
    dimension : str
        Its name.
    decomposition : Decomposition
        How the change is split. The whole figure is known in both ranges.
    before, after : mapping
        The parts by value.
    places : int
        Decimal places of the numbers.
    """
    changes = decomposition.changes(before, after)
    whole = sum((change.contribution for change in changes.values()), Fraction(0))
    old, new = change_between(decomposition, before, after, places)
    assert old is not None and new is not None, "there is a change to be explained"
    values = sorted(changes, key=lambda value: (-abs(changes[value].contribution), str(value)))
    contributions = shared([changes[value].contribution for value in values], new - old, places=places)
    movers = tuple(
        _mover(value, changes[value], contribution, decomposition, before, after, places)
        for value, contribution in zip(values, contributions, strict=True)
    )
    shares = _shares(decomposition, before, after)
    apart = sum(((change.contribution - whole * shares[value]) ** 2 for value, change in changes.items()), Fraction(0))
    return Breakdown(dimension, movers, apart, (before, after), decomposition, places)


def _mover(
    value: Any,
    change: Change,
    contribution: Decimal,
    decomposition: Decomposition,
    before: Groups,
    after: Groups,
    places: int,
) -> Mover:
    names = decomposition.effects
    effects = shared([change.effects[name] for name in names], Fraction(contribution), places=places) if names else []
    reason = decomposition.reason(before.get(value, {}), after.get(value, {}), change)
    old, new = (None if one is None else _number(number_of(one, places)) for one in (change.before, change.after))
    named = dict(zip(names, map(_number, effects), strict=True))
    return Mover(str(value), old, new, _number(contribution), named, reason)


def _number(number: Decimal) -> Number:
    """A decimal without decimal places as a whole number."""
    return int(number) if number.as_tuple().exponent == 0 else number


def _shares(decomposition: Decomposition, before: Groups, after: Groups) -> dict[Any, Fraction]:
    """The part of the whole that each value has in both ranges together; 0 where the whole is nothing."""
    weights = {
        value: decomposition.share(before.get(value, {})) + decomposition.share(after.get(value, {}))
        for value in {**before, **after}
    }
    whole = sum(weights.values(), Fraction(0))
    return {value: weight / whole if whole else Fraction(0) for value, weight in weights.items()}
