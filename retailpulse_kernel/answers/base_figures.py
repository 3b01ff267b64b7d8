"""Figures of money in the shop's base currency: ``revenue_base`` beside ``revenue``, computed when figures are read.

No store keeps them. A row of one currency and one business day gets the amount of each, as `conversion` says; the rows'
amounts are added up exactly, and the sum is rounded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from functools import cached_property, reduce
from typing import Any, Final

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.figures import Figure, Ratio, parts_of
from retailpulse_kernel.shop.kinds import PLACES, Combination, Rules, Value

__all__ = [
    "EXACT",
    "BaseFigure",
    "all_in_base",
    "amounts_of",
    "in_base",
    "is_based",
    "stored_parts",
]

#: The end of the names of figures in the base currency.
SUFFIX: Final = "_base"
#: Arithmetic of amounts that refuses to round: no amount and no factor has as many digits.
EXACT: Final = Context(prec=400, traps=[Inexact])
_PLACE: Final = Decimal(1).scaleb(-PLACES)
_ROUNDING: Final = Context(prec=EXACT.prec, rounding=ROUND_HALF_UP)


def _exact_sum(amounts: Sequence[Decimal]) -> Decimal | None:
    """The sum of amounts; None of none, since nothing that was converted is not an amount of 0."""
    return reduce(EXACT.add, amounts) if amounts else None


def _rounded(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else amount.quantize(_PLACE, context=_ROUNDING)


@dataclass(frozen=True)
class BaseFigure(Figure):
    """A figure of the rows that are converted: money in the base currency, or a count that such money is divided by.

    Parameters
    ----------
    stored : Figure, optional
        The figure as the table keeps it.
    """

    stored: Figure | None = None

    @property
    def source(self) -> Figure:
        """The figure as the table keeps it."""
        assert self.stored is not None, "a figure in the base currency is made of another one"
        return self.stored

    @property
    def is_amount(self) -> bool:
        """Whether it is money, and not a count."""
        return self.source.rules.value is Value.DECIMAL

    @cached_property
    def rules(self) -> Rules:
        """Those of the stored figure, with exact sums that are rounded when they are shown."""
        rules = self.source.rules
        if not self.is_amount:
            return rules
        combine = _exact_sum if rules.combination is Combination.SUM else rules.combine
        return replace(rules, combine=combine, shown=_rounded)

    def combine(self, parts: Iterable[Any]) -> Any:
        """Combine amounts of several rows; None where all that is not 0 has no rate.

        Parameters
        ----------
        parts : iterable of object
            What `conversion` made of each row; None where the row has no rate.
        """
        given = list(parts)
        found = super().combine(given)
        is_sum = self.is_amount and self.rules.combination is Combination.SUM
        return None if is_sum and not found and None in given else found


def _based(figure: Figure) -> BaseFigure:
    return BaseFigure(
        f"{figure.name}{SUFFIX}", f"{figure.title} in the base currency", figure.measure, figure.where,
        "base currency", figure,
    )  # fmt: skip


def in_base(name: str, known: Mapping[str, Figure | Ratio], by: Sequence[str]) -> Figure | Ratio | None:
    """A figure in the base currency, by its name; None where the name is not one of these.

    >>> from retailpulse_kernel.shop.figures import FIGURES
    >>> in_base("revenue_base", FIGURES, ["currency"]).source.name
    'revenue'

    Parameters
    ----------
    name : str
        Such as ``revenue_base``.
    known : mapping
        The figures of a table by their names.
    by : sequence of str
        The table's dimensions.

    Raises
    ------
    UsageError
        The figure is no amount of money, or the table does not go by currency.
    """
    figure = known.get(name.removesuffix(SUFFIX)) if name.endswith(SUFFIX) else None
    if figure is None:
        return None
    if not is_money(figure, by):
        raise UsageError(
            f"The figure {figure.name!r} is no amount of money in a table by currency, so it has no {name!r}.",
            remedy=f"Ask for {figure.name!r}.",
        )
    if isinstance(figure, Figure):
        return _based(figure)
    title = f"{figure.title} in the base currency"
    return replace(
        figure, name=name, title=title, over=_based(figure.over), under=_based(figure.under), unit="base currency"
    )  # fmt: skip


def all_in_base(figures: Iterable[Figure | Ratio], by: Sequence[str]) -> list[Figure | Ratio]:
    """Every figure in the base currency that a table can be asked for.

    Parameters
    ----------
    figures : iterable of Figure or Ratio
        The figures of the table, with its ratios.
    by : sequence of str
        The table's dimensions.
    """
    known = {figure.name: figure for figure in figures}
    names = (f"{figure.name}{SUFFIX}" for figure in known.values() if is_money(figure, by))
    return [based for name in names if name not in known and (based := in_base(name, known, by)) is not None]


def is_money(figure: Figure | Ratio, by: Sequence[str]) -> bool:
    """Whether a figure may be an amount of the row's currency.

    A plan does not keep the unit of a job's own figure: what has decimals in a table by currency may be money. A ratio
    of two amounts is none.

    Parameters
    ----------
    figure : Figure or Ratio
        One that a table answers.
    by : sequence of str
        The table's dimensions.
    """
    if is_based(figure) or "currency" not in by:
        return False
    if isinstance(figure, Ratio):
        return is_money(figure.over, by) and not is_money(figure.under, by)
    if figure.rules.value is Value.SKETCH:  # numbers in buckets can't be converted
        return False
    return figure.unit == "currency" or (not figure.unit and figure.rules.value is Value.DECIMAL)


def is_based(figure: Figure | Ratio) -> bool:
    """Whether a figure is in the base currency.

    Parameters
    ----------
    figure : Figure or Ratio
        Any figure.
    """
    return isinstance(figure.over if isinstance(figure, Ratio) else figure, BaseFigure)


def stored_parts(figures: Iterable[Figure | Ratio]) -> list[Figure]:
    """What a store is asked for, so that some figures can be made of it.

    Parameters
    ----------
    figures : iterable of Figure or Ratio
        In the base currency, or not.
    """
    parts = (part.source if isinstance(part, BaseFigure) else part for part in parts_of(figures))
    return list(dict.fromkeys(parts))


def amounts_of(figures: Iterable[Figure | Ratio]) -> list[BaseFigure]:
    """The parts of some figures that are in the base currency.

    Parameters
    ----------
    figures : iterable of Figure or Ratio
        In the base currency, or not.
    """
    return [part for part in parts_of(figures) if isinstance(part, BaseFigure)]
