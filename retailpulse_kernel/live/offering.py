"""What the explorer offers: every figure that can be drawn as bars, and every dimension of the shop."""

from __future__ import annotations

from retailpulse_kernel.answers.reading import chosen_figures
from retailpulse_kernel.answers.referencing import columns_of
from retailpulse_kernel.catalogue.tables import catalogue_of
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.figures import FIGURES, Figure, Ratio, parts_of
from retailpulse_kernel.shop.kinds import Value

__all__ = ["offered"]


def offered(settings: Settings) -> tuple[list[str], list[str]]:
    """The names of the figures, and of the dimensions with the columns of reference tables behind them.

    The figures are those of all tables and of the shop. The dimensions are those of all tables and of the contract, but
    not the currency: the page chooses one.

    Parameters
    ----------
    settings : Settings
        Whose namespace, and whose contract.
    """
    catalogue = catalogue_of(settings)
    tables = [entry.figures for entry in catalogue.figures if entry.figures is not None]
    figures = [*FIGURES.values(), *(figure for table in tables for figure in chosen_figures((), table))]
    known = {*catalogue.contract.dimensions, *(name for table in tables for name in table.by)} - {"currency"}
    dimensions = [*sorted(known), *columns_of(catalogue.contract, known)]
    return list(dict.fromkeys(figure.name for figure in figures if _is_number(figure))), dimensions


def _is_number(figure: Figure | Ratio) -> bool:
    return all(part.rules.value is not Value.TIME for part in parts_of([figure]))
