"""What a run of a job shows while it lasts, and says at its end."""

from __future__ import annotations

import html
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from retailpulse_kernel.streaming.accounts import Account

__all__ = ["Report"]

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
        Messages consumed, accepted, duplicate, late, bad, and rows written, in this run.
    lag : int
        Messages in the topic that no batch has taken yet.
    last : Account, optional
        Of the newest batch.
    begin : dict
        The offsets that the run began with, by topic and partition.
    error : str
        The last one, with its time; empty where there was none.
    """

    job: str
    namespace: str
    epoch: int
    state: str = "starting"
    batches: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    lag: int = 0
    last: Account | None = None
    begin: dict[str, dict[str, int]] = field(default_factory=dict)
    error: str = ""
    _recent: deque[Account] = field(default_factory=lambda: deque(maxlen=_RECENT), repr=False)

    def add(self, account: Account) -> None:
        """Take in one batch's account."""
        self.batches += 1
        self.last = account
        self._recent.append(account)
        for name in ("consumed", "accepted", "duplicate", "late", "bad", "rows"):
            self.totals[name] += getattr(account, name)

    @property
    def rate(self) -> float:
        """Messages a second over the last batches, while they were being worked on."""
        seconds = sum(account.seconds for account in self._recent)
        return sum(account.consumed for account in self._recent) / seconds if seconds else 0.0

    def _lines(self) -> list[tuple[str, str]]:
        t = self.totals
        lines = [
            ("job", f"{self.job} in {self.namespace}, epoch {self.epoch}"),
            ("state", self.state),
            (
                "messages",
                f"{t['consumed']:,} = {t['accepted']:,} accepted + {t['duplicate']:,} duplicate"
                f" + {t['late']:,} late + {t['bad']:,} bad",
            ),
            ("batches", f"{self.batches:,}, {t['rows']:,} rows written"),
            ("rate", f"{self.rate:,.0f} messages/s over the last {len(self._recent)} batches, lag {self.lag:,}"),
        ]
        if self.begin:
            lines.append(("from", _offsets(self.begin)))
        if self.last:
            finished = datetime.fromtimestamp(self.last.finished_ms / 1000, UTC)
            lines.append(("to", _offsets(self.last.offsets)))
            lines.append(("last", f"batch {self.last.batch:,}, {self.last.seconds:.2f} s, {finished:%H:%M:%S} UTC"))
        lines.append(("error", self.error or "none"))
        return lines

    def fail(self, error: object, *, now: datetime | None = None) -> None:
        """Keep the last error; its first line, for a traceback of Spark's has hundreds."""
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
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

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def _offsets(ends: dict[str, dict[str, int]]) -> str:
    return ", ".join(
        f"{topic} " + " ".join(f"{p}:{o}" for p, o in sorted(of_topic.items(), key=lambda item: int(item[0])))
        for topic, of_topic in ends.items()
    )
