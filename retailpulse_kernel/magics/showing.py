"""How a notebook shows what pandas shows badly: exact decimals, and bytes such as sketches of users.

A decimal is ``8,980.49`` where the value is ``8980.4900``, and no digit less. The values of a frame stay as they are.
"""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Any

__all__ = ["install"]

#: Bytes that are shown as they are, at most.
_SHORT = 16


def readable(value: Any) -> Any:
    """An exact decimal with thousands apart and two places, or as many as it needs; bytes in a few words.

    Anything else is given back as it is.

    >>> readable(Decimal("8980.4900")), readable(Decimal("0.0123")), readable(Decimal("5"))
    ('8,980.49', '0.0123', '5')
    >>> readable(b"few"), readable(bytes(1000))
    (b'few', <1,000 bytes>)

    Parameters
    ----------
    value : object
        Any cell of a frame.
    """
    if isinstance(value, bytes):
        return Bytes(value)
    if not isinstance(value, Decimal) or not value.is_finite():
        return value
    whole, point, places = f"{value:,f}".partition(".")
    return f"{whole}.{places.rstrip('0'):0<2}" if point else whole


class Bytes:
    """Bytes in a few words. They are read when they are shown: of a long frame few rows are."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __repr__(self) -> str:
        from retailpulse_kernel.shop.sketching import sketches

        if sketches.is_sketch(self._value):
            with contextlib.suppress(IndexError, ValueError):  # it only looked like one
                users = sketches.estimate(self._value)
                return f"<sketch of {users:,} user{'' if users == 1 else 's'}>"
        return repr(self._value) if len(self._value) <= _SHORT else f"<{len(self._value):,} bytes>"


def install(shell: Any) -> None:
    """Show frames and series with readable decimals and bytes in an IPython shell.

    Parameters
    ----------
    shell : object
        IPython's.
    """
    html, plain = (shell.display_formatter.formatters[kind] for kind in ("text/html", "text/plain"))
    html.for_type_by_name("pandas.core.frame", "DataFrame", lambda frame: _frame(frame)._repr_html_())
    plain.for_type_by_name("pandas.core.frame", "DataFrame", lambda frame, out, _: out.text(repr(_frame(frame))))
    plain.for_type_by_name("pandas.core.series", "Series", lambda series, out, _: out.text(_series_text(series)))


def _frame(frame: Any) -> Any:
    """A frame whose decimals and bytes are readable."""
    shown = frame.copy(deep=False)
    for place in range(frame.shape[1]):
        if _is_shown_badly(frame.iloc[:, place]):
            shown.isetitem(place, frame.iloc[:, place].map(readable))
    return shown


def _series_text(series: Any) -> str:
    return repr(series.map(readable)) if _is_shown_badly(series) else repr(series)


def _is_shown_badly(series: Any) -> bool:
    if series.dtype != object:
        return False
    known = series.dropna()
    return len(known) > 0 and isinstance(known.iloc[0], Decimal | bytes)
