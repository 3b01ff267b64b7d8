"""How a change of a ratio splits into rate and mix."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from retailpulse_kernel.insight.effects import (
    NOTHING,
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
from retailpulse_kernel.shop.figures import Figure, Ratio

__all__ = ["Divided"]


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
        over, under = (part_of(figure, parts) for figure in self.parts)
        return over / under if under else None

    def share(self, parts: Parts) -> Fraction:
        """What is divided by; see `Decomposition`.

        Parameters
        ----------
        parts : mapping
            The parts by name.
        """
        return part_of(self.ratio.under, parts)

    def changes(self, before: Groups, after: Groups) -> dict[Any, Change]:
        """Each value's contribution, split into rate and mix; see `Decomposition`.

        Parameters
        ----------
        before, after : mapping
            The parts by value. In both ranges there must be something to divide by.
        """
        wholes = [total_of(groups) for groups in (before, after)]
        unders = [part_of(self.ratio.under, parts) for parts in wholes]
        mean = mean_of([part_of(self.ratio.over, parts) / under for parts, under in zip(wholes, unders, strict=True)])
        found = {}
        for value in {**before, **after}:
            sides = before.get(value, {}), after.get(value, {})
            overs = [part_of(self.ratio.over, parts) for parts in sides]
            own = [part_of(self.ratio.under, parts) for parts in sides]
            shares = [part / whole for part, whole in zip(own, unders, strict=True)]
            weighed = [part / whole for part, whole in zip(overs, unders, strict=True)]
            contribution = weighed[1] - weighed[0] - mean * (shares[1] - shares[0])
            has_rates = all(under or not over for over, under in zip(overs, own, strict=True))
            rate = mean_of(quotients(overs, own))
            mix = (shares[1] - shares[0]) * (rate - mean) if has_rates else NOTHING
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
        if word := came_or_went(before, after):
            return word
        rate, mix = change.effects["rate"], change.effects["mix"]
        if abs(rate) >= abs(mix):
            return f"{by_sign(rate, 'higher', 'lower')} {self.ratio.title.lower()}"
        return f"mix of {self.ratio.under.title.lower()}"
