"""What a live view has read, and what can be read for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from retailpulse_kernel.ground.spans import span_of, span_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ROWS", "Reading", "Source", "reach_of", "since_words", "span_words"]

#: Rows that a view holds at most.
ROWS = 1_000


@dataclass(frozen=True)
class Reading:
    """What was read, and how it can be drawn.

    Attributes
    ----------
    frame : pandas.DataFrame
        The rows that the view's table shows, exact.
    key : tuple of str
        The columns that tell a row from another; empty where nothing does.
    totals : pandas.DataFrame
        The rows that bars and big numbers show.
    series : pandas.DataFrame, optional
        The rows that lines show; None where there is no time.
    time : str
        The column of times in `series`.
    by : str
        The column whose values are drawn apart; empty where everything is one.
    numbers : mapping of str to str
        The columns that are drawn, with their titles.
    money : frozenset of str
        Those of `numbers` that are amounts of the currency in the column ``currency``.
    additive : frozenset of str
        Those of `numbers` whose values can be added up.
    width : timedelta, optional
        How far apart the times of a line are where none is missing.
    dimensions : tuple of str
        The columns that `by` may be.
    notes : tuple of str
        What should be known of the rows, each a sentence.
    """

    frame: pd.DataFrame
    key: tuple[str, ...]
    totals: pd.DataFrame
    series: pd.DataFrame | None
    time: str
    by: str
    numbers: Mapping[str, str]
    money: frozenset[str] = frozenset()
    additive: frozenset[str] = frozenset()
    width: timedelta | None = None
    dimensions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """What a live view reads."""

    @property
    def title(self) -> str:
        """What it is, for people."""

    @property
    def reach(self) -> timedelta | None:
        """How far back the view can go; None where there is no time to go by."""

    def read(self, by: str | None, until: datetime | None) -> Reading:
        """Read what there is now, or what there was until some time.

        Parameters
        ----------
        by : str, optional
            The column whose values are drawn apart; none when empty, and the source's own choice when absent.
        until : datetime, optional
            The end of the range; now when absent.
        """


def reach_of(span: timedelta | None) -> timedelta:
    """How far back a view of some range can go.

    Parameters
    ----------
    span : timedelta or None
        The range; None for all there is.
    """
    return max(timedelta(days=1), 24 * (span or timedelta(0)))


def span_words(span: str | timedelta) -> str:
    """A span, for people.

    Parameters
    ----------
    span : str or timedelta
        As somebody gave it.
    """
    return span_text(span_of(span))


def since_words(last: str | timedelta | None) -> str:
    """Since when there is nothing, for people.

    Parameters
    ----------
    last : str or timedelta or None
        The range that was read; None for all there is.
    """
    return " yet" if last is None else f" in the last {span_words(last)}"
