"""Times and time spans, as people and Spark write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from retailpulse_kernel.errors import UsageError

__all__ = ["milliseconds", "moment_of", "span_of"]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def span_of(text: str | timedelta) -> timedelta:
    """The time span behind ``"10m"``, ``"2h"``, ``"1d"``, ``"30s"``.

    Raises
    ------
    UsageError
        The text is not a span.
    """
    if isinstance(text, timedelta):
        return text
    match = _SPAN.fullmatch(text.strip().lower())
    if not match:
        raise UsageError(f"{text!r} is not a time span.", remedy="Write 30s, 10m, 2h or 1d.")
    return timedelta(**{_UNITS[match[2]]: float(match[1])})


def moment_of(text: str | datetime | None) -> datetime | None:
    """The time behind ``"2026-01-31"`` or ``"2026-01-31T10:00"``, UTC unless it has a zone; None for None.

    Raises
    ------
    UsageError
        The text is not a time.
    """
    if text is None:
        return None
    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a time.", remedy="Write 2026-01-31 or 2026-01-31T10:00.") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def milliseconds(span: timedelta) -> int:
    """A span in whole milliseconds, as Spark counts watermarks."""
    return span // timedelta(milliseconds=1)
