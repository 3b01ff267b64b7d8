"""The tables over HTTP: the catalogue, and the rows of each table as JSON that keeps each value."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Path, Query, Request, Response
from pydantic import BaseModel

from retailpulse_kernel.answers.base_figures import all_in_base
from retailpulse_kernel.answers.reading import chosen_figures
from retailpulse_kernel.api.problems import ERRORS, Problem
from retailpulse_kernel.api.sources import Answering, Sources
from retailpulse_kernel.catalogue.conditions import wanted_of
from retailpulse_kernel.catalogue.contents import Contents
from retailpulse_kernel.catalogue.overview import Freshness, described, fresh_words
from retailpulse_kernel.catalogue.personal import without_personal
from retailpulse_kernel.catalogue.tables import TableEntry
from retailpulse_kernel.ground.spans import range_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.personal import is_personal, names_personal, shows_personal
from retailpulse_kernel.shop.tables import grain_of
from retailpulse_kernel.stores.kafka.values import values_of

__all__ = ["add_tables"]

#: Rows that one answer has at most.
_MOST = 10_000
_PARAMETERS = ("since", "until", "last", "time", "every", "columns", "order", "limit", "store")
#: What stands before a column that is called as a parameter is.
_PREFIX = "where."


class Listed(BaseModel):
    """A table of the catalogue."""

    table: str
    store: str
    kind: str
    job: str
    version: str
    only: list[str]
    by: list[str]
    windows: list[str]
    figures: list[dict[str, Any]]
    columns: list[dict[str, str]]
    written: str | None
    complete_until: str | None
    rows: int | None


class Listing(BaseModel):
    """The tables of the namespace."""

    namespace: str
    tables: list[Listed]


class TableRows(BaseModel):
    """Rows of a table. Decimals, times and dates are texts with all their digits, bytes are base64."""

    table: str
    store: str
    kind: str
    job: str
    version: str
    columns: list[dict[str, str]]
    more: bool
    rows: list[dict[str, Any]]


def add_tables(app: FastAPI, sources: Sources, answer: Answering) -> None:
    """Answer requests for tables.

    Parameters
    ----------
    app : FastAPI
        The application.
    sources : Sources
        The catalogue and the stores.
    answer : callable
        Makes the response of a request, its key and what gives the body.
    """

    @app.get("/api/v1/tables", response_model=Listing, responses={503: ERRORS[503], 401: ERRORS[401]})
    def tables(request: Request) -> Response:
        """List the tables that the jobs write: what each holds, by which keys, which job and version writes it."""
        return answer(request, ("tables",), lambda: _listing(sources))

    @app.get(
        "/api/v1/tables/{table}",
        response_model=TableRows,
        responses={**ERRORS, 404: {"model": Problem, "description": "There is no such table."}},
    )
    def table(
        request: Request,
        table: Annotated[str, Path(description="A table, or a stored table of figures such as prices_5m.")],
        since: Annotated[str | None, Query(description="Start of the range, ISO 8601.", max_length=64)] = None,
        until: Annotated[str | None, Query(description="End of the range, not included.", max_length=64)] = None,
        last: Annotated[str | None, Query(description="The newest span instead: 1h, 7d.", max_length=20)] = None,
        time: Annotated[str | None, Query(description="The column of times that the range is of.")] = None,
        every: Annotated[str | None, Query(description="The windows of stored figures.", max_length=16)] = None,
        columns: Annotated[list[str] | None, Query(description="Columns to give, with commas or repeated.")] = None,
        order: Annotated[list[str] | None, Query(description="Columns to sort by, -NAME for descending.")] = None,
        limit: Annotated[int, Query(description="Rows at most.", ge=1, le=_MOST)] = 1_000,
        store: Annotated[str | None, Query(description="The store, where several have the table.")] = None,
    ) -> Response:
        """Rows of a table. Any other parameter is a column, and its values are those that a row may have.

        A column that is called as one of the parameters is written `where.NAME`. Columns of personal fields are absent.
        """
        where: dict[str, list[str]] = {}
        for name, value in request.query_params.multi_items():
            if name not in _PARAMETERS:
                where.setdefault(name.removeprefix(_PREFIX), []).append(value)

        def make() -> bytes:
            catalogue = sources.catalogue
            calendar = catalogue.contract.shop.calendar
            begin, end = range_of(last, since, until, calendar=calendar)
            found = catalogue.find(table, store)
            opened = sources.store(found.entry.store)
            contents = Contents(found, catalogue.contract, opened, grain_of(every, calendar) if every else None)
            shown = without_personal(found.entry, contents.table, catalogue.contract)
            wanted = wanted_of(
                shown, where=where, since=begin, until=end, time=time, columns=_listed(columns), order=_listed(order),
                limit=limit,
            )  # fmt: skip
            read = contents.read(wanted)
            kinds = {name: shown.types[name] for name in wanted.columns}
            rows = values_of(contents.part(wanted.columns), read.rows)
            head = _head(found.entry, shown.name) | {
                "columns": [{"name": name, "type": kind} for name, kind in kinds.items()], "more": read.more,
            }  # fmt: skip
            return orjson.dumps(head)[:-1] + b',"rows":[' + b",".join(rows) + b"]}"

        return answer(request, ("table", table, *request.query_params.multi_items()), make)


def _listed(given: list[str] | None) -> list[str] | None:
    """Names of columns, which have no commas, from a list or several."""
    return None if given is None else [name.strip() for text in given for name in text.split(",")]


def _head(entry: TableEntry, name: str) -> dict[str, Any]:
    return {"table": name, "store": entry.store, "kind": entry.kind, "job": entry.job, "version": entry.version}


def _listing(sources: Sources) -> bytes:
    found = sources.tables()
    contract = found.catalogue.contract
    both = zip(found.catalogue.entries, found.freshness, strict=True)
    listed = [_shown(entry, fresh, contract) for entry, fresh in both]
    return orjson.dumps({"namespace": found.catalogue.namespace, "tables": listed})


def _shown(entry: TableEntry, fresh: Freshness, contract: Contract) -> dict[str, Any]:
    """A table without its personal columns."""
    said = described(entry, contract) | fresh_words(fresh)
    kept = [] if entry.figures is None else chosen_figures((), entry.figures)
    kept += all_in_base(kept, entry.key)
    hidden = {figure.name for figure in kept if shows_personal(figure, contract)}
    said["figures"] = [figure for figure in said["figures"] if figure["name"] not in hidden]
    said["only"] = [text for text in said["only"] if not names_personal(text, contract)]
    said["by"] = [name for name in said["by"] if not is_personal(name, contract)]
    said["columns"] = [column for column in said["columns"] if not is_personal(column["name"], contract)]
    return said
