"""Which windows late events have corrected, over HTTP: what each correction added, and when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel

from retailpulse_kernel.answers.corrected import Late, additions
from retailpulse_kernel.answers.request import Asked, fitted
from retailpulse_kernel.answers.rows import valued
from retailpulse_kernel.api.problems import ERRORS, Problem
from retailpulse_kernel.api.sources import Answering, Sources
from retailpulse_kernel.catalogue.tables import TableEntry
from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.personal import shows_personal
from retailpulse_kernel.shop.tables import CATEGORY, CORRECTED_AT, LATE_EVENTS, FigureTable, Row
from retailpulse_kernel.stores.base import FigureStore

__all__ = ["add_corrections", "mark_corrected"]


class Corrections(BaseModel):
    """The corrected windows of a table, with the range they were read for."""

    table: str
    since: str
    until: str
    grain: str
    total_rows: int
    rows: list[dict[str, Any]]


def add_corrections(app: FastAPI, sources: Sources, answer: Answering, asking: Callable[..., Asked]) -> None:
    """Answer requests for corrections.

    Parameters
    ----------
    app : FastAPI
        The application.
    sources : Sources
        The catalogue and the stores.
    answer : callable
        Makes the response of a request, its key and what gives the body.
    asking : callable
        Checks the parameters of a request.
    """
    needed = Depends(asking)

    @app.get(
        "/api/v1/corrections",
        response_model=Corrections,
        responses={**ERRORS, 404: {"model": Problem, "description": "There is no such table."}},
    )
    def corrections(
        request: Request,
        question: Asked = needed,
        table: Annotated[str, Query(description="The table that was corrected.")] = CATEGORY.name,
    ) -> Response:
        """List the windows to which late events were added: how many, when, and how much of each figure."""
        return answer(request, ("corrections", question, table), lambda: _body(sources, question, table))


def mark_corrected(late: Late, question: Asked, rows: list[Row]) -> None:
    """Say of the rows of a series when their windows were corrected, where late events were added.

    Parameters
    ----------
    late : list
        What late events added to the rows that were read, as `corrected` takes it.
    question : Asked
        What was asked of the table.
    rows : list of Row
        The rows of a figure.
    """
    if "bucket" not in question.by or not rows:
        return
    keys = [name for name in dict.fromkeys((*question.by, "currency")) if name in rows[0]]
    events: dict[tuple[Any, ...], int] = defaultdict(int)
    at: dict[tuple[Any, ...], datetime] = {}
    for counted, row in _asked_rows(late, question):
        key = tuple(row[name] for name in keys)
        events[key] += counted
        at[key] = max(row[CORRECTED_AT.name], at.get(key, row[CORRECTED_AT.name]))
    for row in rows:
        key = tuple(row[name] for name in keys)
        if events.get(key, 0) > 0:
            row[CORRECTED_AT.name] = iso_text(at[key])


def _asked_rows(late: Late, question: Asked) -> Iterator[tuple[int, Row]]:
    """The rows with the values that were asked for, each with its late events; fewer than none of what was taken away.

    A part of a wide window may be read as the whole window less the narrow ones that the range leaves out.
    """
    calendar = question.calendar
    since, until = (calendar.shifted(end, -question.shift) for end in (question.since, question.until))
    for grain, row in late:
        if all(row[name] in values for name, values in question.where):
            start = row[grain.name]
            sign = 1 if start < until and grain.end(start) > since else -1
            bucket = calendar.text(calendar.shifted(question.grain.start(start), question.shift))
            yield sign * row[LATE_EVENTS.name], {**row, "bucket": bucket}


def _body(sources: Sources, question: Asked, name: str) -> bytes:
    entry = _entry(sources, name)
    assert entry.figures is not None, "the catalogue lists tables of figures here"
    question = fitted(replace(question, by=("bucket",)), entry.figures)
    contract = sources.catalogue.contract
    figures = [one for one in entry.figures.figures if one.rules.is_added and not shows_personal(one, contract)]
    keys = ("bucket", *(["currency"] if "currency" in entry.figures.by else []))
    found = _added(sources.figures(entry.store), entry.figures, question, figures, keys)
    rows = [
        {
            **{key: row[key] for key in keys},
            "table": entry.name,
            "late_events": row[LATE_EVENTS.name],
            "corrected_at": iso_text(row[CORRECTED_AT.name]),
            "added": {one.name: valued(row[one.name], is_money=entry.may_be_money(one)) for one in figures},
        }
        for row in found
    ]
    return orjson.dumps(
        {
            "table": entry.name, "since": question.since, "until": question.until, "grain": question.grain.name,
            "total_rows": len(rows), "rows": rows[: question.limit] if question.limit else rows,
        }
    )  # fmt: skip


def _entry(sources: Sources, name: str) -> TableEntry:
    catalogue = sources.catalogue
    found = [entry for entry in catalogue.figures if entry.name == name]
    if not found:
        raise UnknownName("table of figures", name, {entry.name for entry in catalogue.figures})
    return next((entry for entry in found if catalogue.is_served(entry)), found[0])


def _added(
    store: FigureStore, table: FigureTable, question: Asked, figures: list[Figure], keys: tuple[str, ...]
) -> list[Row]:
    """What late events added, by some keys, as the rows of a figure have these."""
    filters = dict(question.where)
    for name in filters:
        if name not in table.by:
            raise UnknownName(f"dimension of the table {table.name!r}", name, table.by)
    by = tuple(name for name in dict.fromkeys((*keys, *filters)) if name != "bucket")
    calendar = question.calendar
    since, until = (calendar.shifted(end, -question.shift) for end in (question.since, question.until))
    found = additions(store, table, since=since, until=until, grain=question.grain, figures=figures, by=by)
    parts: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        if all(row[name] in values for name, values in filters.items()):
            parts.setdefault(tuple(row[name] for name in keys), []).append(row)
    wanted = (*figures, LATE_EVENTS, CORRECTED_AT)
    return [
        dict(zip(keys, key, strict=True))
        | {one.name: one.combine(row[one.name] for row in members) for one in wanted}
        | {"bucket": calendar.text(calendar.shifted(key[keys.index("bucket")], question.shift))}
        for key, members in sorted(parts.items())
    ]
