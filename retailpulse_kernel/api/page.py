"""The page at `/`: the four canonical charts for who has no Grafana, drawn as the live view draws them.

The browser asks the read API itself for all that it shows. So the page holds no figure and needs no token; its requests
carry the token that the user gives it.
"""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version
from importlib.resources import files

import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel

from retailpulse_kernel.api.problems import ERRORS
from retailpulse_kernel.api.sources import Answering, Sources
from retailpulse_kernel.shop.figures import FIGURES

__all__ = ["add_page", "is_of_page"]

_TYPES = {"mjs": "text/javascript", "js": "text/javascript", "css": "text/css", "html": "text/html"}
#: What the page is made of, by the path in this package. The drawing is that of the live view, read as files: the room
#: itself needs a Jupyter.
_FILES = frozenset(
    {"api/web/page.mjs", "api/web/answers.mjs", "api/web/page.css"}
    | {f"live/js/{name}" for name in ("charts.mjs", "dom.mjs", "clock.mjs", "model.mjs", "zone.mjs", "live.css")}
)
#: Plotly puts its styles into the page; all else comes from here.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class ShopSettings(BaseModel):
    """What a page must know of the shop."""

    name: str
    namespace: str
    zone: str
    currency: str
    has_rates: bool
    titles: dict[str, str]


def is_of_page(path: str) -> bool:
    """Whether a path is that of the page, which holds no figures.

    Parameters
    ----------
    path : str
        Of a request.
    """
    return path == "/" or path.startswith("/page/")


def add_page(app: FastAPI, sources: Sources, answer: Answering) -> None:
    """Answer requests for the page, and for what it must know of the shop.

    Parameters
    ----------
    app : FastAPI
        The application.
    sources : Sources
        The catalogue and the stores.
    answer : callable
        Makes the response of a request, its key and what gives the body.
    """

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        return _file(request, "api/web/index.html", "no-cache")

    @app.get("/page/{path:path}", include_in_schema=False)
    def part(request: Request, path: str) -> Response:
        if path == "plotly.js":
            return _file(request, path, "public, max-age=86400")
        if path not in _FILES:
            raise HTTPException(404, "The page has no such part.")
        return _file(request, path, "no-cache")

    @app.get("/api/v1/shop", response_model=ShopSettings, responses={401: ERRORS[401]})
    def shop(request: Request) -> Response:
        """Tell the shop's name, its zone, its base currency, and the titles of the figures."""
        return answer(request, ("shop",), lambda: _shop(sources))


def _shop(sources: Sources) -> bytes:
    catalogue = sources.catalogue
    known = catalogue.contract.shop
    return orjson.dumps(
        {
            "name": known.name, "namespace": catalogue.namespace, "zone": known.calendar.zone,
            "currency": known.currency, "has_rates": bool(known.rates),
            "titles": {name: figure.title for name, figure in FIGURES.items()},
        }
    )  # fmt: skip


def _file(request: Request, path: str, kept: str) -> Response:
    content, tag = _content(path)
    headers = {
        "ETag": tag, "Cache-Control": kept, "Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[path.rpartition(".")[2]])


@functools.cache
def _content(path: str) -> tuple[bytes, str]:
    """A file with its entity tag; Plotly is the one that its Python package ships."""
    if path == "plotly.js":
        return files("plotly").joinpath("package_data", "plotly.min.js").read_bytes(), f'"plotly-{version("plotly")}"'
    content = files("retailpulse_kernel").joinpath(*path.split("/")).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
