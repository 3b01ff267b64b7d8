"""``rp.explore()``: the category explorer, a widget over the questions of `retailpulse_kernel.answers.questions`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import traitlets

from retailpulse_kernel.answers.dimensions import by_dimension
from retailpulse_kernel.answers.questions import QUESTIONS
from retailpulse_kernel.answers.scope import Scope, known_values
from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.errors import RetailPulseError, UnknownName
from retailpulse_kernel.ground.spans import range_of, require_range, span_of
from retailpulse_kernel.live import assets, drawing
from retailpulse_kernel.live.offering import offered
from retailpulse_kernel.live.widget import ChartWidget
from retailpulse_kernel.shop.contract.loading import contract_of

if TYPE_CHECKING:
    import pandas as pd

    from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["Chart", "Explorer", "explore"]

#: Seconds between two questions while it is live, and without a question after which its thread ends.
_LIVE, _IDLE = 5.0, 60.0
#: Fields of the scope that the page chooses by their values.
_CHOSEN = ("last", "currency", "figure", "by")


@dataclass(frozen=True)
class Chart:
    """An answer.

    Attributes
    ----------
    question : str
        Which of `QUESTIONS`.
    scope : Scope
        What it was about.
    frame : DataFrame
        Its data.
    """

    question: str
    scope: Scope
    frame: pd.DataFrame

    @property
    def figure(self) -> go.Figure:
        """The data as a Plotly figure."""
        return drawing.draw(self.question, self.frame, self.scope)

    @property
    def code(self) -> str:
        """The code that makes the frame and the figure, for a notebook."""
        given = [repr(self.scope.categories)]
        imports = ""
        for name in ("last", "since", "until"):
            value = getattr(self.scope, name)
            if value is not None:
                given.append(f"{name}={value!r}" if isinstance(value, str) else f"{name}={_moment(value)}")
                imports = imports or ("" if isinstance(value, str) else "from datetime import UTC, datetime\n\n")
        given.append(f"currency={self.scope.currency!r}")
        if self.question == by_dimension.__name__:
            given += [f"figure={self.scope.figure!r}", f"by={self.scope.by!r}"]
        call = self.frame.attrs.get("call")
        names = "Scope" if call else f"Scope, {self.question}"
        return (
            f"{imports}from retailpulse_kernel.live.drawing import draw\n"
            f"from retailpulse_kernel.answers.questions import {names}\n\n"
            f"scope = Scope({', '.join(given)})\n"
            f"frame = {call or f'{self.question}(rp, scope)'}\n"
            f"draw({self.question!r}, frame, scope)"
        )

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.figure._repr_mimebundle_(**options)


class Explorer(ChartWidget):
    """The category explorer; use `explore`.

    Attributes
    ----------
    chart : Chart or None
        What is shown: its ``.frame``, ``.figure`` and ``.code``.
    """

    _esm = assets.module("explore.mjs")
    questions = traitlets.Dict().tag(sync=True)
    zone = traitlets.Unicode().tag(sync=True)
    asked = traitlets.Dict().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)
    tree: traitlets.List[str] = traitlets.List().tag(sync=True)
    currencies: traitlets.List[str] = traitlets.List().tag(sync=True)
    figures: traitlets.List[str] = traitlets.List().tag(sync=True)
    dimensions: traitlets.List[str] = traitlets.List().tag(sync=True)

    def __init__(self, rp: Workbench, scope: Scope, question: str = "categories") -> None:
        self._rp = rp
        self._scope, self._question, self._live = scope, question, False
        self._asks: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._number = 0
        self._calendar = contract_of(rp.settings).shop.calendar
        self.chart: Chart | None = None
        super().__init__(
            questions=drawing.TITLES, zone=self._calendar.zone, asked=self._told(), answer={}, tree=[], currencies=[]
        )

    def ask(self, question: str, **change: Any) -> Chart:
        """Answer a question, about something else when `change` says so, without changing what is shown.

        Parameters
        ----------
        question : str
            One of `QUESTIONS`.
        **change
            Fields of `Scope`.

        Raises
        ------
        UnknownName
            There is no such question.
        """
        if question not in QUESTIONS:
            raise UnknownName("question", question, QUESTIONS)
        scope = replace(self._scope, **change)
        return Chart(question, scope, QUESTIONS[question](self._rp, scope))

    @property
    def frame(self) -> pd.DataFrame | None:
        """The data of what is shown."""
        return None if self.chart is None else self.chart.frame

    @property
    def code(self) -> str | None:
        """The code that makes what is shown."""
        return None if self.chart is None else self.chart.code

    # -- the browser's questions, answered by a thread: a running cell does not stop them --------

    def _take(self, message: dict[str, Any]) -> None:
        self._asks.put(message)
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="retailpulse-explorer", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                message = self._asks.get(timeout=_LIVE if self._live else _IDLE)
                while not self._asks.empty():  # of several clicks the last one counts, with what the others chose
                    message = _both(message, self._asks.get())
            except Empty:
                if not self._live:
                    return
                message = {}
            self._answer(message)

    def _change(self, message: dict[str, Any]) -> None:
        """Ask something else from now on.

        Raises
        ------
        UsageError
            The range is none.
        """
        change: dict[str, Any] = {name: message[name] for name in _CHOSEN if name in message}
        if "categories" in message:
            change["categories"] = tuple(message["categories"])
        if "last" in message:
            change |= {"since": None, "until": None}
        if "since" in message or "until" in message:
            change |= {"last": None, **_range(message.get("since"), message.get("until"), self._calendar)}
        self._scope = replace(self._scope, **change)
        self._question = message.get("question", self._question)
        self._live = bool(message.get("live", self._live)) and not (self._scope.since or self._scope.until)

    def _answer(self, message: dict[str, Any]) -> None:
        self._number += 1
        asked = self._told()
        try:
            self._change(message)
            asked = self._told()
            self.tree, self.currencies = known_values(self._rp)
            self.figures, self.dimensions = offered(self._rp.settings)
            self.chart = self.ask(self._question)
            answer = {
                "figure": self.chart.figure.to_json(),
                "code": self.chart.code,
                "note": drawing.note(self.chart.frame),
            }
        except RetailPulseError as error:
            answer = {"note": str(error)}
        self.asked = asked | {"asks": message.get("asks", [])}
        self.answer = {**answer, "number": self._number}

    def _told(self) -> dict[str, Any]:
        scope = self._scope
        return {
            "question": self._question, "categories": list(scope.categories), "last": scope.last, "live": self._live,
            "currency": scope.currency, "since": _minute(scope.since, self._calendar),
            "until": _minute(scope.until, self._calendar),
            "figure": scope.figure, "by": scope.by,
        }  # fmt: skip


def _both(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Two questions as one; the ends of a range and its length from now exclude each other."""
    gone = ("since", "until") if "last" in later else ("last",) if "since" in later or "until" in later else ()
    kept = {name: value for name, value in earlier.items() if name not in gone}
    return {**kept, **later, "asks": [*earlier.get("asks", []), *later.get("asks", [])]}


