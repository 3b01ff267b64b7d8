"""The values of a dimension over HTTP, for the variables of a dashboard.

Grafana's plugin makes an error of an answer without rows. So there is always one: a shop without events yet has the
currency of its books, and one empty value of any other dimension, which filters nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Annotated

import orjson
from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel

from retailpulse_kernel.answers.reading import chosen_figures
from retailpulse_kernel.answers.request import Asked
from retailpulse_kernel.api.figures import Wanted, figure_answer
from retailpulse_kernel.api.problems import ERRORS
from retailpulse_kernel.api.sources import Answering, Sources
from retailpulse_kernel.catalogue.personal import require_shown
from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.shop.figures import EVENTS

__all__ = ["add_values"]

#: Values that a variable offers, those with most events first.
_MOST = 200


class Values(BaseModel):
    """The values of a dimension in a range."""

    dimension: str
    since: str
    until: str
    rows: list[dict[str, str]]


def add_values(app: FastAPI, sources: Sources, pool: Executor, answer: Answering, asking: Callable[..., Asked]) -> None:
    """Answer requests for the values of a dimension.

    Parameters
    ----------
    app : FastAPI
        The application.
    sources : Sources
        The catalogue and the stores.
    pool : Executor
        What the requests to a store run in.
    answer : callable
        Makes the response of a request, its key and what gives the body.
    asking : callable
        Checks the parameters of a request.
    """
    needed = Depends(asking)

    @app.get("/api/v1/values/{dimension}", response_model=Values, responses={**ERRORS})
    def values(
        request: Request,
        dimension: str,
        question: Asked = needed,
        table: Annotated[str | None, Query(description="The table whose values these are.")] = None,
    ) -> Response:
        """List the values of a dimension in a range, those with most events first; at least one, which may be empty."""
        tables = [entry for entry in sources.catalogue.figures if table in (None, entry.name)]
        known = {name for entry in tables for name in entry.key}
        if dimension not in known:
            raise UnknownName("dimension", dimension, known)
        require_shown((dimension,), sources.catalogue.contract)
        kept = tables[0].figures
        first = EVENTS if table is None or kept is None else chosen_figures((), kept)[0]
        wanted = Wanted(replace(question, by=(dimension,), where=(), limit=_MOST), table)
        return answer(
            request, ("values", first.name, wanted), lambda: _body(sources, pool, dimension, first.name, wanted)
        )


def _body(sources: Sources, pool: Executor, dimension: str, figure: str, wanted: Wanted) -> bytes:
    found = figure_answer(sources, pool, figure, wanted)
    nothing = sources.catalogue.contract.shop.currency if dimension == "currency" else ""
    rows = [{dimension: row[dimension]} for row in found["rows"]] or [{dimension: nothing}]
    return orjson.dumps({"dimension": dimension, "since": found["since"], "until": found["until"], "rows": rows})
