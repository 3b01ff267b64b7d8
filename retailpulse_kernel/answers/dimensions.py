"""A figure by any dimension of the shop: from a table that keeps it, or else from the archive's single events."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from retailpulse_kernel.answers.largest import Largest
from retailpulse_kernel.answers.reading import figure_frame, grouped
from retailpulse_kernel.answers.referencing import NONE, references_of
from retailpulse_kernel.answers.scope import TOP, Scope, archived, known_values
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.shop.columns import sums
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.figures import FIGURES, Figure, Ratio, parts_of
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from retailpulse_kernel.stores.hive.archive import archive_columns

if TYPE_CHECKING:
    import pandas as pd

    from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["by_dimension"]


def by_dimension(rp: Workbench, scope: Scope, *, limit: int | None = TOP) -> pd.DataFrame:
    """The scope's figure by its dimension; ``.attrs["call"]`` is the call of `rp.figures` that gives the same.

    Parameters
    ----------
    rp : Workbench
        Whose tables and archive are asked.
    scope : Scope
        Figure, dimension, categories, range and currency.
    limit : int or None
        So many groups, the largest; all others are one group. None for all.

    Raises
    ------
    UsageError
        No table keeps the figure by the dimension, and the archive's events do not tell it.
    """
    try:
        return _of_tables(rp, scope, limit, currency=scope.currency)
    except UsageError as error:
        told = _told_by_events(rp, scope)
        if told is not None:
            return _of_events(rp, scope, told, limit)
        try:  # a table of another shape has no currency
            return _of_tables(rp, scope, limit, currency=None)
        except UsageError:
            raise error from None


def _of_tables(rp: Workbench, scope: Scope, limit: int | None, *, currency: str | None) -> pd.DataFrame:
    given: dict[str, Any] = {"by": scope.by, "last": scope.last}
    given |= {name: f"{moment:%Y-%m-%dT%H:%M}" for name in ("since", "until") if (moment := getattr(scope, name))}
    if scope.categories:
        given["where"] = {"category": _below(known_values(rp)[0], scope)}
    given |= {"top": limit, "currency": currency}
    given = {name: value for name, value in given.items() if value is not None}
    with unsaid():
        frame = rp.figures(scope.figure, **given)
    arguments = [repr(scope.figure), *(f"{name}={value!r}" for name, value in given.items())]
    frame.attrs["call"] = f"rp.figures({', '.join(arguments)})"
    return frame


def _below(categories: list[str], scope: Scope) -> list[str]:
    """The chosen categories with all below them."""
    return [one for one in categories if any(f"{one}.".startswith(f"{path}.") for path in scope.categories)] or list(
        scope.categories
    )


def _told_by_events(rp: Workbench, scope: Scope) -> Figure | Ratio | None:
    """The figure, where single events can be added up to it."""
    figure = FIGURES.get(scope.figure)
    contract = contract_of(rp.settings)
    key = next((table.key for table in contract.tables if scope.by.startswith(f"{table.name}.")), (scope.by,))
    if figure is None or not set(key) <= archive_columns(contract).keys():
        return None
    return figure if all(part.rules.is_added for part in parts_of([figure])) else None


def _of_events(rp: Workbench, scope: Scope, figure: Figure | Ratio, limit: int | None) -> pd.DataFrame:
    contract = contract_of(rp.settings)
    references = references_of(contract, [scope.by], partial(rp.reference, as_="arrow"))
    keys = references.dimensions([scope.by])
    events = archived(rp, scope, keys, contract)
    events = events.filter(pc.equal(events["currency"], scope.currency))
    parts = tuple(parts_of([figure]))
    by = tuple(dict.fromkeys(("currency", *keys)))
    table = references.widened(FigureTable("archive", parts, by, (GRAINS["day"],), dimensions=by))
    counted = sums(events, by, parts).to_pylist()
    rows = references.joined(
        [row | {key: NONE if row[key] is None else str(row[key]) for key in keys} for row in counted]
    )
    largest = Largest(limit or len(rows) or 1, [scope.by])
    found = grouped(largest.merged(rows, table, [figure]), [scope.by], table, [figure])
    frame = figure_frame(sorted(found, key=largest.order), [scope.by, "currency"], [figure])
    frame.attrs["others"] = largest.others
    return frame
