"""The totals of a reconciliation: events, units, revenue and orders by currency, in the topic and in each store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from decimal import Decimal
from typing import Any

from retailpulse_kernel.reconcile.comparing import Compared, Hours, Range, Rows
from retailpulse_kernel.reconcile.result import Totals
from retailpulse_kernel.reconcile.tables import ARCHIVE
from retailpulse_kernel.shop.tables import GRAINS, FigureTable

__all__ = ["totals_of"]

_HOUR = GRAINS["hour"]
_HOUR_MS = 3_600_000

#: Figures by store and currency.
_ByStore = dict[str, dict[str, dict[str, int | Decimal]]]


def totals_of(compared: Iterable[Compared], jobs: Container[str]) -> tuple[list[Totals], Range]:
    """Every currency's figures over the whole hours that are compared in every store, and those hours.

    Parameters
    ----------
    compared : iterable of Compared
        Of a store's several, the first that has all figures of the totals counts.
    jobs : container of str
        The jobs that count all events.
    """
    whole: dict[str, tuple[Compared, Hours]] = {}
    for one in compared:
        if one.hours is not None and one.job in jobs:
            whole.setdefault(one.store, (one, one.hours))
    starts = [one.within.start_ms for one, _ in whole.values() if one.within.start_ms is not None]
    ends = [one.within.end_ms for one, _ in whole.values() if one.within.end_ms is not None]
    within = Range(
        -(-max(starts) // _HOUR_MS) * _HOUR_MS if starts else None, min(ends) // _HOUR_MS * _HOUR_MS if ends else None
    )
    stored = {store: _by_currency(hours.table, hours.stored, within) for store, (_, hours) in whole.items()}
    folded = {store: _by_currency(hours.table, hours.folded, within) for store, (_, hours) in whole.items()}
    first = next(iter(folded.values()), {})
    totals = []
    for currency in sorted({c for part in (*stored.values(), *folded.values()) for c in part}):
        figures = {
            figure.name: {"topic": _figure(first, currency, figure.name)}
            | {store: _figure(found, currency, figure.name) for store, found in stored.items()}
            for figure in ARCHIVE.figures
        }
        totals.append(Totals(currency, figures, equal=all(s == f for s, f in _pairs(stored, folded, currency))))
    return totals, within


def _figure(by_currency: dict[str, dict[str, int | Decimal]], currency: str, figure: str) -> int | Decimal:
    return by_currency.get(currency, {}).get(figure, 0)


def _pairs(stored: _ByStore, folded: _ByStore, currency: str) -> list[tuple[int | Decimal, int | Decimal]]:
    """What each store has, and what the fold of its job's messages has."""
    return [
        (_figure(stored[name], currency, figure.name), _figure(folded[name], currency, figure.name))
        for name in stored
        for figure in ARCHIVE.figures
    ]


def _by_currency(table: FigureTable, rows: Rows, within: Range) -> dict[str, dict[str, int | Decimal]]:
    """Events, units, revenue and orders by currency over hours."""
    place = 1 + table.by.index("currency")
    figures = [(i, f) for i, f in enumerate(table.figures) if f in ARCHIVE.figures]
    parts: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for key, values in rows.items():
        if within.holds(key[0], _HOUR):
            parts[key[place]].append(values)
    return {
        currency: {figure.name: figure.combine(row[i] for row in found) for i, figure in figures}
        for currency, found in sorted(parts.items())
    }
