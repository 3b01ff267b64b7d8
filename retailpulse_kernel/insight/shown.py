"""Exact fractions as numbers of so many decimal places that add up: the largest remainders are rounded up.

>>> [str(one) for one in shared([Fraction(1, 3)] * 3, 1, places=2)]
['0.34', '0.33', '0.33']
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction
from math import floor
from typing import Final

__all__ = ["number_of", "rounded", "shared"]

#: Enough digits for every amount.
_WIDE: Final = Context(prec=400)


def rounded(number: Fraction, places: int) -> Fraction:
    """A number with so many decimal places, rounded half up away from 0, as the figures are.

    Parameters
    ----------
    number : Fraction
        Any.
    places : int
        Decimal places.
    """
    units = abs(number) * 10**places
    whole = floor(units + Fraction(1, 2))
    return Fraction(whole if number >= 0 else -whole, 10**places)


def shared(parts: Sequence[Fraction], total: Fraction | int, *, places: int) -> list[Decimal]:
    """Parts with so many decimal places, whose sum is a total that has as many.

    Each part is rounded down, and then the parts with the largest remainders get a unit of the last place each until
    the sum is right. So each part differs from its exact value by one unit at most, where the total is as near.

    Parameters
    ----------
    parts : sequence of Fraction
        The exact parts; at least one unless the total is 0.
    total : Fraction
        What they must add up to, with no more places.
    places : int
        Decimal places.

    Raises
    ------
    ValueError
        The total has more decimal places.
    """
    scaled = [part * 10**places for part in parts]
    units = [floor(one) for one in scaled]
    wanted = Fraction(total) * 10**places
    if wanted.denominator != 1:
        raise ValueError(f"{total} has more than {places} decimal places")
    missing = int(wanted) - sum(units)
    order = sorted(range(len(units)), key=lambda place: (units[place] - scaled[place], place))
    for turn in range(abs(missing)):
        place = order[turn % len(order)] if missing > 0 else order[-1 - turn % len(order)]
        units[place] += 1 if missing > 0 else -1
    return [_decimal(unit, places) for unit in units]


def number_of(number: Fraction, places: int) -> Decimal:
    """A number as a decimal with so many places.

    Parameters
    ----------
    number : Fraction
        Any; it is rounded half up.
    places : int
        Decimal places.
    """
    return _decimal(int(rounded(number, places) * 10**places), places)


def _decimal(units: int, places: int) -> Decimal:
    return Decimal(units).scaleb(-places, context=_WIDE)
