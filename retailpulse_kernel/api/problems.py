"""What an answer says when a request can't be met."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

__all__ = ["ERRORS", "Problem"]


class Problem(BaseModel):
    """What went wrong, and what to do."""

    detail: str
    remedy: str | None = None


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": Problem, "description": "The token is missing or wrong."},
    422: {"model": Problem, "description": "The request asks for what can't be."},
    503: {"model": Problem, "description": "The store does not answer."},
}
