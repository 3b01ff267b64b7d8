"""The live figures in a terminal."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from retailpulse_kernel.errors import NoSuchTable, RetailPulseError
from retailpulse_kernel.figures import CurrencySummary, Summary, money, summarise
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.cassandra import CassandraStore
from retailpulse_kernel.stores.kafka import KafkaStore
from retailpulse_kernel.streaming.accounts import Account, Accounts
from retailpulse_kernel.tables import GRAINS

__all__ = ["Dashboard", "figures_view", "jobs_view", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 28
_CATEGORIES = 10
_WINDOW = timedelta(hours=1)


def sparkline(values: Sequence[Decimal], width: int = 60) -> str:
    """Values as a line of block characters, the newest at the right; sums of neighbours when there are many."""
    if not values:
        return ""
    step = -(-len(values) // width)
    sums = [sum(values[i : i + step], Decimal(0)) for i in range(0, len(values), step)]
    highest = max(max(sums), Decimal(1))
    return "".join(_BARS[min(7, max(0, int(value / highest * 7)))] for value in sums)


def _bar(share: float, width: int = _WIDTH) -> str:
    return "█" * max(1, round(share * width)) if share > 0 else ""


def figures_view(summary: Summary) -> RenderableType:
    """The four canonical figures, for each currency, and the event distribution."""
    if not summary.events_by_type:
        return Text("No figures yet: the jobs are starting.", style="dim")
    parts: list[RenderableType] = []
    for currency, figures in summary.currencies.items():
        if figures.orders or figures.revenue:
            parts.append(_currency_view(currency, figures, summary.grain.name))
    parts.append(_events_view(summary))
    return Group(*parts)


def _currency_view(currency: str, figures: CurrencySummary, grain: str) -> RenderableType:
    average = "none" if figures.average_order_value is None else f"{figures.average_order_value:,.2f}"
    head = Text.assemble(
        ("Total revenue ", "bold"), f"{figures.revenue:,.2f} {currency}    ",
        ("Orders ", "bold"), f"{figures.orders:,}    ",
        ("Average order value ", "bold"), f"{average} {currency}",
    )  # fmt: skip
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column()
    shown = list(figures.revenue_by_category.items())[:_CATEGORIES]
    highest = max((value for _, value in shown), default=Decimal(0))
    for category, value in shown:
        table.add_row(category, f"{value:,.2f}", Text(_bar(float(value / highest) if highest else 0), style="cyan"))
    rest = len(figures.revenue_by_category) - len(shown)
    if rest > 0:
        others = figures.revenue - sum((value for _, value in shown), Decimal(0))
        table.add_row(f"{rest} more", f"{others:,.2f}", "")
    buckets = figures.revenue_over_time
    peaks = sorted((b for b in buckets if b.peak), key=lambda b: -b.revenue)[:3]
    line = Text.assemble(
        (f"Revenue by {grain} ", "bold"), (sparkline([b.revenue for b in buckets]), "green"),
        "  peaks: " + (", ".join(f"{b.start:%H:%M} {money(b.revenue)}" for b in peaks) or "none"),
    )  # fmt: skip
    return Panel(
        Group(head, Text(), table, Text(), line), title=f"Revenue per category, {currency}", title_align="left"
    )


def _events_view(summary: Summary) -> RenderableType:
    total = sum(summary.events_by_type.values())
    table = Table(box=None, show_header=False, padding=(0, 1))
    for event_type, count in summary.events_by_type.items():
        share = count / total if total else 0
        table.add_row(event_type, f"{count:,}", f"{share:.1%}", Text(_bar(share), style="magenta"))
    table.add_row("active users", f"{summary.active_users:,}", "", "")
    return Panel(table, title="Event distribution", title_align="left")


def jobs_view(accounts: Sequence[Account], lags: dict[str, int | None], rates: dict[str, float]) -> RenderableType:
    """What each job took, and how far it is behind."""
    totals: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for account in accounts:
        for name in ("consumed", "accepted", "duplicate", "late", "bad"):
            totals[account.job][name] += getattr(account, name)
    table = Table(box=None, padding=(0, 1))
    for column in ("job", "consumed", "= accepted", "+ duplicate", "+ late", "+ bad", "events/s", "lag"):
        table.add_column(column, justify="left" if column == "job" else "right")
    for job in lags:
        t = totals[job]
        lag = lags[job]
        table.add_row(
            job,
            *(f"{t[name]:,}" for name in ("consumed", "accepted", "duplicate", "late", "bad")),
            f"{rates.get(job, 0):,.0f}",
            "starting" if lag is None else f"{lag:,}",
        )
    return Panel(table, title="Jobs", title_align="left")


class Dashboard:
    """The figures of the last hour and the jobs' state, refreshed when it is asked to.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    jobs : sequence of str
        The jobs to show.
    """

    def __init__(self, settings: Settings, jobs: Sequence[str]) -> None:
        self._settings = settings
        self._jobs = tuple(jobs)
        self._cassandra = CassandraStore(settings)
        self._kafka = KafkaStore(settings)
        self._accounts = Accounts(settings)
        self._recent: deque[tuple[float, Account]] = deque(maxlen=500)
        self._view: RenderableType = Text("Starting …")

    def __rich__(self) -> RenderableType:
        return self._view

    def refresh(self) -> None:
        """Read the stores again; one that does not answer is named in place of its figures."""
        parts: list[RenderableType] = []
        for build in (self._figures, self._state):
            try:
                parts.append(build())
            except RetailPulseError as error:
                parts.append(Text(str(error), style="yellow"))
        parts.append(self._addresses())
        self._view = Group(*parts)

    def _figures(self) -> RenderableType:
        minute = GRAINS["minute"]
        until = minute.start(datetime.now(UTC)) + minute.width
        try:
            summary = summarise(self._cassandra, since=until - _WINDOW, until=until, grain="minute")
            if not summary.events_by_type:
                # A replay keeps its own times: show all of it.
                summary = summarise(self._cassandra)
        except NoSuchTable:
            return Text("No figures yet: the jobs are starting.", style="dim")
        return figures_view(summary)

    def _state(self) -> RenderableType:
        now = time.monotonic()
        self._recent.extend((now, account) for account in self._accounts.poll())
        ends = {partition: end for partition, (_, end) in self._kafka.offsets().items()}
        taken: dict[str, dict[str, int]] = {}
        for account in self._accounts.all():
            taken.setdefault(account.job, {}).update(account.offsets.get(self._settings.namespace.events_topic, {}))
        lags = {
            job: sum(end - taken[job].get(str(partition), 0) for partition, end in ends.items())
            if job in taken
            else None
            for job in self._jobs
        }
        rates = {
            job: sum(a.consumed for seen, a in self._recent if a.job == job and now - seen < 20) / 20
            for job in self._jobs
        }
        return jobs_view(self._accounts.all(), lags, rates)

    def _addresses(self) -> RenderableType:
        profile = self._settings.profile
        return Text(
            f"Kafka {profile.kafka.bootstrap} · Cassandra {profile.cassandra.hosts[0]}:{profile.cassandra.port}"
            f" · HBase {profile.hbase.host}:{profile.hbase.port} · Hive {profile.hive.host}:{profile.hive.port}"
            f" · namespace {self._settings.namespace.name} · Ctrl-C stops",
            style="dim",
        )

    def close(self) -> None:
        """Close the connections."""
        self._accounts.close()
        self._cassandra.close()
