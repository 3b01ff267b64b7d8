"""What the stores hold: against the truth, and against what they held before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from retailpulse_kernel.answers.reading import summarise
from retailpulse_kernel.feed.truth import Truth
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, SESSION, USER
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.hive.store import ARCHIVE_COLUMNS, HiveStore
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.checkpoint.batches import newest_epochs
from tests.jobs import JOBS, totals

__all__ = ["Verdict", "contents", "judge"]


@dataclass(frozen=True)
class Verdict:
    """How the stores and accounts stand against the truth.

    Attributes
    ----------
    events : int
        Accepted and late ones, by the truth.
    lost, doubled : int
        Events too few and too many, in the store where it is worst.
    reconciled : bool
        Whether `reconcile` finds nothing.
    differences : list of str
        Everything that is not as it should be, reconcile's sentences included.
    """

    events: int
    lost: int
    doubled: int
    reconciled: bool
    differences: list[str]


@dataclass(frozen=True)
class _Figures:
    """Accepted events of a store; revenue and orders by currency."""

    events: int
    revenue: dict[str, Decimal]
    orders: dict[str, int]


def judge(settings: Settings, truth: Truth, messages: int) -> Verdict:
    """Compare every store and account with the truth, and reconcile; the jobs have taken all messages.

    Parameters
    ----------
    settings : Settings
        The namespace.
    truth : Truth
        Of all that was sent.
    messages : int
        How many that was.
    """
    told = truth.as_dict()["figures"]
    expected = _Figures(
        truth.accepted,
        {currency: Decimal(figures["revenue"]) for currency, figures in told["currencies"].items()},
        {currency: figures["orders"] for currency, figures in told["currencies"].items()},
    )
    stored = {"cassandra": _cassandra(settings), "hbase": _hbase(settings), "hive": _hive(settings)}
    differences = [f"{store}: {found} is not {expected}" for store, found in stored.items() if found != expected]
    differences += [*_by_category(settings, told), *_archive(settings, truth), *_accounts(settings, truth, messages)]
    result = reconcile(settings)
    states = {check.state for check in result.tables}
    if states != {"equal"}:
        differences.append(f"not every table was compared: {states}")
    return Verdict(
        events=truth.accepted + truth.late,
        lost=max(0, *(expected.events - figures.events for figures in stored.values())),
        doubled=max(0, *(figures.events - expected.events for figures in stored.values())),
        reconciled=result.ok,
        differences=differences + result.differences,
    )


def _cassandra(settings: Settings) -> _Figures:
    with closing(CassandraStore(settings)) as store:
        summary = summarise(store)
    return _Figures(
        sum(summary.events_by_type.values()),
        {currency: figures.revenue for currency, figures in summary.currencies.items()},
        {currency: figures.orders for currency, figures in summary.currencies.items()},
    )


def _hbase(settings: Settings) -> _Figures:
    with closing(HBaseStore(settings)) as store:
        rows = store.read(USER, GRAINS["day"])
    revenue: dict[str, Decimal] = {}
    orders: Counter[str] = Counter()
    for row in rows:
        revenue[row["currency"]] = revenue.get(row["currency"], Decimal(0)) + row["revenue"]
        orders[row["currency"]] += row["orders"]
    return _Figures(sum(row["events"] for row in rows), revenue, dict(orders))


def _hive(settings: Settings) -> _Figures:
    with closing(HiveStore(settings)) as store:
        frame = store.query(
            "select currency, count(*) events, "
            "sum(case event_type when 'purchase' then price * quantity when 'refund' then -price * quantity end) "
            "revenue, sum(case when event_type = 'purchase' and order_line = 1 then 1 else 0 end) orders "
            "from events where not late group by currency"
        )
    rows = list(frame.itertuples())
    return _Figures(
        sum(row.events for row in rows),
        {row.currency: Decimal(row.revenue or 0) for row in rows},
        {row.currency: row.orders for row in rows},
    )


def _by_category(settings: Settings, told: dict[str, Any]) -> Iterator[str]:
    """The figures that only Cassandra has."""
    with closing(CassandraStore(settings)) as store:
        summary = summarise(store)
    if summary.events_by_type != told["events_by_type"]:
        yield f"cassandra: {summary.events_by_type} is not {told['events_by_type']}"
    for currency, figures in told["currencies"].items():
        shown = summary.currencies[currency].revenue_by_category if currency in summary.currencies else {}
        if shown != {category: Decimal(amount) for category, amount in figures["revenue_by_category"].items()}:
            yield f"cassandra: revenue by category in {currency} is not the truth's"


def _archive(settings: Settings, truth: Truth) -> Iterator[str]:
    """Each event stands in the archive once, the late ones flagged."""
    with closing(HiveStore(settings)) as store:
        frame = store.query("select count(distinct event_id) ids, sum(if(late, 1, 0)) late from events")
    ids, late = int(frame["ids"][0]), int(frame["late"][0])
    if (ids, late) != (truth.accepted + truth.late, truth.late):
        yield f"hive: {ids} ids, {late} late, where the truth has {truth.accepted + truth.late} and {truth.late}"


def _accounts(settings: Settings, truth: Truth, messages: int) -> Iterator[str]:
    expected = Counter(
        consumed=messages, accepted=truth.accepted, duplicate=truth.duplicates, late=truth.late, bad=truth.bad.total()
    )
    newest = newest_epochs(read_accounts(settings), settings.namespace.events_topic)
    for job in JOBS:
        accounts = [batch.account for batch in newest[job].batches] if job in newest else []
        if (found := totals(accounts, job)) != expected:
            yield f"the accounts of {job} say {dict(found)}, the truth {dict(expected)}"


def contents(settings: Settings) -> dict[str, list[Any]]:
    """Everything that the stores hold, in an order of its own; sketches as what they estimate."""
    with closing(CassandraStore(settings)) as cassandra, closing(HBaseStore(settings)) as hbase:
        figures = {
            f"{store.name} {table.physical(grain)}": sorted((_plain(row) for row in store.read(table, grain)), key=repr)
            for store, table in ((cassandra, CATEGORY), (hbase, SESSION), (hbase, USER))
            for grain in table.every
        }
    with closing(HiveStore(settings)) as hive:
        events = hive.events(columns=list(ARCHIVE_COLUMNS))
    return {**figures, "hive events": sorted(map(repr, events.itertuples(index=False)))}


def _plain(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, sketches.estimate(value) if isinstance(value, bytes) else value) for name, value in row.items()]
