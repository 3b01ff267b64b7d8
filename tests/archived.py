"""Events in an archive without Spark: the files that the job "archive" writes, with Spark's types."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retailpulse_kernel.shop.events import Event, to_message
from retailpulse_kernel.stores.hive.archive import Archive, arrow_schema

__all__ = ["archive_events"]

_SCHEMA = pa.schema([*arrow_schema(), *arrow_schema(["raw"])])
_TIMES = ("event_time", "arrival")


def archive_events(
    archive: Archive,
    events: Iterable[Event],
    *,
    batch: int = 0,
    late: bool = False,
    places: Sequence[tuple[int, int, datetime]] = (),
) -> None:
    """Put events into the archive as one micro-batch; `places` are the partition, offset and arrival of each."""
    by_hour: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for offset, event in enumerate(events):
        at = event.event_time.replace(tzinfo=None)
        row = {name: getattr(event, name) for name in Event.__struct_fields__ if name != "schema_version"}
        row |= {
            "event_time": at, "arrival": at, "late": late, "kafka_partition": batch, "kafka_offset": offset,
            "raw": to_message(event).decode(),
        }  # fmt: skip
        if places:
            partition, at_offset, arrival = places[offset]
            row |= {"kafka_partition": partition, "kafka_offset": at_offset, "arrival": arrival.replace(tzinfo=None)}
        by_hour[f"{at:%Y-%m-%d}", at.hour].append(row)
    fields = [pa.field(f.name, pa.timestamp("us") if f.name in _TIMES else f.type, f.name != "late") for f in _SCHEMA]
    schema = pa.schema(fields, metadata={"org.apache.spark.version": "4.2.1"})
    staging = archive.staging(1, batch)
    for (day, hour), rows in by_hour.items():
        folder = staging / f"dt={day}" / f"hour={hour}"
        folder.mkdir(parents=True, exist_ok=True)
        arrays = [pa.array([row[f.name] for row in rows], f.type) for f in fields]
        table = pa.Table.from_arrays(arrays, schema=schema)
        pq.write_table(
            table, folder / "part-0.parquet", use_deprecated_int96_timestamps=True,
            store_decimal_as_integer=True, store_schema=False, compression="snappy",
        )  # fmt: skip
    archive.put(1, batch)
