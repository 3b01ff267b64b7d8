"""Figures of a run: medians of rounds, ratios to the floor of the same round, targets, and how they are shown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table

__all__ = ["Figure", "Target", "Timeline", "as_json", "as_table", "number", "percentile"]


@dataclass(frozen=True)
class Timeline:
    """How a run went through its events.

    Attributes
    ----------
    started : float
        When its process was started, in epoch seconds.
    marks : sequence of (int, float)
        So many events were done, results written, at that time; a mark for each batch.
    note : str
        What a reader has to know beside it.
    processor : float
        Seconds of the processor that it took to the last mark; not a number where nobody looked.
    """

    started: float
    marks: Sequence[tuple[int, float]]
    note: str = ""
    processor: float = math.nan

    @property
    def warm(self) -> float:
        """Events per second after the first mark: without start-up, and without the first batch's compiling."""
        (first, begin), (last, end) = self.marks[0], self.marks[-1]
        return (last - first) / (end - begin) if end > begin else math.nan

    @property
    def cold(self) -> float:
        """Events per second of the whole run, from the start of its process to its last result."""
        last, end = self.marks[-1]
        return last / (end - self.started)


@dataclass(frozen=True)
class Target:
    """What a figure should be.

    Attributes
    ----------
    bound : float
        The least or the most it should be.
    at_most : bool
        Which of the two.
    of_ratio : bool
        Whether the bound is for the ratio to the floor, not for the figure itself.
    """

    bound: float
    at_most: bool = False
    of_ratio: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a value is as it should be; nothing measured is a miss."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {number(self.bound)}{' of the floor' if self.of_ratio else ''}"


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    name, unit : str
        What it is, and in what it is counted.
    samples : sequence of float
        One a round; empty where it can't be measured, and then `note` says why.
    ratios : sequence of float
        Each sample over the floor of the same round.
    target : Target, optional
        What it should be.
    note : str
        What a reader has to know beside it.
    details : dict
        For JSON only: batches, settings, checks.
    """

    name: str
    unit: str
    samples: Sequence[float]
    ratios: Sequence[float] = ()
    target: Target | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The middle sample; not a number where there is none."""
        return statistics.median(self.samples) if self.samples else math.nan

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios; not a number where there is none."""
        return statistics.median(self.ratios) if self.ratios else math.nan

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.target.is_met(self.ratio if self.target.of_ratio else self.median)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed.

    >>> percentile([1, 2, 3, 4], 0.5), percentile([5], 0.95)
    (2, 5)
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def number(value: float) -> str:
    """A figure as people read it: three significant digits, thousands apart.

    >>> number(103456.7), number(0.6123), number(1.5), number(48.0)
    ('103,457', '0.612', '1.5', '48')
    """
    if math.isnan(value):
        return "?"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{float(f'{value:.3g}'):g}"


def as_table(figures: Sequence[Figure]) -> RenderableType:
    """The figures as a table; a missed target is shown as such."""
    table = Table(box=box.SIMPLE_HEAD, title="Medians of the rounds", title_justify="left")
    table.add_column("figure")
    for title in ("median", "spread", "of the floor"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("target", "", "note"):
        table.add_column(title)
    for figure in figures:
        spread = f"{number(min(figure.samples))} .. {number(max(figure.samples))}" if len(figure.samples) > 1 else ""
        table.add_row(
            figure.name,
            f"{number(figure.median)} {figure.unit}" if figure.samples else "not measured",
            spread,
            f"{figure.ratio:.2f}" if not math.isnan(figure.ratio) else "",
            str(figure.target or ""),
            {None: "", True: "[green]met[/]", False: "[bold red]missed[/]"}[figure.met],
            figure.note,
        )
    return table


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """The figures with all their samples, as plain values."""
    return [
        {
            "name": figure.name,
            "unit": figure.unit,
            "median": _plain(figure.median),
            "samples": list(figure.samples),
            "ratio": _plain(figure.ratio),
            "ratios": list(figure.ratios),
            "target": str(figure.target) if figure.target else None,
            "met": figure.met,
            "note": figure.note,
            "details": figure.details,
        }
        for figure in figures
    ]


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
