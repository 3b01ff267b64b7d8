"""Letting old data go: of the topics, of the figures by minute, of the archive; never what a job has yet to take."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

from retailpulse_kernel.errors import JobError, UsageError
from retailpulse_kernel.reconcile.batches import newest_epochs
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.cassandra import CassandraStore
from retailpulse_kernel.stores.hive import HiveStore
from retailpulse_kernel.stores.kafka import KafkaStore
from retailpulse_kernel.stores.kafka_config import client_config
from retailpulse_kernel.streaming.accounts import read_accounts
from retailpulse_kernel.tables import CATEGORY, GRAINS
from retailpulse_kernel.topics import TIMEOUT, topic_states
from retailpulse_kernel.upkeep.closing import TABLE

__all__ = ["keep_archive", "keep_minutes", "keep_topics"]


def keep_topics(settings: Settings, span: timedelta) -> list[str]:
    """Let Kafka delete messages of the topics of events, bad and late messages after some time.

    Raises
    ------
    JobError
        A job has not taken messages that would go at once.
    """
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    namespace = settings.namespace
    _require_taken(settings, span)
    names = (namespace.events_topic, namespace.dlq_topic, namespace.late_topic)
    there = {state.name for state in topic_states(settings) if state.exists}
    entry = ConfigEntry(
        "retention.ms", str(span // timedelta(milliseconds=1)), incremental_operation=AlterConfigOpType.SET
    )
    wanted = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in names if name in there]
    admin = AdminClient(client_config(settings))  # kept: its answers come only while it lives
    answers = admin.incremental_alter_configs(wanted) if wanted else {}
    for future in answers.values():
        future.result(timeout=TIMEOUT)
    return [resource.name for resource in answers]


def _require_taken(settings: Settings, span: timedelta) -> None:
    topic = settings.namespace.events_topic
    if not any(state.exists for state in topic_states(settings) if state.name == topic):
        return
    first_kept = _offsets_at(settings, topic, datetime.now(UTC) - span)
    for job in newest_epochs(read_accounts(settings), topic).values():
        behind = sum(max(0, first - job.ends.get(partition, 0)) for partition, first in first_kept.items())
        if behind:
            raise JobError(
                f"The job {job.name!r} has not taken {behind:,} messages that are older than {span}.",
                remedy="Let it catch up first, or keep the topic for longer.",
            )


def _offsets_at(settings: Settings, topic: str, moment: datetime) -> dict[int, int]:
    """The first offset of each partition that came at or after a time."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient, OffsetSpec

    bounds = KafkaStore(settings).offsets(topic)
    at = OffsetSpec.for_timestamp(int(moment.timestamp() * 1000))
    asked = {TopicPartition(topic, partition): at for partition in bounds}
    admin = AdminClient(client_config(settings))
    found = admin.list_offsets(asked, request_timeout=TIMEOUT)
    offsets = {place.partition: future.result(timeout=TIMEOUT).offset for place, future in found.items()}
    # Kafka answers -1 where nothing came since: then all of it is older.
    return {partition: bounds[partition][1] if offset < 0 else offset for partition, offset in offsets.items()}


def keep_minutes(settings: Settings, span: timedelta) -> list[str]:
    """Let Cassandra drop a figure by minute some time after it was written; those by hour and day stay.

    A backfill of an older range writes its minutes again, for as long.
    """
    store = CassandraStore(settings)
    table = CATEGORY.physical(GRAINS["minute"])
    if table not in store.tables():
        return []
    store.query(f"alter table {table} with default_time_to_live = {int(span.total_seconds())}")
    return [table]


def keep_archive(settings: Settings, span: timedelta, *, now: datetime | None = None) -> list[str]:
    """Remove the archive's days that are older than a span; only days that are closed go.

    Returns
    -------
    list of str
        The days that went.
    """
    store = HiveStore(settings)
    over = ((now or datetime.now(UTC)) - span).date().isoformat()
    try:
        tables = store.tables()
    except UsageError:  # there is no database yet
        return []
    if TABLE not in tables or store.table not in tables:
        return []
    closed = set(store.query(f"select distinct dt from {TABLE} where dt < :over", {"over": over})["dt"])
    gone = sorted({folder.parent.name.removeprefix("dt=") for folder in store.archive.partitions()} & closed)
    for day in gone:
        # Hive forgets the day first: a reader never looks for files that are gone.
        store.query(f"alter table {store.table} drop if exists partition (dt = :day)", {"day": day})
        with store.archive.lock:
            shutil.rmtree(store.location / f"dt={day}")
    return gone
