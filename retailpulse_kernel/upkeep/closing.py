"""Closing a day: the truth of it, from the archive, in Hive's table ``daily``.

The jobs' figures leave late events out; a closed day has them. A day is closed again when events of it came
afterwards, and closing it twice gives the same rows.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import moment_at
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.figures import EVENTS, ORDERS, REVENUE, UNITS
from retailpulse_kernel.stores.base import EventArchive
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.registry import event_archive
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.checkpoint.batches import newest_epochs
from retailpulse_kernel.streaming.plan.finding import archiver

__all__ = ["TABLE", "close_day", "days_to_close"]

TABLE = "daily"
_FIGURES = (EVENTS, UNITS, REVENUE, ORDERS)
_KEYS = ("currency", "category", "event_type")
_DAY = timedelta(days=1)
#: Each event once: one that was sent again after the time for which its id is remembered is in the archive twice.
_ONCE = "row_number() over (partition by event_id order by late, arrival, kafka_partition, kafka_offset)"


def archived_until(settings: Settings, *, now: datetime | None = None) -> datetime | None:
    """Up to when the archive has all events but late ones; None while its job has not run.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    now : datetime, optional
        The present time, UTC, when absent.
    """
    plan = archiver(settings)
    jobs = newest_epochs(read_accounts(settings), settings.namespace.events_topic)
    if plan is None or plan.job not in jobs:
        return None
    job = jobs[plan.job]
    if job.has_all({partition: end for partition, (_, end) in KafkaStore(settings).offsets().items()}):
        return now or datetime.now(UTC)
    return moment_at(job.watermark_ms)


def days_to_close(
    settings: Settings, *, settle: timedelta, look_back: timedelta, now: datetime | None = None
) -> list[date]:
    """The days of the shop that are over and not closed yet, or of which events came since.

    Parameters
    ----------
    settings : Settings
        Which servers, which namespace.
    settle : timedelta
        How long after its end a day is closed.
    look_back : timedelta
        How far back late events may open a day again.
    now : datetime, optional
        The present time, UTC.
    """
    now = now or datetime.now(UTC)
    reached = archived_until(settings, now=now)
    if reached is None:
        return []
    calendar = contract_of(settings).shop.calendar
    over = calendar.day_of(min(reached, now - settle))  # not this one, but those before it
    store = event_archive(settings)
    _create(store, settings)
    first = calendar.day_of(now - look_back)
    if first >= over:
        return []
    archived = _archived(store, calendar, first, over)
    frame = store.query(
        f"select dt, sum(events) from {TABLE} where dt >= :first and dt < :over group by dt",
        {"first": first.isoformat(), "over": over.isoformat()},
    )
    closed = _by_day(frame)
    return sorted(day for day, count in archived.items() if count != closed.get(day))


def _archived(store: EventArchive, calendar: Calendar, first: date, over: date) -> dict[date, int]:
    """How many events the archive has of each day of the shop, whose ends lie anywhere in the archive's days of UTC."""
    days = [first + number * _DAY for number in range((over - first).days)]
    ends = " ".join(f"when event_time < {_timestamp(calendar.midnight(day + _DAY))} then '{day}'" for day in days)
    frame = store.query(
        f"select case {ends} end, count(distinct event_id) from {store.table} "
        f"where {_within(calendar, first, over)} group by case {ends} end"
    )
    return _by_day(frame)


def _by_day(frame: Any) -> dict[date, int]:
    return {date.fromisoformat(day): int(count) for day, count in frame.itertuples(index=False, name=None)}


def _within(calendar: Calendar, first: date, over: date) -> str:
    """The condition for the archive's events of some days of the shop, the last one not included."""
    begin, end = calendar.midnight(first), calendar.midnight(over)
    partitions = f"dt >= '{begin.date()}' and dt <= '{end.date()}'"
    return f"{partitions} and event_time >= {_timestamp(begin)} and event_time < {_timestamp(end)}"


def _timestamp(moment: datetime) -> str:
    return f"cast('{moment:%Y-%m-%d %H:%M:%S}' as timestamp)"


def close_day(settings: Settings, day: date) -> Any:
    """Write a day's truth, in place of what stood there, and return it.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    day : date
        Of the shop.

    Returns
    -------
    pandas.DataFrame
        currency, category, event_type, events, units, revenue, orders, late (how many of the events), closed.

    Raises
    ------
    JobError
        What was written is not what the archive holds.
    """
    store = event_archive(settings)
    _create(store, settings)
    within = _within(contract_of(settings).shop.calendar, day, day + _DAY)
    keys = ", ".join(_KEYS)
    figures = ", ".join(f"{figure.sql} as `{figure.name}`" for figure in _FIGURES)
    sums = ", ".join(figure.aggregate_sql for figure in _FIGURES)
    store.query(
        f"insert overwrite table {TABLE} partition (dt = :day) "
        f"select {keys}, {sums}, sum(if(late, 1L, 0L)), cast(:closed as timestamp) from ("
        f"select {keys}, late, {figures}, {_ONCE} as place from {store.table} where {within}"
        f") one where place = 1 group by {keys}",
        {"day": day.isoformat(), "closed": datetime.now(UTC)},
    )
    truth = store.query(
        f"select {keys}, {', '.join(figure.name for figure in _FIGURES)}, late, closed from {TABLE} "
        f"where dt = :day order by {keys}",
        {"day": day.isoformat()},
    )
    (found,) = store.query(f"select count(distinct event_id) n from {store.table} where {within}")["n"]
    if int(truth["events"].sum()) < int(found):
        raise JobError(
            f"The day {day} has {int(truth['events'].sum()):,} events where the archive has {int(found):,}.",
            remedy="Run the notebook again; it writes the day anew.",
        )
    return truth


def _create(store: EventArchive, settings: Settings) -> None:
    store.create()
    location = f"{settings.warehouse}/{settings.namespace.database}.db/{TABLE}"
    store.query(
        f"create external table if not exists {TABLE} (currency string, category string, event_type string, "
        f"events bigint, units bigint, revenue decimal(28,4), orders bigint, late bigint, closed timestamp) "
        f"partitioned by (dt string) stored as parquet location '{location}'"
    )
