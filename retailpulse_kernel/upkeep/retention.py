"""Letting old data go: of topics, of any job's tables, of the archive; never what a job has yet to take."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta

from retailpulse_kernel.catalogue.conditions import time_column_if_any
from retailpulse_kernel.catalogue.tables import catalogue_of
from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.errors import CheckFailed, UsageError
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.tables import GRAINS, with_late_part
from retailpulse_kernel.stores.base import Expiring, ExpiringRows
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import topic_states
from retailpulse_kernel.stores.registry import event_archive, figure_store, row_store
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.checkpoint.batches import newest_epochs
from retailpulse_kernel.streaming.plan.finding import plans
from retailpulse_kernel.upkeep.closing import TABLE

__all__ = ["keep_archive", "keep_minutes", "keep_rows", "keep_topics"]


def keep_topics(settings: Settings, span: timedelta) -> list[str]:
    """Let Kafka delete messages of the jobs' topics, and bad and late messages, after some time.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    span : timedelta
        How long messages are kept.

    Raises
    ------
    CheckFailed
        A job has not taken messages that would go at once.
    """
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    require_own(settings, "Changing how long topics are kept")
    namespace = settings.namespace
    read = dict.fromkeys(
        [namespace.events_topic, *(namespace.topic(topic) for plan in plans(settings) for topic in plan.topics)]
    )
    there = {state.name for state in topic_states(settings) if state.exists}
    for topic in read:
        if topic in there:
            _require_taken(settings, topic, span)
    names = (*read, namespace.dlq_topic, namespace.late_topic)
    entry = ConfigEntry(
        "retention.ms", str(span // timedelta(milliseconds=1)), incremental_operation=AlterConfigOpType.SET
    )
    wanted = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in names if name in there]
    Admin(settings).configure(wanted)
    return [resource.name for resource in wanted]


def _require_taken(settings: Settings, topic: str, span: timedelta) -> None:
    first_kept = _offsets_at(settings, topic, datetime.now(UTC) - span)
    accounts = read_accounts(settings, further=True)
    taken = (
        newest_epochs((a for a in accounts if a.output == output), topic) for output in {a.output for a in accounts}
    )
    for job in (job for jobs in taken for job in jobs.values()):
        behind = sum(max(0, first - job.ends.get(partition, 0)) for partition, first in first_kept.items())
        if behind:
            raise CheckFailed(
                f"The job {job.name!r} has not taken {behind:,} messages that are older than {span}.",
                remedy="Let it catch up first, or keep the topic for longer.",
            )


def _offsets_at(settings: Settings, topic: str, moment: datetime) -> dict[int, int]:
    """The first offset of each partition that came at or after a time."""
    from confluent_kafka.admin import OffsetSpec

    bounds = KafkaStore(settings).offsets(topic)
    at = OffsetSpec.for_timestamp(int(moment.timestamp() * 1000))
    found = Admin(settings).offsets([(topic, partition) for partition in bounds], at)
    # Kafka answers -1 where nothing came since: then all of it is older.
    return {partition: bounds[partition][1] if offset < 0 else offset for (_, partition), offset in found.items()}


def keep_minutes(settings: Settings, span: timedelta) -> list[str]:
    """Let a store drop a figure by minute some time after it was written, and by any width below an hour; others stay.

    A backfill of an older range writes its minutes again, for as long. A store that can't do this keeps all, and a note
    says so.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    span : timedelta
        How long rows are kept.
    """
    changed: list[str] = []
    short = [
        (entry.store, table, grain)
        for entry in catalogue_of(settings).entries
        if (table := entry.figures) is not None
        for grain in table.every
        if grain.seconds < GRAINS["hour"].seconds
    ]
    for name, table, grain in short:
        with closing(figure_store(name, settings)) as store:
            if isinstance(store, Expiring):
                changed += [one for part in with_late_part(table) for one in store.expire(part, grain, span)]
            else:
                say(f"{name} lets no figures go by their age: those of {table.physical(grain)} stay.")
    return changed


def keep_rows(settings: Settings, span: timedelta, *, topics: timedelta) -> list[str]:
    """Let a store drop a row of a job's own tables some time after it was written, where a column tells its time.

    A table without such a column holds what is known of users, products and the like, not what has happened: its rows
    stay. A store that can't let rows go by their age keeps all, and a note says so.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    span : timedelta
        How long rows are kept.
    topics : timedelta
        How long messages are kept: reconciliation computes the rows of all messages again, and would miss those that
        are gone.

    Returns
    -------
    list of str
        The tables.

    Raises
    ------
    UsageError
        Rows would go before the messages that they were made of.
    """
    if span < topics:
        raise UsageError(
            f"Rows that are kept for {span} would go before their messages, which are kept for {topics}.",
            remedy="Keep rows for as long as messages, or for longer.",
        )
    changed: list[str] = []
    for entry in catalogue_of(settings).entries:
        if entry.plan.rows is None or not time_column_if_any(entry.plan.row_table):
            continue
        with closing(row_store(entry.store, settings)) as store:
            if isinstance(store, ExpiringRows):
                changed += store.expire_rows(entry.plan.row_table, span)
            else:
                say(f"{entry.store} lets no rows go by their age: those of {entry.name} stay.")
    return changed


def keep_archive(settings: Settings, span: timedelta, *, now: datetime | None = None) -> list[str]:
    """Remove the archive's days that are older than a span; only days that are closed go.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    span : timedelta
        How long days are kept.
    now : datetime, optional
        The present time, UTC, when absent.

    Returns
    -------
    list of str
        The days that went.
    """
    store = event_archive(settings)
    calendar = contract_of(settings).shop.calendar
    over = calendar.day_of((now or datetime.now(UTC)) - span).isoformat()
    try:
        tables = store.tables()
    except UsageError:  # there is no database yet
        return []
    if TABLE not in tables or store.table not in tables:
        return []
    closed = set(store.query(f"select distinct dt from {TABLE} where dt < :over", {"over": over})["dt"])
    days = {folder.parent.name.removeprefix("dt=") for folder in store.archive.partitions()}
    gone = sorted(day for day in days if _days_of_shop(day, calendar) <= closed)
    for day in gone:
        # Hive forgets the day first: a reader never looks for files that are gone.
        store.query(f"alter table {store.table} drop if exists partition (dt = :day)", {"day": day})
        with store.archive.lock:
            shutil.rmtree(store.location / f"dt={day}")
    return gone


def _days_of_shop(day: str, calendar: Calendar) -> set[str]:
    """The days of the shop in which a day of the archive, which is one of UTC, begins and ends."""
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return {calendar.day_of(moment).isoformat() for moment in (begin, begin + timedelta(days=1, microseconds=-1))}