def explore(
    rp: Workbench,
    categories: str | Sequence[str] = (),
    *,
    question: str = "categories",
    last: str | timedelta | None = "1d",
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    currency: str = "USD",
    figure: str = "revenue",
    by: str = "category",
) -> Explorer:
    """The category explorer.

    Parameters
    ----------
    rp : Workbench
        Whose stores are asked.
    categories : str or sequence of str
        Dot paths to begin with; several are compared. The whole tree when empty.
    question : str
        What is shown first: one of `QUESTIONS`.
    last : str or timedelta, optional
        The newest span: ``"1h"``, ``"7d"``; all there is when None.
    since, until : datetime or str, optional
        A past range instead, the shop's time unless it has a zone, on whole minutes.
    currency : str
        Whose money is looked at.
    figure, by : str
        What the question ``"by_dimension"`` is about.

    Raises
    ------
    UnknownName
        There is no such question.
    """
    if question not in QUESTIONS:
        raise UnknownName("question", question, QUESTIONS)
    chosen = (categories,) if isinstance(categories, str) else tuple(categories)
    past = since is not None or until is not None
    if last is not None:
        span = span_of(last)
        last = last if isinstance(last, str) else f"{span.total_seconds():g}s"
    bounds = range_of(None, since, until, calendar=contract_of(rp.settings).shop.calendar)
    scope = Scope(chosen, None if past else last, *bounds, currency, figure, by)
    return Explorer(rp, scope, question)


def _range(since: str | None, until: str | None, calendar: Calendar) -> dict[str, datetime | None]:
    """A range as the page gives it, in the shop's time; empty is no bound."""
    begin, end = range_of(None, since or None, until or None, calendar=calendar)
    require_range(begin, end)
    return {"since": begin, "until": end}


def _minute(moment: datetime | None, calendar: Calendar) -> str | None:
    return None if moment is None else f"{moment.astimezone(calendar.tzinfo):%Y-%m-%dT%H:%M}"


def _moment(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"datetime({moment.year}, {moment.month}, {moment.day}, {moment.hour}, {moment.minute}, tzinfo=UTC)"
