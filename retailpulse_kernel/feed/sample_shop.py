"""A small shop in every store at once, without a job and without Spark: what tours and tests look at.

>>> fill(Workbench(namespace="tour"))  # doctest: +SKIP
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.feed.replay import send
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Namespace
from retailpulse_kernel.ground.spans import moment_at
from retailpulse_kernel.shop.events import Event, parse_event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, SESSION, USER
from retailpulse_kernel.stores.base import EventArchive
from retailpulse_kernel.stores.hive.archive import ARCHIVE_COLUMNS, Staged, arrow_schema
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop

if TYPE_CHECKING:
    from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["fill"]

_CURRENCIES = {"USD": 0.8, "EUR": 0.2}


def fill(bench: Workbench, *, events: int = 4_000, hours: int = 2, seed: int = 1) -> list[Event]:
    """Empty a namespace and fill it: the topic, the figures in Cassandra and HBase, the archive in Hive.

    The stores hold what the three jobs would have written.

    Parameters
    ----------
    bench : Workbench
        Its namespace, which is not the default one.
    events : int
        How many.
    hours : int
        How far back the first one is.
    seed : int
        The same seed gives the same shop, at other times.

    Returns
    -------
    list of Event
        What was sent.

    Raises
    ------
    UsageError
        It is the default namespace, whose figures are real.
    """
    settings = bench.settings
    if settings.namespace.name == Namespace.DEFAULT:
        raise UsageError(
            "The default namespace is not filled with a sample.", remedy="Write `%rp connect --namespace tour` first."
        )
    drop(settings)
    ensure_topics(settings)
    seconds = hours * 3600
    shop = Generator(
        rate=events / seconds, seconds=seconds, seed=seed, start=datetime.now(UTC) - timedelta(seconds=seconds),
        users=max(events // 20, 1), currencies=_CURRENCIES,
    )  # fmt: skip
    send(settings, shop.messages(), paced=False)
    messages = list(bench.kafka.messages())
    sold = [parse_event(message.value) for message in messages]
    for store, tables in ((bench.serving, (CATEGORY,)), (bench.hbase, (SESSION, USER))):
        for table in tables:
            store.create(table)
            for grain in table.every:
                store.write(table, grain, fold(sold, table, grain), version=1)
    rows = [_archived(message, event) for message, event in zip(messages, sold, strict=True)]
    _archive(bench.hive, rows)
    return sold


def _archived(message: Any, event: Event) -> dict[str, Any]:
    """A row of the archive."""
    row = {name: getattr(event, name) for name in ARCHIVE_COLUMNS if hasattr(event, name)}
    return row | {
        "late": False,
        "kafka_partition": message.partition,
        "kafka_offset": message.offset,
        "arrival": moment_at(message.arrival_ms),
        "raw": message.value.decode(),
    }


def _archive(hive: EventArchive, rows: list[dict[str, Any]]) -> None:
    """Put rows into the archive as a job's first batch, in the types that Spark writes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    hive.create()
    by_hour: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        moment = row["event_time"]
        by_hour[f"dt={moment:%Y-%m-%d}/hour={moment.hour}"].append(row)
    staging = hive.archive.staging(1, 0)
    for hour, members in by_hour.items():
        folder = staging / hour
        folder.mkdir(parents=True)
        table = pa.Table.from_pylist(members, arrow_schema(tuple(ARCHIVE_COLUMNS)))
        pq.write_table(
            table, folder / "part-0.parquet", use_deprecated_int96_timestamps=True, store_decimal_as_integer=True,
            store_schema=False, compression="snappy",
        )  # fmt: skip
    hive.put(Staged(1, 0, len(rows), frozenset(by_hour)))
