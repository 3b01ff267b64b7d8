"""What a run of a job shows while it lasts, and says at its end."""

from __future__ import annotations

import html
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.errors import cause_line
from retailpulse_kernel.ground.spans import moment_at
from retailpulse_kernel.streaming.checkpoint.accounts import Account

if TYPE_CHECKING:
    from retailpulse_kernel.streaming.reference.refreshing import TableState

__all__ = ["MIME", "Report", "met", "shown", "sum_of"]

#: The media type of a report's numbers in a notebook: what ran the notebook reads them there.
MIME = "application/vnd.retailpulse.report+json"

_COUNTS = ("consumed", "accepted", "duplicate", "late", "bad", "ahead", "rows", "lost", "further_events")
#: Batches over which the rate is averaged.
_RECENT = 10


@dataclass
class Report:
    """The rolling report of one run; its size does not grow with the batches.

    Attributes
    ----------
    job, namespace : str
        Which job, where.
    epoch : int
        Which life of its checkpoint.
    state : str
        ``starting``, ``running``, ``waiting: ...``, ``finished``, ``stopped``, ``failed: ...``.
    batches : int
        Micro-batches that this run committed.
    totals : Counter
        Messages consumed, their events accepted, duplicate, late, bad, of these ahead, rows written, messages lost, and
        events that are not the first of their message, in this run.
    lag : int, optional
        Messages in the topic that no batch has taken yet; None where Kafka does not say.
    last : Account, optional
        Of the newest batch.
    begin : dict
        The offsets that the run began with, by topic and partition.
    error : str
        The last one, with its time; empty where there was none.
    ahead_ms : int
        By how much an event of this run was ahead of the broker's time at most, in milliseconds.
    producer_time : bool
        Whether the topic's messages carry the producer's time, so that clocks are only as good as the producers'.
    outputs : dict
        Batches, rows, rows without a key and rows that failed of each table of rows, by the output's name.
    tables : dict
        The reference tables that the job joins, by their names.
    expectations : dict
        Of each expectation, by its name: the events that violated it, and those that were judged.
    """

    job: str
    namespace: str
    epoch: int
    state: str = "starting"
    batches: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    lag: int | None = 0
    last: Account | None = None
    begin: dict[str, dict[str, int]] = field(default_factory=dict)
    error: str = ""
    ahead_ms: int = 0
    producer_time: bool = False
    outputs: dict[str, Counter[str]] = field(default_factory=dict)
    tables: dict[str, TableState] = field(default_factory=dict)
    expectations: dict[str, list[int]] = field(default_factory=dict)
    _recent: deque[Account] = field(default_factory=lambda: deque(maxlen=_RECENT), repr=False)
    _cell: int | None = field(default=None, repr=False)

    def add(self, account: Account) -> None:
        """Take in one batch's account.

        Parameters
        ----------
        account : Account
            That of the newest batch. Messages are counted once, where the first output took them.
        """
        for name, counts in account.expectations.items():
            before = self.expectations.get(name, [0, 0])
            self.expectations[name] = [one + other for one, other in zip(before, counts, strict=True)]
        if account.output:
            names = ("rows", "null_keys", "failed_rows")
            found = {"batches": 1, **{name: getattr(account, name) for name in names}}
            self.outputs.setdefault(account.output, Counter()).update(found)
        if account.further:
            self.totals["rows"] += account.rows
            return
        self.batches += 1
        self.last = account
        self._recent.append(account)
        for name in _COUNTS:
            self.totals[name] += getattr(account, name)
        self.ahead_ms = max(self.ahead_ms, account.ahead_ms)

    @property
    def rate(self) -> float:
        """Messages a second over the last batches, while they were being worked on."""
        seconds = sum(account.seconds for account in self._recent)
        return sum(account.consumed for account in self._recent) / seconds if seconds else 0.0

    def _lines(self) -> list[tuple[str, str]]:
        t = self.totals
        lag = "unknown" if self.lag is None else f"{self.lag:,}"
        lines = [
            ("job", f"{self.job} in {self.namespace}, epoch {self.epoch}"),
            ("state", self.state),
            ("messages", sum_of(t)),
            ("clocks", self._clocks()),
            ("batches", f"{self.batches:,}, {t['rows']:,} rows written"),
            ("rate", f"{self.rate:,.0f} messages/s over the last {len(self._recent)} batches, lag {lag}"),
        ]
        lines += [("output", _output(name, counts)) for name, counts in self.outputs.items()]
        lines += [("table", _table(state)) for state in self.tables.values()]
        lines += [("expected", met(name, *counts)) for name, counts in self.expectations.items()]
        if t["lost"]:
            lines.append(("lost", f"{t['lost']:,} messages that the topic deleted before the job took them"))
        if self.begin:
            lines.append(("from", _offsets(self.begin)))
        if self.last:
            finished = moment_at(self.last.finished_ms)
            lines.append(("to", _offsets(self.last.offsets)))
            lines.append(("last", f"batch {self.last.batch:,}, {self.last.seconds:.2f} s, {finished:%H:%M:%S} UTC"))
        lines.append(("error", self.error or "none"))
        return lines

    def _clocks(self) -> str:
        """How many events were ahead, and of what."""
        ahead = self.totals["ahead"]
        than = "the message's time, which is the producer's" if self.producer_time else "the broker's time"
        if not ahead:
            return f"no event was ahead of {than}"
        events = "1 event was" if ahead == 1 else f"{ahead:,} events were"
        return f"{events} ahead of {than}, by {self.ahead_ms / 1000:,.3f} s at most"

    def fail(self, error: object, *, now: datetime | None = None) -> None:
        """Keep the last error; the line of its cause, for a traceback of Spark's has hundreds.

        Parameters
        ----------
        error : object
            An exception, or what it said.
        now : datetime, optional
            When it happened, UTC; the present when absent.
        """
        said = cause_line(error if isinstance(error, BaseException) else str(error))
        self.error = f"{now or datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {said[:500]}"

    def __str__(self) -> str:
        return "\n".join(f"{name:<9} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table>{cells}</table>"

    def to_json(self) -> dict[str, Any]:
        """Its numbers as plain values."""
        names = ("job", "namespace", "epoch", "state", "batches", "lag")
        return {name: getattr(self, name) for name in names} | {
            "messages": {name: self.totals[name] for name in _COUNTS},
            "outputs": {name: dict(counts) for name, counts in self.outputs.items()},
            "tables": {name: asdict(state) for name, state in self.tables.items()},
            "expectations": self.expectations,
        }

    def bundle(self) -> dict[str, Any]:
        """What a notebook shows, and keeps, of it."""
        return {"text/plain": str(self), "text/html": self._repr_html_(), MIME: self.to_json()}

    def _ipython_display_(self) -> None:
        """Show it as a cell's result, but not below the same report that the cell kept up to date."""
        from IPython import get_ipython
        from IPython.display import display

        shell = get_ipython()
        if shell is None or self._cell != shell.execution_count:
            display(self.bundle(), raw=True)


def _output(name: str, counts: Counter[str]) -> str:
    """What became of a table of rows."""
    refused = {"without a key": counts["null_keys"], "that failed": counts["failed_rows"]}
    said = "".join(f", {count:,} {what} are in the dead-letter topic" for what, count in refused.items() if count)
    return f"{name}: {counts['rows']:,} rows in {counts['batches']:,} batches{said}"


def _table(state: TableState) -> str:
    """The newest version of a reference table."""
    since = f"; not read since: {state.error}" if state.error else ""
    return f"{state.name}: version {state.version}, read {moment_at(state.read_ms):%Y-%m-%d %H:%M:%S} UTC{since}"


def met(name: str, violated: int, judged: int) -> str:
    """How many events met an expectation, in words.

    Parameters
    ----------
    name : str
        The expectation.
    violated, judged : int
        The events that violated it, and all that were judged.
    """
    return f"{name}: {judged - violated:,} of {judged:,}"


def sum_of(messages: Mapping[str, int]) -> str:
    """Where a run's messages went, in words.

    Parameters
    ----------
    messages : mapping of str to int
        The counts of an account by name; ``lost`` and ``further_events`` may be absent.
    """
    further = f" + {messages['further_events']:,} further events" if messages.get("further_events") else ""
    parts = " + ".join(f"{messages[name]:,} {name}" for name in _COUNTS[1:5])
    lost = f"; {messages['lost']:,} lost before they were taken" if messages.get("lost") else ""
    return f"{messages['consumed']:,}{further} = {parts}{lost}"


@contextmanager
def shown(report: Report) -> Iterator[Callable[[], None]]:
    """Show a report in a notebook while a run lasts; outside of a notebook show nothing.

    Parameters
    ----------
    report : Report
        Changed by the run while it is shown.

    Yields
    ------
    callable
        Brings what is shown up to date; the end of the block does, too.
    """
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        shell = None
    else:
        shell = get_ipython()
    if shell is None:
        yield lambda: None
        return
    handle = display(report.bundle(), raw=True, display_id=True)
    report._cell = shell.execution_count
    try:
        yield lambda: handle.update(report.bundle(), raw=True)
    finally:
        handle.update(report.bundle(), raw=True)


def _offsets(ends: dict[str, dict[str, int]]) -> str:
    return ", ".join(
        f"{topic} " + " ".join(f"{p}:{o}" for p, o in sorted(of_topic.items(), key=lambda item: int(item[0])))
        for topic, of_topic in ends.items()
    )
