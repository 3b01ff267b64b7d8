"""The dashboard of a promoted job, made from its plan: how the job runs, its figures by their kind, its newest rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, VariableRefresh

from retailpulse_kernel.answers.reading import chosen_figures
from retailpulse_kernel.catalogue.conditions import time_column_if_any
from retailpulse_kernel.catalogue.personal import without_personal
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.dashboards.annotations import failed_reconciliations, promotions
from retailpulse_kernel.dashboards.grid import WIDTH, Grid
from retailpulse_kernel.dashboards.panels import COUNT, DASHES, MONEY, Place, bars, line, number, rows, told
from retailpulse_kernel.dashboards.queries import (
    API,
    PROMETHEUS,
    api_query,
    prometheus_query,
    rows_query,
    values_fields,
)
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.figures import Figure, Ratio, parts_of
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.personal import is_personal, names_personal, shows_personal
from retailpulse_kernel.shop.tables import FigureTable
from retailpulse_kernel.streaming.plan.data import FigurePlan

__all__ = ["job_dashboard", "promoted_jobs"]

#: Bars of a panel, and rows of a table.
_BARS, _ROWS = 9, 100
_STATE = 4
#: How high a figure and a table of rows are.
_FIGURE, _TABLE = 8, 10
#: From when on a job is late, in seconds since its last micro-batch and in messages that it has not taken yet.
_LATE = ((120.0, "orange"), (600.0, "red"))
_BEHIND = ((10_000.0, "orange"), (1_000_000.0, "red"))
_SHOP = ("Store pulse", "/d/retailpulse-store-pulse?${__url_time_range}")
_REJECTED = ((1.0, "orange"), (60.0, "red"))


def promoted_jobs(catalogue: Catalogue) -> dict[str, list[TableEntry]]:
    """The tables of each promoted job, by the job's name.

    Parameters
    ----------
    catalogue : Catalogue
        The tables of a namespace.
    """
    found: dict[str, list[TableEntry]] = {}
    for entry in catalogue.entries:
        if entry.is_promoted:
            found.setdefault(entry.job, []).append(entry)
    return found


def job_dashboard(job: str, tables: Sequence[TableEntry], catalogue: Catalogue) -> dashboard.Dashboard:
    """The dashboard of a promoted job.

    Parameters
    ----------
    job : str
        Its name.
    tables : sequence of TableEntry
        What it writes.
    catalogue : Catalogue
        Says the namespace, and which fields are personal.
    """
    version, namespace = tables[0].version, catalogue.namespace
    calendar = catalogue.contract.shop.calendar
    made = (
        dashboard.Dashboard(job)
        .uid(f"retailpulse-job-{sha256(f'{namespace}/{job}'.encode()).hexdigest()[:16]}")
        .description(f"What the job {job} ({version}) writes in the namespace {namespace}, made from the job's plan.")
        .tags(["retailpulse", "job"])
        .timezone("utc" if calendar.is_utc else calendar.zone)
        .time("now-6h", "now")
        .refresh("30s")
        .link(dashboard.DashboardLink("RetailPulse").type(DashboardLinkType.DASHBOARDS).tags(["retailpulse"])
              .as_dropdown(True).keep_time(True))
        .annotation(promotions())
        .annotation(failed_reconciliations())
    )  # fmt: skip
    shown = [_Figures.of(entry, entry.figures, catalogue.contract) for entry in tables if entry.figures is not None]
    for variable in _variables(shown):
        made.with_variable(variable)
    grid = _Numbered()
    for panel in _state(grid, namespace, job):
        made.with_panel(panel)
    for one in shown:
        made.with_row(grid.title(f"{one.entry.name}: figures in {one.entry.store}"))
        for panel in one.panels(grid):
            made.with_panel(panel)
    for entry in tables:
        if entry.plan.rows is not None and (panel := _newest(grid, entry, catalogue.contract)):
            made.with_panel(panel)
    return made


class _Numbered:
    """Hands out ids with the places."""

    def __init__(self) -> None:
        self._grid, self._id = Grid(), 0

    def _next(self) -> int:
        self._id += 1
        return self._id

    def band(self, height: int, *widths: int) -> list[tuple[int, Place]]:
        """Places beside one another."""
        return [(self._next(), place) for place in self._grid.band(height, *widths)]

    def title(self, text: str) -> dashboard.Row:
        """A line across the dashboard."""
        return self._grid.title(self._next(), text)


def _state(grid: _Numbered, namespace: str, job: str) -> Iterator[Any]:
    """How the job runs, as Prometheus sees it."""
    health = ("Pipeline health", f"/d/retailpulse-pipeline-health?var-namespace={namespace}&${{__url_time_range}}")
    its = f'namespace="{namespace}",job_name="{job}"'
    fresh = f"time() - max(retailpulse_job_last_batch_timestamp_seconds{{{its}}})"
    messages = f"rate(retailpulse_job_messages_total{{{its}}}[$__rate_interval])"
    rejected = messages.replace("}", ',status=~"late|bad"}', 1)
    shown: list[tuple[str, str, str, str, Sequence[tuple[float, str]]]] = [
        ("Freshness", "s", fresh, "Seconds since the job has written its last micro-batch.", _LATE),
        ("Events a second", "mps", f"sum({messages})", "Messages that the job takes, with those it rejects.", ()),
        ("Rejects a minute", COUNT, f"60 * sum({rejected})", "Late and bad messages; both are in topics of their own.",
         _REJECTED),
        ("Lag", COUNT, f"sum(retailpulse_job_lag_messages{{{its}}})", "Messages that the job has not taken yet.",
         _BEHIND),
    ]  # fmt: skip
    for (title, unit, expression, description, limits), (id_, place) in zip(
        shown, grid.band(_STATE, 6, 6, 6, 6), strict=True
    ):
        query = prometheus_query(expression, title, instant=True)
        panel = number(id_, title, place, [query], unit=unit, decimals=1 if unit == "mps" else 0, source=PROMETHEUS)
        yield told(panel, description, nothing="not running", limits=limits, link=health)
    ((id_, place),) = grid.band(_FIGURE, WIDTH)
    query = prometheus_query(f"sum by (status) ({messages})", "{{status}}")
    drawn = line(id_, "Messages a second, by what became of them", place, [query], unit="mps", source=PROMETHEUS)
    yield told(drawn, "docs/metrics.md says what each status means.", nothing="not running")


@dataclass(frozen=True)
class _Figures:
    """A table of figures that a dashboard shows."""

    entry: TableEntry
    figures: tuple[Figure | Ratio, ...]
    by: tuple[str, ...]
    contract: Contract

    @classmethod
    def of(cls, entry: TableEntry, table: FigureTable, contract: Contract) -> _Figures:
        """The table without what shows values of personal fields."""
        kept = tuple(one for one in chosen_figures((), table) if not shows_personal(one, contract))
        by = tuple(name for name in entry.key if not is_personal(name, contract))
        return cls(entry, kept, by, contract)

    def panels(self, grid: _Numbered) -> Iterator[Any]:
        """A band for each figure, by its kind: a number, the number over time, and by a dimension."""
        for figure in self.figures:
            look = _Look.of(figure, self.entry)
            description, nothing = self._described(figure), "no events in this range"
            asked = {"table": self.entry.name, "filters": self.by, "title": figure.title}
            title = f"{figure.title}, $currency" if look.is_money else figure.title
            by = next((name for name in self.by if name != "currency"), "")
            places = grid.band(_FIGURE, *((4, 12, 8) if by else (4, 20)))
            (id_, place), over, *beside = places
            yield told(
                number(id_, title, place, [api_query(figure.name, ["value"], **asked)], unit=look.unit,
                       decimals=look.decimals),
                description, nothing=nothing, link=_SHOP,
            )  # fmt: skip
            columns = ["bucket", "complete_value", "unfinished_value"]
            series = api_query(figure.name, columns, by="bucket", grain="auto", **asked)
            drawn = line(over[0], f"{title} over time", over[1], [series], unit=look.unit, decimals=look.decimals,
                         colour="blue")  # fmt: skip
            yield told(drawn.override_by_name("So far", DASHES), description, nothing=nothing)
            for id_, place in beside:
                largest = api_query(figure.name, [by, "value"], by=by, limit=_BARS, **asked)
                panel = bars(id_, f"{title} by {by}", place, [largest], unit=look.unit, decimals=look.decimals)
                yield told(panel, f"{description} The {_BARS} largest.", nothing=nothing)

    def _described(self, figure: Figure | Ratio) -> str:
        """What a figure is, from the plan; a condition on a personal field is not told."""
        if isinstance(figure, Ratio):
            what = f"{figure.over.name} divided by {figure.under.name}"
        else:
            plan = FigurePlan.describing(figure)
            what = plan.kind if figure.rules.counts and not figure.rules.needs_value else f"{plan.label} of {plan.of}"
            told = plan.where and not names_personal(plan.where, self.contract)
            what += f" where {plan.where}" if told else ""
        conditions = [one for one in self.entry.conditions if not names_personal(one, self.contract)]
        only = f" Only events with {' and '.join(conditions)}." if conditions else ""
        estimated = " Estimated from a sketch, not exact." if self.entry.is_estimated(figure) else ""
        return f"{what[:1].upper()}{what[1:]}.{only}{estimated}"


@dataclass(frozen=True)
class _Look:
    """How a figure is written, by its kind."""

    unit: str
    decimals: int
    is_money: bool = False

    @classmethod
    def of(cls, figure: Figure | Ratio, entry: TableEntry) -> _Look:
        """Money with two places, shares in percent, times as dates, counts whole."""
        if entry.may_be_money(figure):
            return cls(MONEY, 2, is_money=True)
        if isinstance(figure, Ratio):
            share = all(part.rules.counts for part in parts_of([figure]))
            return cls("percentunit", 1) if share else cls(COUNT, 2)
        if figure.rules.value is Value.TIME:
            return cls("dateTimeAsIso", 0)
        return cls(COUNT, 2 if figure.rules.shows is Value.DECIMAL else 0)


def _variables(shown: Sequence[_Figures]) -> Iterator[dashboard.QueryVariable]:
    """A variable for each dimension, from the first table that goes by it; only the currency has no `all`."""
    tables: dict[str, _Figures] = {}
    for one in shown:
        for name in one.by:
            tables.setdefault(name, one)
    for name, one in tables.items():
        made = dashboard.QueryVariable(name).label(name).datasource(API)
        made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        made.query({"queryType": "infinity", "infinityQuery": values_fields(name, table=one.entry.name)})
        yield made if name == "currency" else made.multi(True).include_all(True).all_value("all")


def _newest(grid: _Numbered, entry: TableEntry, contract: Contract) -> Any:
    """The newest rows of a table; of one without a column of times, any."""
    try:
        table = without_personal(entry, entry.plan.row_table, contract)
    except (ValueError, UsageError):
        return None  # only a newer program knows its types
    if not table.columns:
        return None
    time = time_column_if_any(table)
    columns = {name: _TYPES.get(kind, "string") for name, kind in table.types.items()}
    asked = {"store": entry.store, "limit": str(_ROWS)}
    if time:
        asked |= {"order": f"-{time}", "time": time, "since": "${__from:date:iso}", "until": "${__to:date:iso}"}
    ((id_, place),) = grid.band(_TABLE, WIDTH)
    which = "The newest" if time else "Some"
    query = rows_query(entry.name, columns, **asked)
    panel = rows(id_, f"{entry.name}: {which.lower()} rows in {entry.store}", place, [query])
    described = f"{which} {_ROWS} rows. Decimals are exact. Columns with the names of personal fields are left out."
    return told(panel, described, nothing="no rows in this range")


#: The plugin's types; all others are texts, so that decimals keep their digits.
_TYPES = {"timestamp": "timestamp", "int": "number", "double": "number", "bool": "boolean"}
