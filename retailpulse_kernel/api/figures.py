"""The rows of a figure over HTTP: of any table, the largest groups, beside those of an earlier range."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from retailpulse_kernel.answers.base_figures import SUFFIX, is_based, is_money
from retailpulse_kernel.answers.compared_rows import compared_rows
from retailpulse_kernel.answers.corrected import Late, corrected
from retailpulse_kernel.answers.largest import Largest
from retailpulse_kernel.answers.request import Asked, fitted
from retailpulse_kernel.answers.rows import figure_rows
from retailpulse_kernel.api.corrections import mark_corrected
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.catalogue.choosing import Question, choose
from retailpulse_kernel.catalogue.completeness import complete_until, until_complete
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.personal import shows_personal
from retailpulse_kernel.shop.tables import Row

__all__ = ["Wanted", "answer_of", "figure_answer"]


@dataclass(frozen=True)
class Wanted:
    """What a request wants of a figure.

    Attributes
    ----------
    asked : Asked
        Range, dimensions and filters.
    table : str, optional
        The table that answers; the cheapest when absent.
    top : int
        How many groups are kept by themselves; 0 for all.
    compare : str
        One of `comparing.COMPARISONS`, or empty.
    complete : bool
        Whether the range ends where the table is complete.
    in_base : bool
        Whether money is wanted in the base currency.
    """

    asked: Asked
    table: str | None = None
    top: int = 0
    compare: str = ""
    complete: bool = False
    in_base: bool = False


def figure_answer(sources: Sources, pool: Executor, name: str, wanted: Wanted) -> dict[str, Any]:
    """The answer with the rows of a figure, from the table that answers at the least cost.

    Parameters
    ----------
    sources : Sources
        The catalogue and the stores.
    pool : Executor
        What the requests to a store run in.
    name : str
        The figure's.
    wanted : Wanted
        What is wanted of it.

    Raises
    ------
    UnknownName
        There is no such figure, dimension, table or comparison.
    UsageError
        The figure shows values of a personal field, or no table answers.
    """
    catalogue, asked = sources.catalogue, wanted.asked
    every = asked.grain if "bucket" in asked.by and not asked.any_grain else None
    span = asked.until - asked.since
    choice = choose(catalogue, Question((name,), asked.dimensions, every, span=span), table=wanted.table)
    (figure,) = choice.figures
    if wanted.in_base and is_money(figure, choice.table.by):
        based = Question((f"{name}{SUFFIX}",), asked.dimensions, every, span=span)
        choice = choose(catalogue, based, table=wanted.table)
        (figure,) = choice.figures
    if shows_personal(figure, catalogue.contract):
        raise UsageError(
            f"The figure {name!r} shows values of a personal field.", remedy="Ask for a number of values instead."
        )
    asked = fitted(asked, choice.table)
    by_progress = wanted.complete or wanted.compare or "bucket" in asked.by
    now = complete_until(catalogue, [choice.entry]) if by_progress else datetime.now(UTC)
    if wanted.complete:
        asked = until_complete(asked, choice.table, now)
    largest = Largest(wanted.top, asked.by) if wanted.top else None
    conversion = catalogue.conversion() if is_based(figure) else None
    store = sources.figures(choice.entry.store)

    def read(one: Asked) -> list[Row]:
        if one.since >= one.until:
            return []
        late: Late = []
        rows = figure_rows(
            corrected(store, late), pool, figure, one, now=now, table=choice.table, conversion=conversion,
            largest=largest,
        )  # fmt: skip
        mark_corrected(late, one, rows)
        return rows

    said: dict[str, Any] = {}
    if wanted.compare:
        rows, comparison = compared_rows(read, wanted.compare, asked, figure, choice.table, now=now)
        asked = replace(asked, since=comparison.since, until=comparison.until)
        said = dict(zip(("since_before", "until_before"), comparison.before, strict=True))
        if comparison.nothing:
            said["note"] = f"{comparison.nothing}."
    else:
        rows = read(asked)
    if largest is not None:
        said["others"] = largest.others
    if conversion is not None:
        said["base"] = conversion.plain()
    return answer_of(name, figure.title, figure.unit, choice.entry.name, asked, rows, said)


def answer_of(
    name: str,
    title: str,
    unit: str,
    table: str,
    asked: Asked,
    rows: list[Row],
    said: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An answer; `total_rows` tells how many rows there are where the limit leaves some out.

    Parameters
    ----------
    name, title, unit : str
        The figure's.
    table : str
        The table that answered.
    asked : Asked
        What was asked.
    rows : list of dict
        All rows.
    said : mapping, optional
        What else the answer says.
    """
    return {
        "figure": name, "title": title, "unit": unit, "table": table, "since": asked.since,
        "until": asked.until, "grain": asked.grain.name, "total_rows": len(rows), **(said or {}),
        "rows": rows[: asked.limit] if asked.limit else rows,
    }  # fmt: skip
