"""The HTTP side of the read API."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from retailpulse_kernel.answers.corrected import corrected
from retailpulse_kernel.answers.request import Asked, asked
from retailpulse_kernel.answers.rows import funnel_rows
from retailpulse_kernel.api.cache import AnswerCache
from retailpulse_kernel.api.corrections import add_corrections
from retailpulse_kernel.api.figures import Wanted, answer_of, figure_answer
from retailpulse_kernel.api.page import add_page, is_of_page
from retailpulse_kernel.api.problems import ERRORS, Problem
from retailpulse_kernel.api.products import product_rows
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.api.tables import add_tables
from retailpulse_kernel.api.values import add_values
from retailpulse_kernel.api.why import add_why
from retailpulse_kernel.catalogue.personal import require_shown
from retailpulse_kernel.ground.errors import RetailPulseError, ServiceError, UnknownName, UsageError
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.hive.archive import Archive
from retailpulse_kernel.telemetry.values import Values, exposition

__all__ = ["create_app"]

#: Micro-batches come every second or two: an older answer would be seen to lag.
CACHE_SECONDS = 2.0
_THREADS = 8
#: Top products are folded from the archive, which is written every quarter of a minute.
_PRODUCTS_SECONDS = 30.0


class Base(BaseModel):
    """The base currency of a figure such as `revenue_base`: the days of the rates, and amounts that have no rate."""

    currency: str
    rates: dict[str, dict[str, str]]
    missing: dict[str, dict[str, Any]]


class Figures(BaseModel):
    """Rows of one figure, with the range they were read for."""

    figure: str
    title: str
    unit: str
    table: str
    since: str
    until: str
    grain: str
    base: Base | None = None
    total_rows: int
    since_before: str | None = None
    until_before: str | None = None
    others: int | None = None
    note: str | None = None
    rows: list[dict[str, Any]]


class Health(BaseModel):
    """Whether the figures can be read."""

    status: str
    store: str


_EXAMPLE = {
    "figure": "revenue", "title": "Total revenue", "unit": "currency", "table": "category",
    "since": "2026-03-01T00:00:00+00:00", "until": "2026-03-02T00:00:00+00:00", "grain": "hour", "total_rows": 1,
    "rows": [{"category": "books", "currency": "USD", "value": 12.5, "decimal": "12.50", "minor": 125000,
              "exponent": -4}],
}  # fmt: skip


#: The value of the filter `currency` that asks for money of all currencies in the base currency.
_BASE = "base"
_NAMES = ("from", "to", "last", "grain", "by", "shift", "limit", "table", "top", "compare", "complete")


def _asked(
    request: Request,
    since: Annotated[str, Query(alias="from", description="ISO 8601 or epoch ms; today's start", max_length=64)] = "",
    until: Annotated[str, Query(alias="to", description="Not included; now when absent.", max_length=64)] = "",
    last: Annotated[str, Query(description="The newest span instead: 1h, 7d, today, last week.", max_length=20)] = "",
    grain: Annotated[str, Query(description="minute, hour, day, a width such as 15m, or auto", max_length=16)] = "auto",
    by: Annotated[str, Query(description="bucket or dimensions, with commas", max_length=400)] = "",
    shift: Annotated[str, Query(description="Read so much earlier, shown in place: 7d.", max_length=20)] = "",
    limit: Annotated[int, Query(description="Rows at most, the largest first; 0 for all.", ge=0, le=10_000)] = 0,
) -> Asked:
    """The parameters of a request; all that are none of these are dimensions."""
    catalogue = request.app.state.sources.catalogue
    known = {*catalogue.contract.dimensions, *(name for one in catalogue.figures for name in one.key)}
    only: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name not in _NAMES:
            if name not in known:
                raise UnknownName("parameter", name, (*_NAMES, *known))
            only.setdefault(name, []).append(value)
    if only.get("currency") == [_BASE]:
        shop = catalogue.contract.shop
        only["currency"] = [] if shop.rates else [shop.currency]
    question = asked(
        since=since, until=until, last=last, grain=grain, by=by, only=only, shift=shift, limit=limit,
        now=datetime.now(UTC), dimensions=sorted(known), calendar=catalogue.contract.shop.calendar,
    )  # fmt: skip
    # The plan of a draft may go by a column that is called as a personal field.
    require_shown(question.dimensions, catalogue.contract)
    return question


def _filters(dimensions: Iterable[str]) -> list[dict[str, Any]]:
    """The filters of a figure, as OpenAPI lists them."""
    words = "Only these: one text with commas, or several times with one value each, as it is."
    kind = {"type": "array", "items": {"type": "string"}}
    return [{"name": name, "in": "query", "required": False, "description": words, "schema": kind}
            for name in dimensions]  # fmt: skip


def create_app(
    store: FigureStore,
    *,
    token: str | None = None,
    hosts: list[str] | None = None,
    values: Values | None = None,
    archive: Callable[[], Archive] | None = None,
    sources: Sources | None = None,
) -> FastAPI:
    """The application.

    Parameters
    ----------
    store : FigureStore
        The store that serves the figures.
    token : str, optional
        What a request must carry as ``Authorization: Bearer``; all but the health and the empty page asks for it.
    hosts : list of str, optional
        Names that it answers to: without a token, a page in a browser must not reach it under a name of its own.
    values : Values, optional
        What its metrics are counted in.
    archive : callable, optional
        Gives the archive, which top products are folded from; without it there are none.
    sources : Sources, optional
        The tables of the namespace with their stores; only the table `CATEGORY` when absent.
    """
    sources = Sources(store) if sources is None else sources
    app = FastAPI(title="RetailPulse", version="1", description="The stored figures, exact.")
    app.state.sources = sources
    cache, pool = AnswerCache(CACHE_SECONDS), ThreadPoolExecutor(_THREADS)
    products = AnswerCache(_PRODUCTS_SECONDS)
    _observe(app, cache, _guard(token), Values(namespace="") if values is None else values)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    def answer(
        request: Request, key: tuple[Any, ...], make: Callable[[], bytes], cache: AnswerCache = cache
    ) -> Response:
        found = cache.get(key, make)
        headers = {"ETag": found.etag, "Cache-Control": f"private, max-age={cache.seconds:.0f}"}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.body, headers=headers, media_type="application/json")

    @app.get(
        "/api/v1/figures/{name}",
        response_model=Figures,
        responses={**ERRORS, 200: {"content": {"application/json": {"example": _EXAMPLE}}},
                   404: {"model": Problem, "description": "There is no such figure."}},
        openapi_extra={"parameters": _filters(sources.catalogue.contract.dimensions)},
    )  # fmt: skip
    def figures(
        request: Request,
        name: str,
        question: Annotated[Asked, Depends(_asked)],
        table: Annotated[str | None, Query(description="The table that answers; the cheapest when absent.")] = None,
        top: Annotated[int, Query(description="Only the largest groups; all others are `other`.", ge=0)] = 0,
        compare: Annotated[str, Query(description="previous, yesterday or last week", max_length=20)] = "",
        complete: Annotated[bool, Query(description="End the range where the table is complete.")] = False,
    ) -> Response:
        """Rows of a figure of any table, such as revenue, average_order_value, orders; also funnel and top_products.

        `/api/v1/tables` lists the figures. Any dimension is a filter: `category=a,b`, or `category=a&category=b`.
        `currency=base` asks for money of all currencies in the base currency, as the name `revenue_base` does. Where
        the contract names no rates, it asks for what is in that currency.
        """
        has_rates = bool(sources.catalogue.contract.shop.rates)
        in_base = has_rates and request.query_params.getlist("currency") == [_BASE]
        key = (name, question, table, top, compare, complete, in_base)
        if name in ("top_products", "funnel") and (top or compare):
            raise UsageError(f"{name!r} has neither `top` nor `compare`.", remedy="Use `limit`, or `shift`.")
        if name == "top_products" and archive is not None:
            folder = archive()

            def best() -> dict[str, Any]:
                rows = product_rows(folder, question)
                return answer_of(name, "Top products", "currency", "events", question, rows)

            return answer(request, key, lambda: orjson.dumps(best()), products)
        if name == "funnel":

            def steps() -> dict[str, Any]:
                rows = funnel_rows(corrected(store), pool, question)
                return answer_of(name, "Conversion funnel", "events", CATEGORY.name, question, rows)

            return answer(request, key, lambda: orjson.dumps(steps()))
        wanted = Wanted(question, table, top, compare, complete, in_base)
        return answer(request, key, lambda: orjson.dumps(figure_answer(sources, pool, name, wanted)))

    add_tables(app, sources, answer)
    add_corrections(app, sources, answer, _asked)
    add_values(app, sources, pool, answer, _asked)
    add_why(app, sources, answer, _asked)
    add_page(app, sources, answer)

    @app.get("/api/v1/health", response_model=Health, responses={503: ERRORS[503]})
    def health(request: Request) -> Response:
        """Ask the store something real."""
        return answer(
            request, ("health",), lambda: orjson.dumps({"status": "ok", "store": f"{store.name} {store.ping()}"})
        )

    return app


def _guard(token: str | None) -> Callable[[Request], bool]:
    def allowed(request: Request) -> bool:
        if token is None or request.url.path == "/api/v1/health" or is_of_page(request.url.path):
            return True
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())

    return allowed


def _observe(app: FastAPI, cache: AnswerCache, allowed: Callable[[Request], bool], values: Values) -> None:
    """Tell errors as sentences, ask for the token, and count requests for Prometheus."""

    def measure() -> None:
        """Take in what the cache has counted."""
        values.grow("retailpulse_api_cache_hits_total", cache.hits)
        values.grow("retailpulse_api_cache_misses_total", cache.misses)

    app.state.measure = measure

    @app.exception_handler(RetailPulseError)
    def _told(_: Request, error: RetailPulseError) -> Response:
        status = 503 if isinstance(error, ServiceError) else 422 if isinstance(error, UsageError) else 500
        if isinstance(error, UnknownName) and error.kind.startswith(("figure", "table")):
            status = 404
        headers = {"Retry-After": "5"} if status == 503 else None
        return JSONResponse({"detail": error.message, "remedy": error.remedy}, status, headers)

    @app.middleware("http")
    async def _counted(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        if allowed(request):
            response = await call_next(request)
        else:
            response = JSONResponse(
                {"detail": "The token is missing or wrong.", "remedy": "Send Authorization: Bearer TOKEN."},
                401,
                {"WWW-Authenticate": "Bearer"},
            )
        route = getattr(request.scope.get("route"), "path", "other")
        values.add("retailpulse_api_requests_total", route=route, status=str(response.status_code))
        values.observe("retailpulse_api_request_duration_seconds", time.perf_counter() - began, route=route)
        return response

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        measure()
        return Response(exposition(values), media_type=CONTENT_TYPE_LATEST)
