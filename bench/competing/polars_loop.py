"""confluent-kafka and polars in a plain loop: fast, and nothing of it outlives the process."""

# ruff: noqa: D103
from __future__ import annotations

import io
import time

import orjson
import polars as pl
from common import AHEAD_SECONDS, CURRENCIES, TASK, TYPES, Table, ends
from confluent_kafka import Consumer, TopicPartition

TUNED = {"queued.min.messages": 1_000_000, "fetch.queue.backoff.ms": 10}
TEXTS = (
    "event_id", "event_type", "event_time", "user_id", "session_id", "product_id", "category", "price", "quantity",
    "currency", "order_id", "order_line", "schema_version",
)  # fmt: skip
SCHEMA = dict.fromkeys(TEXTS, pl.String)
KEY = ("minute", "currency", "category", "event_type")


def main() -> None:
    bounds = ends()
    consumer = Consumer(
        {
            "bootstrap.servers": TASK["bootstrap"],
            "group.id": "bench",
            "enable.auto.commit": False,
            **(TUNED if TASK["tuned"] else {}),
        }
    )
    consumer.assign([TopicPartition(TASK["topic"], p, begin) for p, (begin, _) in bounds.items()])
    table = Table()
    seen: set[str] = set()
    totals: dict[tuple, tuple] = {}
    left = sum(end - begin for begin, end in bounds.values())
    done = 0
    while done < left:
        messages = consumer.consume(50_000, timeout=0.2)
        if messages:
            events = read([message.value() for message in messages])
            add(totals, table, fresh(events, seen))
            done += len(messages)
        table.flush_if_due(done)
    table.flush(done)
    consumer.close()
    table.finish()


def read(values: list[bytes | None]) -> pl.DataFrame:
    """The valid events of some messages."""
    # One line that is no JSON fails the whole block, `ignore_errors` or not.
    objects = [value for value in values if value and value[:1] == b"{" and value[-1:] == b"}"]
    try:
        raw = pl.read_ndjson(io.BytesIO(b"\n".join(objects)), schema=SCHEMA)
    except pl.exceptions.PolarsError:
        raw = pl.read_ndjson(io.BytesIO(b"\n".join([value for value in objects if is_object(value)])), schema=SCHEMA)
    order = pl.col("event_type").is_in(["purchase", "refund"])
    sign = pl.when(pl.col("event_type") == "purchase").then(1).when(pl.col("event_type") == "refund").then(-1)
    events = raw.with_columns(
        time=pl.col("event_time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", strict=False, time_unit="ms"),
        amount=pl.col("price").cast(pl.Decimal(18, 4), strict=False),
        count=pl.col("quantity").fill_null("1").cast(pl.Int64, strict=False),
        line=pl.col("order_line").cast(pl.Int64, strict=False),
        currency=pl.col("currency").fill_null("USD"),
        category=pl.when(pl.col("category") == "").then(None).otherwise(pl.col("category")).fill_null("unknown"),
        sign=sign.otherwise(0),
    ).filter(
        pl.col("event_id").str.len_bytes().is_between(1, 128),
        pl.col("event_type").is_in(TYPES),
        pl.col("time") <= pl.lit(int((time.time() + AHEAD_SECONDS) * 1000)).cast(pl.Datetime("ms")),
        pl.col("user_id").is_not_null(),
        pl.col("session_id").is_not_null(),
        pl.col("product_id").is_not_null(),
        pl.col("price").is_null() | (pl.col("amount") >= 0),
        pl.col("count") >= 1,
        pl.col("currency").is_in(CURRENCIES),
        pl.col("schema_version") == "1",
        ~order | (pl.col("amount").is_not_null() & pl.col("order_id").is_not_null() & (pl.col("line") >= 1)),
    )
    return events.select(
        "event_id",
        (pl.col("time").dt.epoch("s") // 60 * 60).alias("minute"),
        *KEY[1:],
        units=pl.col("sign") * pl.col("count"),
        revenue=(pl.col("amount").fill_null(0) * 10_000).cast(pl.Int64) * pl.col("sign") * pl.col("count"),
        orders=((pl.col("event_type") == "purchase") & (pl.col("line") == 1)).cast(pl.Int64),
    )


def is_object(value: bytes) -> bool:
    try:
        return isinstance(orjson.loads(value), dict)
    except ValueError:
        return False


def fresh(events: pl.DataFrame, seen: set[str]) -> pl.DataFrame:
    """Events whose id was not seen before; the ids are kept for ever."""
    events = events.unique("event_id", keep="first")
    ids = events["event_id"].to_list()
    events = events.filter(pl.Series([event_id not in seen for event_id in ids], dtype=pl.Boolean))
    seen.update(ids)
    return events


def add(totals: dict, table: Table, events: pl.DataFrame) -> None:
    sums = events.group_by(KEY).agg(pl.len(), pl.col("units", "revenue", "orders").sum())
    for row in sums.iter_rows():
        key, part = row[:4], row[4:]
        totals[key] = values = tuple(map(sum, zip(totals.get(key, (0, 0, 0, 0)), part, strict=True)))
        table.set(key, values)


if __name__ == "__main__":
    main()
