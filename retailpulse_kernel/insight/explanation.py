"""What `rp.why` answers: a frame, a sentence, a picture, and the way to the next question."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.answers.comparing import change_of
from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.insight.against import Ranges
from retailpulse_kernel.insight.breakdown import Breakdown, Mover, Number
from retailpulse_kernel.insight.shown import number_of
from retailpulse_kernel.insight.wording import sentence_of

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from retailpulse_kernel.insight.drilling import Drill

__all__ = ["Explanation"]


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why a figure moved. A notebook shows the sentence, the picture and the frame.

    Attributes
    ----------
    name, title : str
        The figure's.
    unit : str
        The currency of money, or what is counted.
    ranges : Ranges
        The two ranges.
    exact_before, exact_after : Fraction
        The whole figure in both, as it is shown.
    breakdowns : tuple of Breakdown
        The change by each dimension, the one that explains best first. Empty where nothing is left to tell apart.
    where : mapping
        What the figure was restricted to.
    notes : tuple of str
        What should be known of it.
    top : int or None
        How many values stand by themselves.
    places : int
        Decimal places of the numbers.
    """

    name: str
    title: str
    unit: str
    ranges: Ranges
    exact_before: Fraction
    exact_after: Fraction
    breakdowns: tuple[Breakdown, ...]
    where: Mapping[str, Sequence[str]]
    notes: tuple[str, ...]
    top: int | None
    places: int
    _ask: Callable[[tuple[str, ...], Mapping[str, Sequence[str]]], Explanation] = field(compare=False)

    @property
    def before(self) -> Number:
        """The figure in the earlier range."""
        return self._shown(self.exact_before)

    @property
    def after(self) -> Number:
        """The figure in the later range."""
        return self._shown(self.exact_after)

    @property
    def change(self) -> Number:
        """The later figure less the earlier one: what the contributions of each dimension add up to."""
        return self._shown(self.exact_after - self.exact_before)

    @property
    def percent(self) -> Decimal | None:
        """The change in percent of the earlier figure; None of nothing."""
        return change_of(self.after, self.before)[1]

    @property
    def dimension(self) -> str:
        """The dimension that explains best; empty where there is none."""
        return self.breakdowns[0].dimension if self.breakdowns else ""

    @property
    def frame(self) -> pd.DataFrame:
        """The contributions by the dimension that explains best: they add up to the change."""
        return self.frame_of(self.dimension)

    def frame_of(self, dimension: str, top: int | None = None) -> pd.DataFrame:
        """The contributions by a dimension.

        Parameters
        ----------
        dimension : str
            One of those that were tried.
        top : int or None
            How many values stand by themselves; as many as were asked for when absent.

        Raises
        ------
        UnknownName
            It was not tried.
        """
        import pandas as pd

        movers = self._movers(dimension, self.top if top is None else top)
        effects = self.breakdown(dimension).decomposition.effects if dimension else ()
        columns = [dimension or "whole", "before", "after", "contribution", *effects, "reason"]
        rows = [
            [one.value, one.before, one.after, one.contribution, *(one.effects[name] for name in effects), one.reason]
            for one in movers
        ]
        return pd.DataFrame(rows, columns=columns, dtype=object)

    @property
    def effects(self) -> Mapping[str, Number]:
        """The effects of the change as a whole, such as price and mix; empty where the figure has none."""
        if not self.breakdowns:
            return {}
        first = self.breakdowns[0]
        return {name: sum(mover.effects[name] for mover in first.movers) for name in first.decomposition.effects}

    @property
    def dimensions(self) -> pd.DataFrame:
        """The dimensions that were tried, the one that explains best first, with how far their values moved apart."""
        import pandas as pd

        rows = [[one.dimension, len(one.movers), float(one.apart) ** 0.5, _most(one)] for one in self.breakdowns]
        return pd.DataFrame(rows, columns=["dimension", "values", "apart", "moved most"])

    def by(self, *dimensions: str, where: Mapping[str, str | Sequence[str]] | None = None) -> Explanation:
        """The same question by other dimensions, or within some values.

        Parameters
        ----------
        *dimensions : str
            The dimensions; all that there are when none is named.
        where : mapping, optional
            A value, or a list of values, by dimension, beside those of this question.

        Raises
        ------
        UnknownName
            There is no such dimension.
        UsageError
            No table keeps the figure by the dimensions.
        """
        further = {name: [value] if isinstance(value, str) else list(value) for name, value in (where or {}).items()}
        return self._ask(dimensions, further)

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        return self.sentence_by(self.dimension)

    def sentence_by(self, dimension: str) -> str:
        """The answer in one sentence, by a dimension.

        Parameters
        ----------
        dimension : str
            One of those that were tried.
        """
        values = (self.before, self.after, self.percent)
        return sentence_of(self.title, self.unit, self.ranges.words, values, self._movers(dimension, self.top))

    def figure(self, dimension: str | None = None) -> go.Figure:
        """The change as a waterfall: from the earlier figure, step by step, to the later one.

        Parameters
        ----------
        dimension : str, optional
            Whose values are the steps; the one that explains best when absent.
        """
        from retailpulse_kernel.insight.waterfall import waterfall

        chosen = self.dimension if dimension is None else dimension
        return waterfall(
            self.sentence_by(chosen), self.unit, chosen, self.before, self.after, self._movers(chosen, self.top)
        )

    def drill(self) -> Drill:
        """The waterfall as a widget: a click on a bar asks the same within its value."""
        from retailpulse_kernel.insight.drilling import Drill

        return Drill(self)

    def to_json(self) -> dict[str, Any]:
        """As plain values: decimals and times are texts."""
        ranges = self.ranges
        return {
            "figure": self.name, "title": self.title, "unit": self.unit,
            "since": iso_text(ranges.since), "until": iso_text(ranges.until),
            "since_before": iso_text(ranges.since_before), "until_before": iso_text(ranges.until_before),
            "where": {name: list(values) for name, values in self.where.items()},
            "before": _plain(self.before), "after": _plain(self.after), "change": _plain(self.change),
            "percent": _plain(self.percent), "sentence": self.sentence, "notes": list(self.notes),
            "effects": {name: _plain(value) for name, value in self.effects.items()},
            "dimensions": [
                {"dimension": one.dimension, "movers": [_mover(mover) for mover in one.largest(self.top)]}
                for one in self.breakdowns
            ],
        }  # fmt: skip

    def __repr__(self) -> str:
        table = f"\n\n{self.frame.to_string(index=False)}" if self.breakdowns else ""
        return "\n".join([self.sentence, *self.notes]) + table

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        table = self.frame.to_html(index=False, border=0) if self.breakdowns else ""
        said = "".join(f"<p>{html.escape(text)}</p>" for text in (self.sentence, *self.notes))
        if not self.breakdowns:
            return {"text/plain": repr(self), "text/html": said}
        picture = self.figure()._repr_mimebundle_() or {}
        shown = picture.pop("text/html", "")
        return {**picture, "text/plain": repr(self), "text/html": f"{said}{shown}{table}"}

    def _shown(self, number: Fraction) -> Number:
        found = number_of(number, self.places)
        return found if self.places else int(found)

    def breakdown(self, dimension: str) -> Breakdown:
        """The change by a dimension, every value of it.

        Parameters
        ----------
        dimension : str
            One of those that were tried.

        Raises
        ------
        UnknownName
            It was not tried.
        """
        for one in self.breakdowns:
            if one.dimension == dimension:
                return one
        raise UnknownName("dimension", dimension, [one.dimension for one in self.breakdowns])

    def _movers(self, dimension: str, top: int | None) -> tuple[Mover, ...]:
        return self.breakdown(dimension).largest(top) if self.breakdowns else ()


def _most(breakdown: Breakdown) -> str:
    return breakdown.movers[0].value if breakdown.movers else ""


def _mover(mover: Mover) -> dict[str, Any]:
    return {
        "value": mover.value, "before": _plain(mover.before), "after": _plain(mover.after),
        "contribution": _plain(mover.contribution), "reason": mover.reason, "others": mover.others,
        "effects": {name: _plain(value) for name, value in mover.effects.items()},
    }  # fmt: skip


def _plain(value: Number | None) -> int | str | None:
    return format(value, "f") if isinstance(value, Decimal) else value
