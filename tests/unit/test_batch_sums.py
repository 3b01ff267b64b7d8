"""What events add to their windows: the same as the plain fold says, in whatever order and however large."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, FIRST_EVENT, LAST_EVENT, REVENUE, UNITS
from retailpulse_kernel.shop.kinds import Kind
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from retailpulse_kernel.streaming.state.aggregation import slots
from retailpulse_kernel.streaming.state.batch_sums import aggregate_batch

FIGURES = (EVENTS, UNITS, REVENUE, FIRST_EVENT, LAST_EVENT, ACTIVE_USERS)
TABLES = (
    FigureTable("category", FIGURES, ("currency", "category"), (GRAINS["hour"], GRAINS["minute"], GRAINS["day"])),
    FigureTable("user", FIGURES[:2], ("user_id",), (GRAINS["day"],)),
)
_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    {
        "end": _TIME, "category": pa.string(), "currency": pa.string(), "user_id": pa.string(),
        "events": pa.int64(), "units": pa.int64(), "revenue": pa.decimal128(18, 4),
        "first_event": _TIME, "last_event": _TIME, "active_users": pa.string(),
    }
)  # fmt: skip
START = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)


def event(seconds: float = 0, category: str | None = "tea", user: str | None = "ann", **figures: Any) -> Any:
    moment = START + timedelta(seconds=seconds)
    adds = {"events": 1, "units": 1, "revenue": Decimal("1.5"), "first_event": moment, "last_event": moment}
    key = {"end": moment, "category": category, "currency": "USD", "user_id": user}
    return key | adds | {"active_users": user} | figures


def of(events: list[Any], tables: tuple[FigureTable, ...] = TABLES) -> dict[tuple[Any, ...], Any]:
    """The figures by slot, end and dimensions; users as what they estimate."""
    rows = aggregate_batch(pa.Table.from_pylist(events, schema=SCHEMA), tables).to_pylist()
    names = ("slot", "end", "category", "currency", "user_id")
    found = {tuple(row.pop(name) for name in names): row for row in rows}
    assert len(found) == len(rows), "each window and key once"
    return {key: row | {"active_users": sketches.estimate(row["active_users"])} for key, row in found.items()}


def fold(events: list[Any]) -> dict[tuple[Any, ...], Any]:
    """The same by the figures' own rule, event by event. A sketch leaves out the empty text, in Spark too."""
    parts: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for one in events:
        for slot, (table, grain) in enumerate(slots(TABLES)):
            key = tuple(one[name] if name in table.by else None for name in ("category", "currency", "user_id"))
            parts[slot, grain.start(one["end"]) + grain.width, *key].append(one)
    return {
        key: {f.name: len({one["active_users"] for one in some} - {None, ""}) if f.measure.kind is Kind.USERS
              else f.combine(one[f.name] for one in some) for f in FIGURES}
        for key, some in parts.items()
    }  # fmt: skip


_events = st.builds(
    event,
    st.floats(0, 7_200),
    st.sampled_from(["tea", "tea.green", "", None]),
    st.sampled_from(["ann", "bob", "", None]),
    units=st.integers(-3, 3),
    revenue=st.decimals(-(10**14) + 1, 10**14 - 1, places=4),
    first_event=st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
)


@given(st.lists(_events, max_size=40))
@settings(deadline=None)
def test_it_is_the_fold(events: list[Any]) -> None:
    assert of(events) == fold(events)


def test_what_does_not_fit_is_an_error() -> None:
    most = 2**63 - 1
    assert of([event(units=most), event(units=-most), event(units=most)])[1, START + timedelta(minutes=1), "tea",
              "USD", None]["units"] == most  # fmt: skip
    with pytest.raises(OverflowError, match="units"):
        of([event(units=most), event(units=1)])


def test_many_users_are_counted_in_every_window() -> None:
    events = [event(number % 7_200, user=f"u{number}") for number in range(20_000)]
    found = of(events)
    days = {key[1]: row["active_users"] for key, row in found.items() if key[0] == 2}
    truth = {end: len({one["user_id"] for one in events if GRAINS["day"].start(one["end"]) + timedelta(1) == end})
             for end in days}  # fmt: skip
    assert len(days) == 2 and days == pytest.approx(truth, rel=0.02)
