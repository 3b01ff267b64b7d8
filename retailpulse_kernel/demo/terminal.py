"""The live figures in a terminal."""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from retailpulse_kernel.answers.corrected import corrected
from retailpulse_kernel.answers.reading import CurrencySummary, Summary, money, summarise
from retailpulse_kernel.catalogue.completeness import served_until
from retailpulse_kernel.demo.worked import Worked
from retailpulse_kernel.ground.errors import NoSuchTable, RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.tables import GRAINS
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.registry import serving_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Accounts, untaken

__all__ = ["Dashboard", "figures_line", "figures_view", "jobs_view", "rates_of", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 28
_CATEGORIES = 10
_WINDOW = timedelta(hours=1)
#: Seconds of a job's newest batches from which its rate is taken.
_RATE_SECONDS = 20
#: How often the figures move in a terminal, and how often they are a line of a log.
_REFRESH_SECONDS, _LINE_SECONDS = 1.0, 10.0


def sparkline(values: Sequence[Decimal], width: int = 60) -> str:
    """Values as a line of block characters, the newest at the right; sums of neighbours when there are many.

    The sums are counted back from the newest value. Oldest values that are too few for a sum are left out: they would
    look like a rise.

    Parameters
    ----------
    values : sequence of Decimal
        The oldest first.
    width : int
        Most characters.
    """
    if not values:
        return ""
    step = -(-len(values) // width)
    sums = [sum(values[i : i + step], Decimal(0)) for i in range(len(values) % step, len(values), step)]
    highest = max(max(sums), Decimal(1))
    return "".join(_BARS[min(7, max(0, int(value / highest * 7)))] for value in sums)


def _bar(share: float, width: int = _WIDTH) -> str:
    return "█" * max(1, round(share * width)) if share > 0 else ""


def figures_view(summary: Summary, *, span: str = "") -> RenderableType:
    """The four canonical figures, for each currency, and the event distribution.

    Parameters
    ----------
    summary : Summary
        The figures.
    span : str
        What part of the events they are of, such as ``last hour``, where they are not of all.
    """
    if not summary.events_by_type:
        return Text("No figures yet: the jobs are starting.", style="dim")
    parts: list[RenderableType] = []
    for currency, figures in summary.currencies.items():
        if figures.orders or figures.revenue:
            parts.append(_currency_view(currency, figures, summary.grain.title, span))
    parts.append(_events_view(summary, span))
    return Group(*parts)


def _currency_view(currency: str, figures: CurrencySummary, grain: str, span: str) -> RenderableType:
    average = "none" if figures.average_order_value is None else f"{figures.average_order_value:,.2f}"
    head = Text.assemble(
        (f"Revenue, {span} " if span else "Total revenue ", "bold"), f"{figures.revenue:,.2f} {currency}    ",
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
        (f"Revenue by {grain} ", "bold"), (sparkline([b.revenue for b in buckets if b.complete]), "green"),
        ("" if all(b.complete for b in buckets) else "…", "dim"),
        "  peaks: " + (", ".join(f"{b.start:%H:%M} {money(b.revenue)}" for b in peaks) or "none"),
    )  # fmt: skip
    title = ", ".join(filter(None, ["Revenue per category", currency, span]))
    return Panel(Group(head, Text(), table, Text(), line), title=title, title_align="left")


def _events_view(summary: Summary, span: str) -> RenderableType:
    total = sum(summary.events_by_type.values())
    table = Table(box=None, show_header=False, padding=(0, 1))
    for event_type, count in summary.events_by_type.items():
        share = count / total if total else 0
        table.add_row(event_type, f"{count:,}", f"{share:.1%}", Text(_bar(share), style="magenta"))
    table.add_row("active users", f"{summary.active_users:,}", "", "")
    return Panel(table, title=", ".join(filter(None, ["Event distribution", span])), title_align="left")


def jobs_view(
    accounts: Sequence[Account], lags: Mapping[str, int | None], rates: Mapping[str, float]
) -> RenderableType:
    """What each job took, and how far it is behind.

    Parameters
    ----------
    accounts : sequence of Account
        Of all batches.
    lags : dict
        The messages that each job has not taken; None where it has never finished a batch.
    rates : dict
        The jobs that work, with their events per second. Any other job is starting.
    """
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
            f"{rates[job]:,.0f}" if job in rates else "starting",
            "" if lag is None else f"{lag:,}",
        )
    return Panel(table, title="Jobs", title_align="left")


def rates_of(accounts: Iterable[Account], *, began_ms: float, now_ms: float) -> dict[str, float]:
    """Events per second of the jobs that finished a batch since `began_ms`; accounts of an earlier run show no work.

    Parameters
    ----------
    accounts : iterable of Account
        Of all batches.
    began_ms : float
        When the jobs were started, in milliseconds since 1970.
    now_ms : float
        The present, in the same unit.
    """
    rates: dict[str, float] = {}
    for account in accounts:
        if account.finished_ms > began_ms:
            recent = account.consumed if account.finished_ms > now_ms - _RATE_SECONDS * 1000 else 0
            rates[account.job] = rates.get(account.job, 0) + recent / _RATE_SECONDS
    return rates


def figures_line(summary: Summary | None, lags: Mapping[str, int | None], rates: Mapping[str, float], span: str) -> str:
    """The same in one line, for a log.

    Parameters
    ----------
    summary : Summary or None
        The figures; None where none have been read.
    lags : mapping of str to int or None
        The messages that each job has not taken; None where it has never finished a batch.
    rates : mapping of str to float
        The jobs that work, with their events per second. Any other job is starting.
    span : str
        What part of the events the figures are of, such as ``last hour``; empty for all.
    """
    if summary is None or not summary.events_by_type:
        parts = ["no figures yet"]
    else:
        parts = [f"{span or 'all'}: {sum(summary.events_by_type.values()):,} events"]
        parts += [
            f"{figures.orders:,} orders, revenue {figures.revenue:,.2f} {currency}"
            for currency, figures in summary.currencies.items()
            if figures.orders or figures.revenue
        ]
    for job, lag in lags.items():
        state = f"{job} {rates[job]:,.0f} events/s" if job in rates else f"{job} starting"
        parts.append(state if lag is None else f"{state}, lag {lag:,}")
    return "; ".join(parts)


class Dashboard:
    """The figures of the last hour and the jobs' state, refreshed when it is asked to.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    jobs : sequence of str
        The jobs to show.
    worked : Worked, optional
        The worked notebooks, where they are shown too.
    """

    def __init__(self, settings: Settings, jobs: Sequence[str], worked: Worked | None = None) -> None:
        self._settings = settings
        self._worked = worked
        self._jobs = tuple(jobs)
        self._store = corrected(serving_store(settings))
        self._kafka = KafkaStore(settings)
        self._accounts = Accounts(settings)
        self._began_ms = time.time() * 1000
        self._has_read = False
        self._summary: Summary | None = None
        self._span = ""
        self._lags: dict[str, int | None] = dict.fromkeys(jobs)
        self._rates: dict[str, float] = {}
        self._problems: list[str] = []

    def __rich__(self) -> RenderableType:
        figures = (
            Text("No figures yet: the jobs are starting.", style="dim")
            if self._summary is None
            else figures_view(self._summary, span=self._span)
        )
        return Group(
            figures,
            jobs_view(self._accounts.all(), self._lags, self._rates),
            *([] if self._worked is None else [self._worked]),
            *(Text(problem, style="yellow") for problem in self._problems),
            self._addresses(),
        )

    def line(self) -> str:
        """All of it in one line, and one for each worked notebook and problem."""
        now = f"{datetime.now(UTC):%H:%M:%S} UTC  "
        figures = figures_line(self._summary, self._lags, self._rates, self._span)
        return "\n".join([now + figures, *(self._worked.lines() if self._worked else ()), *self._problems])

    def refresh(self, problems: Iterable[str] = ()) -> None:
        """Read the stores again.

        Parameters
        ----------
        problems : iterable of str
            What else there is to be said. A store that does not answer is named, too; what it said last stays.
        """
        self._problems = list(problems)
        worked = [] if self._worked is None else [self._worked.read]
        for read in (self._read_figures, self._read_jobs, *worked):
            try:
                read()
            except RetailPulseError as error:
                self._problems.append(str(error))

    def _read_figures(self) -> None:
        minute = GRAINS["minute"]
        until = minute.start(datetime.now(UTC)) + minute.width
        try:
            calendar = contract_of(self._settings).shop.calendar
            read = partial(summarise, self._store, now=served_until(self._settings), calendar=calendar)
            summary, span = read(since=until - _WINDOW, until=until, grain="minute"), "last hour"
            if not summary.events_by_type:
                # A replay keeps its own times: show all of it.
                summary, span = read(), ""
        except NoSuchTable:
            return
        self._summary, self._span = summary, span

    def _read_jobs(self) -> None:
        if self._has_read:
            self._accounts.poll()
        else:
            self._accounts.catch_up()
        self._has_read = True
        bounds = self._kafka.offsets()
        taken: dict[str, dict[str, int]] = {}
        accounts = self._accounts.all()
        for account in accounts:
            taken.setdefault(account.job, {}).update(account.offsets.get(self._settings.namespace.events_topic, {}))
        self._lags = {job: untaken(bounds, taken[job]) if job in taken else None for job in self._jobs}
        self._rates = rates_of(accounts, began_ms=self._began_ms, now_ms=time.time() * 1000)

    def _addresses(self) -> RenderableType:
        profile = self._settings.profile
        return Text(
            f"Kafka {profile.kafka.bootstrap} · Cassandra {profile.cassandra.hosts[0]}:{profile.cassandra.port}"
            f" · HBase {profile.hbase.host}:{profile.hbase.port} · Hive {profile.hive.host}:{profile.hive.port}"
            f" · namespace {self._settings.namespace.name} · Ctrl-C stops",
            style="dim",
        )

    def watch(self, console: Console, *, seconds: float | None, problems: Callable[[], Iterable[str]]) -> None:
        """Show it until Ctrl-C: moving in a terminal, and as a line now and then where the output goes elsewhere.

        It ends when nobody reads that output any more.

        Parameters
        ----------
        console : Console
            Where.
        seconds : float, optional
            End after this long.
        problems : callable
            Asked each time for what else there is to be said.
        """
        end = None if seconds is None else time.monotonic() + seconds
        pause = _REFRESH_SECONDS if console.is_terminal else _LINE_SECONDS
        live = Live(self, console=console, auto_refresh=False, vertical_overflow="visible")
        with contextlib.suppress(KeyboardInterrupt), live if console.is_terminal else contextlib.nullcontext():
            while (left := math.inf if end is None else end - time.monotonic()) > 0 and not console.quiet:
                self.refresh(problems())
                if console.is_terminal:
                    live.refresh()
                else:
                    console.print(self.line(), markup=False, soft_wrap=True)
                time.sleep(min(pause, left))

    def close(self) -> None:
        """Close the connections."""
        self._accounts.close()
        self._store.close()
        if self._worked is not None:
            self._worked.close()
