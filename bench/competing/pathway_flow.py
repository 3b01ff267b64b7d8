"""Pathway: two threads, parsed and folded by its engine, no persistence.

It has no decimal type: money is counted in ten-thousandths, which floats of 53 bits hold exactly.
"""

# ruff: noqa: D102, D103
from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import timedelta

import pathway as pw
from common import AHEAD_SECONDS, CURRENCIES, TASK, TYPES, Table, ends

SILENCE_SECONDS = 10.0


class Event(pw.Schema):
    """Every field may be absent or of another type: the engine drops what does not fit, with an error in its log."""

    event_id: str | None
    event_type: str | None
    event_time: str | None
    user_id: str | None
    session_id: str | None
    product_id: str | None
    category: str | None = pw.column_definition(default_value=None)
    price: str | None = pw.column_definition(default_value=None)
    quantity: int | None = pw.column_definition(default_value=1)
    currency: str | None = pw.column_definition(default_value="USD")
    order_id: str | None = pw.column_definition(default_value=None)
    order_line: int | None = pw.column_definition(default_value=None)
    schema_version: int | None = pw.column_definition(default_value=1)


class Upserts:
    """The table, and how many events are in it."""

    def __init__(self) -> None:
        self.table = Table()
        self._events: dict[tuple, int] = {}
        self._last_change = float("inf")
        self._writing = threading.Lock()

    def on_change(self, key: pw.Pointer, row: dict, time: int, is_addition: bool) -> None:
        if is_addition:
            place = (row["minute"] // 1_000_000_000, row["currency"], row["category"], row["event_type"])
            with self._writing:
                self.table.set(place, (row["events"], row["units"], row["amount"], row["orders"]))
                self._events[place] = row["events"]

    def on_time_end(self, _time: int) -> None:
        with self._writing:
            self.table.flush_if_due(sum(self._events.values()))
            self._last_change = time.monotonic()

    def end_in_silence(self) -> None:
        """A stream has no end for Pathway: end the process when nothing has come for some seconds."""
        while time.monotonic() - self._last_change < SILENCE_SECONDS:
            time.sleep(0.2)
            with self._writing:
                if self.table.changed:
                    self.table.flush_if_due(sum(self._events.values()))
        with self._writing:
            messages = sum(end - begin for begin, end in ends().values())
            self.table.marks[-1] = (messages, self.table.marks[-1][1])
            self.table.finish()
            os._exit(0)


def one_of(column: pw.ColumnExpression, values: tuple[str, ...]) -> pw.ColumnExpression:
    found = column == values[0]
    for value in values[1:]:
        found = found | (column == value)
    return found


upserts = Upserts()
messages = pw.io.kafka.read(
    {"bootstrap.servers": TASK["bootstrap"], "group.id": f"bench-{uuid.uuid4().hex}", "auto.offset.reset": "earliest"},
    topic=TASK["topic"],
    schema=Event,
    format="json",
    autocommit_duration_ms=1000,
)
present = messages.filter(
    pw.this.event_id.is_not_none()
    & pw.this.event_type.is_not_none()
    & pw.this.event_time.is_not_none()
    & pw.this.user_id.is_not_none()
    & pw.this.session_id.is_not_none()
    & pw.this.product_id.is_not_none()
)
typed = present.select(
    event_id=pw.unwrap(pw.this.event_id),
    event_type=pw.unwrap(pw.this.event_type),
    moment=pw.unwrap(pw.this.event_time).dt.strptime("%Y-%m-%dT%H:%M:%S.%fZ"),
    category=pw.coalesce(pw.this.category, "unknown"),
    amount=pw.cast(int, pw.coalesce(pw.this.price, "-1").str.parse_float(optional=False) * 10_000 + 0.5),
    has_price=pw.this.price.is_not_none(),
    quantity=pw.coalesce(pw.this.quantity, 1),
    currency=pw.coalesce(pw.this.currency, "USD"),
    has_order=pw.this.order_id.is_not_none(),
    order_line=pw.coalesce(pw.this.order_line, 0),
    schema_version=pw.coalesce(pw.this.schema_version, 1),
)
is_purchase, is_refund = pw.this.event_type == "purchase", pw.this.event_type == "refund"
# A cell that can't be computed, such as a time that is none, becomes an error value; its row is left out here.
valid = typed.remove_errors().filter(
    (pw.this.event_id != "")
    & one_of(pw.this.event_type, TYPES)
    & one_of(pw.this.currency, CURRENCIES)
    & (pw.this.schema_version == 1)
    & (pw.this.quantity >= 1)
    & (~pw.this.has_price | (pw.this.amount >= 0))
    & (pw.this.moment.dt.timestamp(unit="s") <= time.time() + AHEAD_SECONDS)
    & (~(is_purchase | is_refund) | (pw.this.has_price & pw.this.has_order & (pw.this.order_line >= 1)))
)
unique = valid.groupby(pw.this.event_id).reduce(
    event_type=pw.reducers.any(pw.this.event_type),
    currency=pw.reducers.any(pw.this.currency),
    category=pw.reducers.any(pw.this.category),
    minute=pw.reducers.any(pw.this.moment.dt.floor(timedelta(minutes=1)).dt.timestamp(unit="ns")),
    quantity=pw.reducers.any(pw.this.quantity),
    amount=pw.reducers.any(pw.this.amount),
    order_line=pw.reducers.any(pw.this.order_line),
)
sign = pw.if_else(pw.this.event_type == "purchase", 1, pw.if_else(pw.this.event_type == "refund", -1, 0))
figures = (
    unique.with_columns(
        units=sign * pw.this.quantity,
        amount=sign * pw.this.quantity * pw.this.amount,
        order=pw.if_else((pw.this.event_type == "purchase") & (pw.this.order_line == 1), 1, 0),
    )
    .groupby(pw.this.minute, pw.this.currency, pw.this.category, pw.this.event_type)
    .reduce(
        pw.this.minute,
        pw.this.currency,
        pw.this.category,
        pw.this.event_type,
        events=pw.reducers.count(),
        units=pw.reducers.sum(pw.this.units),
        amount=pw.reducers.sum(pw.this.amount),
        orders=pw.reducers.sum(pw.this.order),
    )
)
pw.io.subscribe(figures, on_change=upserts.on_change, on_time_end=upserts.on_time_end)

if __name__ == "__main__":
    threading.Thread(target=upserts.end_in_silence, daemon=True).start()
    pw.run(monitoring_level=pw.MonitoringLevel.NONE, terminate_on_error=False)
