"""Figures of any range by any dimensions, from whichever table of the catalogue keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, cast

from retailpulse_kernel.answers.base_figures import is_based, stored_parts
from retailpulse_kernel.answers.comparing import Comparison, compared, compared_frame, comparison_of
from retailpulse_kernel.answers.conversion import Conversion
from retailpulse_kernel.answers.corrected import Late, added, corrected
from retailpulse_kernel.answers.largest import Largest
from retailpulse_kernel.answers.ranges import Extent, minutes_of
from retailpulse_kernel.answers.reading import figure_frame, grouped, keys_of, money, read_rows
from retailpulse_kernel.answers.referencing import References, references_of
from retailpulse_kernel.catalogue.choosing import Choice, Question, choose_each
from retailpulse_kernel.catalogue.completeness import complete_until
from retailpulse_kernel.catalogue.tables import Catalogue
from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.spans import PERIODS, iso_text, range_of, span_of
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.shop.tables import CORRECTED_AT, LATE_EVENTS, Grain, Row, grain_of
from retailpulse_kernel.stores.base import FigureStore, Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Asking", "answer"]


@dataclass(frozen=True)
class Asking:
    """What `rp.figures` was asked; its parameters have the same names."""

    figures: tuple[str | Figure | Ratio, ...] = ()
    by: tuple[str, ...] = ("category",)
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    last: str | timedelta | None = None
    since: str | datetime | None = None
    until: str | datetime | None = None
    every: str | None = None
    table: str | None = None
    late: Literal["include", "exclude"] = "include"
    top: int | None = None
    compare: str | None = None


def answer(
    catalogue: Catalogue,
    asking: Asking,
    store_of: Callable[[str], Store],
    rows_of: Callable[[str], pa.Table] | None = None,
) -> pd.DataFrame:
    """Figures as a frame, from the table that answers at the least cost, or from several where none keeps them all.

    Parameters
    ----------
    catalogue : Catalogue
        The tables that there are.
    asking : Asking
        What is asked.
    store_of : callable
        Gives a store by its name.
    rows_of : callable, optional
        Gives the rows of a reference table by its name. When absent, figures go by no columns of such tables.

    Raises
    ------
    UnknownName
        There is no such figure, dimension, table or column of a reference table.
    UsageError
        No table answers, the range is empty or does not fit its windows, or `late` is neither of the two.
    """
    if asking.late not in ("include", "exclude"):
        raise UsageError(f"late={asking.late!r} is not known.", remedy="Use late='include' or late='exclude'.")
    calendar = catalogue.contract.shop.calendar
    every = grain_of(asking.every, calendar) if asking.every else None
    names = [name for name in dict.fromkeys((*asking.by, *asking.where)) if name != "bucket"]
    references = references_of(catalogue.contract, names, rows_of)
    dimensions = references.dimensions(names)
    last = None if asking.last is None or asking.last in PERIODS else span_of(asking.last)
    since, until = (None, None)
    if last is None:
        since, until = range_of(asking.last, asking.since, asking.until, calendar=calendar)
    question = Question(asking.figures, dimensions, every, since, until, last)
    choices = choose_each(catalogue, question, table=asking.table)
    keys = _same_keys(choices, asking.by, references)
    # Windows in which all tables can begin and end.
    finest = max((choice.table.finest for choice in choices), key=lambda one: one.seconds)
    widest = min((choice.table.widest for choice in choices), key=lambda one: one.seconds)
    begin, end = minutes_of(asking.last, asking.since, asking.until, finest, calendar)
    grain = every or (finest if last is not None else max(finest, widest, key=lambda one: one.seconds))
    by_progress = "bucket" in keys or asking.compare is not None
    now = complete_until(catalogue, [choice.entry for choice in choices]) if by_progress else datetime.now(UTC)
    comparison = None
    if asking.compare is not None:
        series = grain if "bucket" in asking.by else None
        comparison = comparison_of(
            asking.compare, begin, end, finest=finest, windows=series, now=now, calendar=calendar
        )
        begin, end = comparison.since, comparison.until
    for choice in choices:
        if asking.table is None and not catalogue.is_served(choice.entry):
            say(f"{choice.words}.")
    largest = None if asking.top is None else Largest(asking.top, asking.by)
    conversion = catalogue.conversion() if any(map(is_based, _in_order(choices, ()))) else None
    reading = _Reading(choices, asking, keys, grain, largest, references, conversion, store_of)
    rows = reading.rows(begin, end)
    late = reading.late()
    figures = _in_order(choices, asking.figures)
    extent = Extent(grain, begin, end, now)
    if comparison is None:
        frame = figure_frame(_sorted(rows.values(), keys, largest), keys, figures, extent)
    else:
        both = compared(rows, _before(reading, comparison), keys, figures, comparison)
        frame = compared_frame(_sorted(both, keys, largest), keys, figures, extent)
        frame.attrs |= dict(
            zip(("since_before", "until_before"), map(datetime.isoformat, comparison.before), strict=True)
        )
    tables = ", ".join(choice.entry.name for choice in choices)
    frame.attrs |= {"since": begin and begin.isoformat(), "until": end and end.isoformat(), "table": tables}
    if largest is not None:
        frame.attrs["others"] = largest.others
    _mark(frame, late)
    if "bucket" in frame and not calendar.is_utc:
        frame["bucket"] = frame["bucket"].dt.tz_convert(calendar.zone)
    if conversion is not None:
        frame.attrs |= conversion.attributes
        if conversion.words:
            say(conversion.words)
    return frame


class _Reading:
    """The rows of some tables for one question, of any range."""

    def __init__(
        self,
        choices: Sequence[Choice],
        asking: Asking,
        keys: Sequence[str],
        grain: Grain,
        largest: Largest | None,
        references: References,
        conversion: Conversion | None,
        store_of: Callable[[str], Store],
    ) -> None:
        self._choices, self._asking, self._keys, self._grain = choices, asking, keys, grain
        self._largest, self._references, self._conversion, self._store_of = largest, references, conversion, store_of
        #: The start of the first window that was found in the last range.
        self.first: datetime | None = None
        self._late: list[Late] = []

    def rows(self, begin: datetime | None, end: datetime | None) -> dict[tuple[Any, ...], Row]:
        """The figures of a range by their keys."""
        found: dict[tuple[Any, ...], Row] = {}
        self.first, self._late = None, []
        for choice in self._choices:
            store = cast("FigureStore", self._store_of(choice.entry.store))
            late: Late = []
            self._late.append(late)
            if self._asking.late == "include":
                store = corrected(store, late)
            kept = [] if begin is not None and begin == end else self._read(store, choice, begin, end)
            starts = [row["bucket"] for row in kept] + ([] if self.first is None else [self.first])
            self.first = min(starts, default=None)
            table = self._references.widened(choice.table)
            if self._largest is not None:
                kept = self._largest.merged(kept, table, choice.figures)
            for row in grouped(kept, self._keys, table, choice.figures):
                found.setdefault(tuple(row[key] for key in self._keys), {}).update(row)
        return found

    def late(self) -> list[tuple[Choice, list[Row]]]:
        """What late events added to the windows of the last range, by the tables."""
        result = []
        for choice, rows in zip(self._choices, self._late, strict=True):
            by = tuple(dict.fromkeys((*self._only, *(["currency"] if "currency" in choice.table.by else []))))
            figures = [figure for figure in stored_parts(choice.figures) if figure.rules.is_added]
            found = added(rows, grain=self._grain, figures=figures, by=by)
            only = self._only.items()
            result.append((choice, [row for row in found if all(row[name] in values for name, values in only)]))
        return result

    @property
    def _only(self) -> dict[str, Sequence[str]]:
        """The conditions on what a table of figures goes by."""
        return {name: values for name, values in self._asking.where.items() if name not in self._references.columns}

    def _read(self, store: FigureStore, choice: Choice, begin: datetime | None, end: datetime | None) -> list[Row]:
        """The stored figures of one table."""
        try:
            rows = read_rows(
                store, choice.table, since=begin, until=end, grain=self._grain, figures=stored_parts(choice.figures),
                only=self._only or None,
            )  # fmt: skip
        except NoSuchTable as error:
            raise choice.entry.absent from error
        # A store gives what lies below a category, too: which values are meant is checked here.
        asked = self._asking.where.items()
        kept = [row for row in self._references.joined(rows) if all(row[name] in values for name, values in asked)]
        if self._conversion is None:
            return kept
        return list(self._conversion.rows(kept, choice.figures, [grain.name for grain in choice.table.every]))


def _before(reading: _Reading, comparison: Comparison) -> dict[tuple[Any, ...], Row]:
    """The earlier figures; a note says where there are none."""
    rows = reading.rows(*comparison.before)
    if missing := comparison.missing(reading.first):
        say(f"{missing}.")
    return rows


def _sorted(rows: Iterable[Row], keys: Sequence[str], largest: Largest | None) -> list[Row]:
    """Rows by their keys, or the largest groups first."""
    if largest is not None:
        return sorted(rows, key=largest.order)
    return sorted(rows, key=lambda row: tuple(row[key] for key in keys))


def _mark(frame: pd.DataFrame, late: Sequence[tuple[Choice, Sequence[Row]]]) -> None:
    """Say of a frame what late events added to it, and in which windows; nothing where they added nothing."""
    rows = [row for _, found in late for row in found]
    if not rows:
        return
    if "bucket" in frame:
        frame["corrected"] = frame["bucket"].isin([row["bucket"] for row in rows])
    added: dict[str, Any] = {}
    for choice, found in late:
        for figure in (one for one in choice.figures if found and one.name in found[0]):
            added[figure.name] = _amount(choice, cast("Figure", figure), found)
    frame.attrs["late"] = {
        "events": max(sum(row[LATE_EVENTS.name] for row in found) for _, found in late),
        "corrected_at": iso_text(max(row[CORRECTED_AT.name] for row in rows)),
        "added": added,
    }


def _amount(choice: Choice, figure: Figure, rows: Sequence[Row]) -> Any:
    """How much was added to a figure; of what may be money by its currency, as text."""
    if not choice.entry.may_be_money(figure):
        total = figure.combine(row[figure.name] for row in rows)
        return format(total, "f") if isinstance(total, Decimal) else total
    currencies = sorted({row["currency"] for row in rows})
    return {
        currency: money(figure.combine(row[figure.name] for row in rows if row["currency"] == currency))
        for currency in currencies
    }


def _same_keys(choices: Sequence[Choice], by: Sequence[str], references: References) -> list[str]:
    """The keys of the answer; tables that have others can't stand in one frame."""
    first, *others = choices
    figures = _in_order(choices, ())
    keys = keys_of(by, references.widened(first.table), figures)
    for other in others:
        if keys_of(by, references.widened(other.table), figures) != keys:
            raise UsageError(
                f"The tables {first.entry.name!r} and {other.entry.name!r} can't answer together: only one of them "
                "goes by currency.",
                remedy="Ask for the figures of each table by themselves.",
            )
    return keys


def _in_order(choices: Sequence[Choice], asked: Sequence[str | Figure | Ratio]) -> list[Figure | Ratio]:
    """The figures in the order in which they were asked for."""
    found = {figure.name: figure for choice in choices for figure in choice.figures}
    names = [one if isinstance(one, str) else one.name for one in asked] or list(found)
    return [found[name] for name in dict.fromkeys(names)]
