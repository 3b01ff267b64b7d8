"""The answer to why a figure moved, as one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from retailpulse_kernel.insight.breakdown import Mover, Number

__all__ = ["amount_text", "sentence_of"]

#: Values that the sentence names.
_NAMED = 3


def amount_text(number: Number, *, signed: bool = False) -> str:
    """A number for reading, thousands apart: decimals with two to four decimal places.

    >>> amount_text(Decimal("1204.5000")), amount_text(-1530, signed=True), amount_text(Decimal("0.021349"))
    ('1,204.50', '-1,530', '0.0213')

    Parameters
    ----------
    number : int or Decimal
        Any.
    signed : bool
        Whether a number above 0 has a sign, too.
    """
    if isinstance(number, int):
        return f"{number:+,}" if signed else f"{number:,}"
    digits = f"{number:+,.4f}" if signed else f"{number:,.4f}"
    whole, _, places = digits.partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}"


def sentence_of(
    title: str,
    unit: str,
    other: str,
    values: tuple[Number, Number, Decimal | None],
    movers: Sequence[Mover],
) -> str:
    """The change, and what contributed most to it.

    Parameters
    ----------
    title : str
        The figure's.
    unit : str
        What its numbers are; may be empty.
    other : str
        What the range is compared with.
    values : tuple
        The earlier figure, the later one, and the change in percent.
    movers : sequence of Mover
        The contributions, the largest first.
    """
    before, after, percent = values
    change = after - before
    behind = f" {unit}" if unit and unit not in title.lower() else ""
    share = "" if percent is None else f" ({percent:+.1f} %)"
    moved = [one for one in movers if one.contribution]
    if not change and not moved:
        return f"{title} is unchanged from {other}: {amount_text(after)}{behind}."
    if change:
        size, above = (change, "above") if change > 0 else (-change, "below")
        said = f"{title} is {amount_text(after)}{behind}, {amount_text(size)}{share} {above} {other}"
    else:
        said = f"{title} is unchanged from {other}, {amount_text(after)}{behind}, but its parts moved"
    named = [one for one in moved if not one.others][:_NAMED]
    parts = [
        f"{one.value} {amount_text(one.contribution, signed=True)}{f' ({one.reason})' if one.reason else ''}"
        for one in named
    ]
    rest = [one for one in moved if one not in named]
    if rest:
        count = sum(one.others or 1 for one in rest)
        left: Number = sum((one.contribution for one in rest), 0 * change)
        parts.append(f"{count:,} {'other' if count == 1 else 'others'} {amount_text(left, signed=True)}")
    return f"{said}: {', '.join(parts)}." if parts else f"{said}."
