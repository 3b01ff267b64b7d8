"""Why a figure moved: the two ranges, the tables that know its dimensions, and the dimension that explains best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.answers.base_figures import BaseFigure, is_based
from retailpulse_kernel.answers.comparing import Comparison
from retailpulse_kernel.answers.ranges import minutes_of
from retailpulse_kernel.answers.referencing import references_of
from retailpulse_kernel.catalogue.choosing import Choice, Question, choose
from retailpulse_kernel.catalogue.completeness import complete_until
from retailpulse_kernel.catalogue.personal import is_personal
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.spans import PERIODS, span_of
from retailpulse_kernel.insight.against import Against, Ranges, ranges_of
from retailpulse_kernel.insight.breakdown import Breakdown, breakdown_of, change_between
from retailpulse_kernel.insight.effects import Added, Decomposition, Divided, Sold
from retailpulse_kernel.insight.explanation import Explanation
from retailpulse_kernel.insight.reading import Both, Reader, fits
from retailpulse_kernel.shop.figures import ORDERS, REVENUE, UNITS, Figure, Ratio, parts_of
from retailpulse_kernel.shop.kinds import PLACES, Value
from retailpulse_kernel.shop.tables import CATEGORY, FigureTable
from retailpulse_kernel.stores.base import Store
from retailpulse_kernel.stores.frames import CATEGORIES

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Asked", "explain"]

#: Decimal places of ratios: a conversion of 0.0213 would lose its change with the four of money.
_RATIO_PLACES = 6


@dataclass(frozen=True)
class Asked:
    """What `rp.why` was asked; its parameters have the same names."""

    figure: str | Figure | Ratio
    by: tuple[str, ...] = ()
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    last: str | timedelta | None = None
    since: str | datetime | None = None
    until: str | datetime | None = None
    against: Against = "previous"
    currency: str | None = None
    table: str | None = None
    scale: bool = False
    top: int | None = 10


def explain(
    catalogue: Catalogue,
    asked: Asked,
    store_of: Callable[[str], Store],
    rows_of: Callable[[str], pa.Table] | None = None,
    ranges: Ranges | None = None,
) -> Explanation:
    """Why a figure moved, by the dimensions that are asked for, or by all that its tables have.

    Parameters
    ----------
    catalogue : Catalogue
        The tables that there are.
    asked : Asked
        The question.
    store_of : callable
        Gives a store by its name.
    rows_of : callable, optional
        Gives the rows of a reference table by its name.
    ranges : Ranges, optional
        Both ranges, where they are known already.

    Raises
    ------
    UnknownName
        There is no such figure, dimension, table or comparison.
    UsageError
        The figure does not add up, the ranges can't be compared, or nothing happened in them.
    """
    where = dict(asked.where) | ({} if asked.currency is None else {"currency": [asked.currency]})
    references = references_of(catalogue.contract, [*asked.by, *where], rows_of)

    def chosen(*dimensions: str, table: str | None = asked.table) -> Choice:
        names = references.dimensions([*dimensions, *where])
        span = None if asked.last is None or asked.last in PERIODS else span_of(asked.last)
        return choose(catalogue, Question((asked.figure,), names, span=span), table=table)

    main = _main(catalogue, asked, chosen)
    (figure,) = main.figures
    if ranges is None:
        ranges = _ranges(catalogue, main, asked)
    conversion = catalogue.conversion() if is_based(figure) else None
    reader = Reader(where, references, store_of, conversion)
    is_money = main.entry.may_be_money(figure) and "currency" in main.table.by
    dimensions = asked.by or tuple(_dimensions(catalogue, figure, where, is_money=is_money))
    notes: list[str] = []
    plans = _plans(main, dimensions, chosen, ranges, is_named=bool(asked.by))
    decomposition = _decomposition(figure, main.table)
    places = _RATIO_PLACES if isinstance(figure, Ratio) else _places(figure, is_scaled=ranges.scale != 1)
    unit = conversion.base if conversion else figure.unit
    breakdowns: list[Breakdown] = []
    totals = None
    for choice, names in plans:
        if (choice.entry.name, choice.entry.store) != (main.entry.name, main.entry.store):
            decomposition = _decomposition(figure, choice.table)
        both = reader.read(choice, decomposition.parts, ranges)
        if is_money:
            both, unit = _of_one_currency(both, unit, catalogue, notes)
        found = change_between(decomposition, *both.by("", ranges.scale), places)
        if totals is None:
            totals = _known(found, figure, ranges)
            notes += _missing(both, ranges)
        elif found != totals:
            notes.append(
                f"The table {choice.entry.name!r} has another total than {main.entry.name!r}, so {', '.join(names)} "
                "can't explain the change."
            )
            continue
        breakdowns += [breakdown_of(name, decomposition, *both.by(name, ranges.scale), places) for name in names]
    assert totals is not None, "the table of the figure was read"
    if asked.table is None and not catalogue.is_served(main.entry):
        notes.append(f"{main.words}.")
    if conversion is not None and conversion.words:
        notes.append(conversion.words)
    if ranges.scale != 1:
        notes.append(f"The ranges are {ranges.spans} long: the earlier amounts are scaled by {ranges.scale}.")
    notes = list(dict.fromkeys(notes))
    for note in notes:
        say(note)
    breakdowns.sort(key=lambda one: (-one.apart, len(one.movers), one.dimension))
    fixed = replace(asked, currency=unit if is_money else asked.currency)

    def again(by: tuple[str, ...], further: Mapping[str, Sequence[str]]) -> Explanation:
        question = replace(fixed, by=by, where={**fixed.where, **further})
        return explain(catalogue, question, store_of, rows_of, ranges)

    return Explanation(
        figure.name, figure.title, unit, ranges, *totals, tuple(breakdowns), where, tuple(notes), asked.top, places,
        again,
    )  # fmt: skip


def _main(catalogue: Catalogue, asked: Asked, chosen: Callable[..., Choice]) -> Choice:
    """The table whose total is explained: the one that the dashboards show, where it can answer."""
    if asked.table is None:
        with suppress(UsageError):
            served = chosen(*asked.by[:1], table=CATEGORY.name)
            if catalogue.is_served(served.entry) and served.entry.ran:
                return served
    return chosen(*asked.by[:1])


def _ranges(catalogue: Catalogue, choice: Choice, asked: Asked) -> Ranges:
    """Both ranges, in windows of the table that answers."""
    calendar = catalogue.contract.shop.calendar
    finest = min(choice.table.every, key=lambda one: one.seconds)
    since, until = minutes_of(asked.last, asked.since, asked.until, finest, calendar)
    reached = complete_until(catalogue, [choice.entry])
    return ranges_of(
        asked.against, since, until, finest=finest, reached=reached, calendar=calendar, scale=asked.scale
    )  # fmt: skip


def _decomposition(figure: Figure | Ratio, table: FigureTable) -> Decomposition:
    """How the changes of a figure split, by what its table also keeps."""
    for part in parts_of([figure]):
        if not part.rules.is_added:
            why = "different values, which may be among those of two groups at once"
            kept = f"counts {why}" if part.rules.value is Value.SKETCH else "is one value of many"
            raise UsageError(
                f"The figure {figure.name!r} does not add up: {part.name!r} {kept}. Its changes can't be split.",
                remedy="Ask for a figure that adds up, such as events, orders or revenue, or for a ratio of two such.",
            )
    if isinstance(figure, Ratio):
        return Divided(figure)
    units, orders = (one if one in table.figures else None for one in (UNITS, ORDERS))
    source = figure.source if isinstance(figure, BaseFigure) else figure
    return Sold(figure, units, orders) if source == REVENUE and (units or orders) else Added(figure)


def _places(figure: Figure, *, is_scaled: bool) -> int:
    """The decimal places of what is added up: none where it is counted."""
    return 0 if figure.rules.value is Value.WHOLE and not is_scaled else PLACES


def _dimensions(
    catalogue: Catalogue, figure: Figure | Ratio, where: Mapping[str, Sequence[str]], *, is_money: bool
) -> list[str]:
    """What may explain a figure: dimensions with few values. Users, sessions and products are asked for by name."""
    found = []
    for entry in catalogue.figures:
        found += [name for name in (entry.figures.by if entry.figures else ()) if _is_tried(name, entry, catalogue)]
    # One value explains nothing, and sums of money do not cross currencies.
    fixed = {name for name, values in where.items() if len(values) == 1} | ({"currency"} if is_money else set())
    return [name for name in dict.fromkeys(found) if name not in fixed]


def _is_tried(name: str, entry: TableEntry, catalogue: Catalogue) -> bool:
    contract = catalogue.contract.of_topic(entry.topic)
    known = contract.by_name.get(name)
    is_own = known is not None and known.is_own
    return (name in CATEGORIES or is_own) and not is_personal(name, catalogue.contract)


def _plans(
    main: Choice, dimensions: Sequence[str], chosen: Callable[..., Choice], ranges: Ranges, *, is_named: bool
) -> list[tuple[Choice, list[str]]]:
    """The tables to read, the main one first, and the dimensions that each tells."""
    plans: dict[tuple[str, str], tuple[Choice, list[str]]] = {(main.entry.name, main.entry.store): (main, [])}
    for name in dimensions:
        choice = main
        if name not in main.table.by:
            try:
                choice = chosen(name)
            except UsageError:
                if is_named:
                    raise
                continue
            if not fits(choice, ranges):
                if is_named:
                    raise UsageError(
                        f"The table {choice.entry.name!r} has no windows that begin and end where the ranges do.",
                        remedy="Give ranges of whole windows of the table, such as whole hours or days.",
                    )
                continue
        plans.setdefault((choice.entry.name, choice.entry.store), (choice, []))[1].append(name)
    return list(plans.values())


def _of_one_currency(both: Both, unit: str, catalogue: Catalogue, notes: list[str]) -> tuple[Both, str]:
    """The rows of the currency that is explained: the only one, or the shop's; the others are named."""
    found = both.currencies
    base = catalogue.contract.shop.currency
    if unit in found:  # that of the first table
        return both.of(unit), unit
    if len(found) > 1 and base not in found:
        raise UsageError(
            f"There is money in {', '.join(found)}, which does not add up.", remedy="Name one: currency=..."
        )
    if not found:
        return both, base
    chosen = base if base in found else found[0]
    others = [one for one in found if one != chosen]
    if others:
        notes.append(f"This is {chosen}. There is also money in {', '.join(others)}: name it with currency=...")
    return both.of(chosen), chosen


def _known(totals: tuple[Any, Any], figure: Figure | Ratio, ranges: Ranges) -> tuple[Any, Any]:
    """The whole figure in both ranges, which a ratio without anything to divide by does not have."""
    for value, since, until in (
        (totals[0], ranges.since_before, ranges.until_before), (totals[1], ranges.since, ranges.until),
    ):  # fmt: skip
        if value is None:
            assert isinstance(figure, Ratio), "a sum is always known"
            raise UsageError(
                f"There is no {figure.name} from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} (UTC): "
                f"{figure.under.name} is 0.",
                remedy="Ask for a longer range, or compare with another one.",
            )
    return totals


def _missing(both: Both, ranges: Ranges) -> list[str]:
    """What is said of an earlier range without figures, or without any at its beginning."""
    if not (both.before or both.after):
        raise UsageError(
            f"There is no {both.figures[0].name} in either range.",
            remedy="Ask for a longer range, or for other values in `where`.",
        )
    shift = ranges.since - ranges.since_before
    comparison = Comparison(ranges.since, ranges.since + (ranges.until_before - ranges.since_before), shift)
    first = min((row["bucket"] for row in both.before), default=None)
    words = comparison.missing(first)
    return [f"{words}."] if words else []
