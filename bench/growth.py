"""Whether a job slows down or grows while its state turns over: the metrics job over five times the events."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import psutil

from bench.feed import fill
from bench.jobs import started
from bench.lab import Lab
from bench.results import Figure, Target
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.machine import strays
from retailpulse_kernel.streaming.checkpoint.accounts import Account

__all__ = ["decile", "measure", "seconds_per_million"]

#: Seconds of event time for each message: the watermark of ten minutes has passed after 600,000 of them.
_SECONDS_EACH = 0.001
#: Most that the cost may rise; rounds of the same work were seen to differ by as much.
_MOST = 1.2


def measure(lab: Lab, messages: int) -> list[Figure]:
    """Run the metrics job through a long topic; compare its last tenth with its second one.

    The first tenth is left out: that is where Java gets warm and the state fills.
    """
    settings = lab.namespace("growth")
    lab.say(f"growth: sending {messages:,} events over {messages * _SECONDS_EACH:,.0f} s of event time")
    feed = fill(settings, messages, span=timedelta(seconds=messages * _SECONDS_EACH))
    with started(lab, settings, ["metrics"], topic=feed.topic, trigger="1s") as running:
        with _Memory(running.children["metrics"].pid) as memory:
            running.wait_for(messages, seconds=300 + messages / 1_000)
        accounts = running.accounts("metrics")
    lab.forget("growth")
    if len(accounts) < 3:
        raise UsageError(f"{messages:,} events are only {len(accounts)} batches.", remedy="Take more with --events.")
    early, late = decile(accounts, 1), decile(accounts, 9)
    ratio = seconds_per_million(accounts, late) / seconds_per_million(accounts, early)
    rss = [memory.between(accounts[part[0]].started_ms, accounts[part[-1]].finished_ms) for part in (early, late)]
    rates = [1e6 / seconds_per_million(accounts, part) for part in (early, late)]
    title = f"metrics job over {messages:,} events, last tenth over second"
    details = {"batches": [(a.consumed, a.started_ms, a.finished_ms) for a in accounts], "memory": memory.samples}
    return [
        Figure(
            f"{title}: time a batch", "times", [ratio], target=Target(_MOST, at_most=True),
            note=f"{rates[0]:,.0f} and {rates[1]:,.0f} events/s, {len(accounts)} batches", details=details,
        ),
        Figure(
            f"{title}: memory", "times", [rss[1] / rss[0]],
            note=f"{rss[0] / 2**20:,.0f} and {rss[1] / 2**20:,.0f} MB of Java and Python, at the median",
        ),
    ]  # fmt: skip


def decile(accounts: Sequence[Account], number: int) -> list[int]:
    """Which batches end in a tenth of all messages, counted from 0; the nearest one where none does."""
    total = sum(account.consumed for account in accounts)
    shares, done = [], 0
    for account in accounts:
        done += account.consumed
        shares.append(done / total)
    inside = [i for i, share in enumerate(shares) if number / 10 < share <= (number + 1) / 10 + 1e-9 and i]
    return inside or [min(range(1, len(shares)), key=lambda i: abs(shares[i] - (number + 1) / 10))]


def seconds_per_million(accounts: Sequence[Account], batches: Sequence[int]) -> float:
    """Time for a million messages in some batches, each from the end of the batch before it."""
    seconds = sum((accounts[i].finished_ms - accounts[i - 1].finished_ms) / 1000 for i in batches)
    return seconds / sum(accounts[i].consumed for i in batches) * 1e6


class _Memory:
    """The resident memory of a process and all below it, looked at every half second."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, int]] = []
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch memory", daemon=True)

    def between(self, begin_ms: int, end_ms: int) -> float:
        """The median between two times; not less than one sample."""
        inside = [size for moment, size in self.samples if begin_ms <= moment * 1000 <= end_ms]
        return statistics.median(inside or [self.samples[-1][1]])

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            size = 0
            for process in strays.tree(self._pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    size += process.memory_info().rss
            self.samples.append((time.time(), size))

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
