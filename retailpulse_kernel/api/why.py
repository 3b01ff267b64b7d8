"""Why a figure moved, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel

from retailpulse_kernel.answers.request import Asked
from retailpulse_kernel.api.problems import ERRORS, Problem
from retailpulse_kernel.api.sources import Answering, Sources
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.insight import explaining

__all__ = ["add_why"]


class Why(BaseModel):
    """What moved a figure. Decimals are texts; the movers of each dimension add up to the change exactly."""

    figure: str
    title: str
    unit: str
    since: str
    until: str
    since_before: str
    until_before: str
    where: dict[str, list[str]]
    before: int | str
    after: int | str
    change: int | str
    percent: str | None
    sentence: str
    notes: list[str]
    effects: dict[str, int | str]
    dimensions: list[dict[str, Any]]


def add_why(app: FastAPI, sources: Sources, answer: Answering, asking: Callable[..., Asked]) -> None:
    """Answer requests for what moved a figure.

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
        "/api/v1/why/{name}",
        response_model=Why,
        responses={**ERRORS, 404: {"model": Problem, "description": "There is no such figure."}},
    )
    def why(
        request: Request,
        name: str,
        question: Asked = needed,
        compare: Annotated[str, Query(description="previous, yesterday, last week, or START/END")] = "previous",
        table: Annotated[str | None, Query(description="The table that answers; the best when absent.")] = None,
        top: Annotated[int, Query(description="Values that stand by themselves.", ge=1, le=1_000)] = 10,
    ) -> Response:
        """What each value of a dimension contributes to the change of a figure; the best dimension stands first.

        Without `by`, all dimensions with few values are tried. Any dimension is a filter, as for `figures`.
        """
        key = ("why", name, question, compare, table, top)
        return answer(request, key, lambda: _body(sources, name, question, compare, table, top))


def _body(sources: Sources, name: str, question: Asked, compare: str, table: str | None, top: int) -> bytes:
    catalogue = sources.catalogue
    if question.shift:
        raise UsageError("`shift` says nothing of why a figure moved.", remedy="Give the other range in `compare`.")
    asked = explaining.Asked(
        name, tuple(question.by), {one: sorted(values) for one, values in question.where}, since=question.since,
        until=question.until, against=compare, table=table, top=top,
    )  # fmt: skip
    with unsaid():
        found = explaining.explain(catalogue, asked, sources.store)
    return orjson.dumps(found.to_json())
