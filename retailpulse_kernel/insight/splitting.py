"""How the change of a figure is split, by what the figure is and what else its table keeps."""

from __future__ import annotations

from retailpulse_kernel.answers.base_figures import BaseFigure
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.insight.divided import Divided
from retailpulse_kernel.insight.effects import Added, Decomposition
from retailpulse_kernel.insight.sold import Sold
from retailpulse_kernel.shop.figures import ORDERS, REVENUE, UNITS, Figure, Ratio, parts_of
from retailpulse_kernel.shop.kinds import PLACES, Value
from retailpulse_kernel.shop.tables import FigureTable

__all__ = ["decomposition_of", "places_of"]

#: Decimal places of ratios: a conversion of 0.0213 would lose its change with the four of money.
_RATIO_PLACES = 6


def decomposition_of(figure: Figure | Ratio, table: FigureTable) -> Decomposition:
    """How the changes of a figure split.

    Parameters
    ----------
    figure : Figure or Ratio
        As the table answers it.
    table : FigureTable
        The table: revenue is split by the units and orders that stand beside it.

    Raises
    ------
    UsageError
        The figure does not add up.
    """
    for part in parts_of([figure]):
        if not part.rules.is_added:
            counts = part.rules.value is Value.SKETCH and part.rules.shows is Value.WHOLE
            why = "counts different values, and two groups may share some" if counts else "is one value of many"
            raise UsageError(
                f"The figure {figure.name!r} does not add up: {part.name!r} {why}. Its changes can't be split.",
                remedy="Ask for a figure that adds up, such as events, orders or revenue, or for a ratio of two such.",
            )
    if isinstance(figure, Ratio):
        return Divided(figure)
    units, orders = (one if one in table.figures else None for one in (UNITS, ORDERS))
    source = figure.source if isinstance(figure, BaseFigure) else figure
    return Sold(figure, units, orders) if source == REVENUE and (units or orders) else Added(figure)


def places_of(figure: Figure | Ratio, *, is_scaled: bool) -> int:
    """The decimal places of a figure's numbers: none where it is counted.

    Parameters
    ----------
    figure : Figure or Ratio
        What adds up.
    is_scaled : bool
        Whether its earlier values are scaled, so that counts are no whole numbers.
    """
    if isinstance(figure, Ratio):
        return _RATIO_PLACES
    return 0 if figure.rules.value is Value.WHOLE and not is_scaled else PLACES
