"""Measures of every kind in windows of any width: the fold, a batch, the state and reconciliation say the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.answers.reading import chosen_figures, grouped, read_rows
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.spans import moment_at, ms_of
from retailpulse_kernel.reconcile.sums import Facts, TableSums
from retailpulse_kernel.shop import columns
from retailpulse_kernel.shop.comparison import comparable
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import (
    EVENTS,
    FIRST_EVENT,
    Figure,
    Measure,
    average_of,
    distinct_of,
    greatest_of,
    last,
    least_of,
    median_of,
    parts_of,
    quantile_of,
    sum_of,
    users_of,
    values_of,
)
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.kinds import Kind, Value, arrow_type
from retailpulse_kernel.shop.measuring.results import STANDARD
from retailpulse_kernel.shop.tables import FigureTable, grain_of
from retailpulse_kernel.streaming.plan.data import FigurePlan, Plan, RatioPlan, TablePlan
from retailpulse_kernel.streaming.run.changes import compare
from retailpulse_kernel.streaming.state.aggregation import dimensions_of, figures_of, rows_by_table, slots
from retailpulse_kernel.streaming.state.batch_sums import aggregate_batch
from retailpulse_kernel.streaming.state.window_state import WindowState
from tests.memory import MemoryStore

AVERAGE = average_of("price", title="Average price", where="purchase", unit="currency")
FIGURES = (
    EVENTS,
    *parts_of([AVERAGE]),
    Figure("lowest", "Lowest price", least_of("price"), unit="currency"),
    Figure("highest", "Highest line", greatest_of("price * quantity"), where="purchase", unit="currency"),
    Figure("fewest", "Fewest pieces", least_of("quantity")),
    Figure("most", "Most pieces", greatest_of("quantity"), where="purchase"),
    Figure("newest", "Newest", greatest_of("event_time")),
    FIRST_EVENT,
    Figure("discounted", "Discounted", sum_of("price * quantity * (1 - 0.075)"), "purchase - refund", "currency"),
    Figure("products", "Products", distinct_of("product_id")),
    Figure("prices", "Prices", distinct_of("price"), where="purchase"),
    Figure("p95", "95 % of lines", quantile_of("price * quantity", 0.95), where="purchase", unit="currency"),
    Figure("pieces", "Median of pieces", median_of("quantity")),
)
WIDTHS = ("5 minutes", "7m", "1 week", "1 month")
TABLE = FigureTable("prices", FIGURES, ("currency",), tuple(map(grain_of, WIDTHS)), (AVERAGE,))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(
    kind: str = "purchase",
    price: str | None = "2.50",
    quantity: int = 1,
    product: str = "p",
    seconds: float = 0,
    **more: Any,
) -> Event:
    at = NOON + timedelta(milliseconds=round(seconds * 1000))
    return Event(
        "e", kind, at, "u", "s", product, price=None if price is None else Decimal(price), quantity=quantity, **more
    )


PURCHASE, VIEW, FREE = event(price="10.10", quantity=2), event("view", price=None), event(price="0")


@pytest.mark.parametrize(
    ("measure", "kind", "values"),
    [
        (least_of("price"), Kind.LEAST_DECIMAL, [Decimal("10.10"), None, 0]),
        (greatest_of("price * quantity"), Kind.GREATEST_DECIMAL, [Decimal("20.20"), None, 0]),
        (least_of("price * 0.00015"), Kind.LEAST_DECIMAL, [Decimal("0.0015"), None, 0]),
        (least_of("price * 0.00005"), Kind.LEAST_DECIMAL, [Decimal("0.0005"), None, 0]),
        (greatest_of("quantity"), Kind.GREATEST, [2, 1, 1]),
        (least_of("order_line"), Kind.LEAST, [None, None, None]),
        (least_of("event_time"), Kind.FIRST, [NOON] * 3),
        (greatest_of("event_time"), Kind.LAST, [NOON] * 3),
        (values_of("price"), Kind.VALUES, [1, None, 1]),
        (distinct_of("product_id"), Kind.USERS, ["p"] * 3),
        (distinct_of("price"), Kind.DISTINCT, ["10.1000", None, "0.0000"]),
        (distinct_of("quantity"), Kind.DISTINCT, ["2.0000", "1.0000", "1.0000"]),
        (quantile_of("price", 0.9), Kind.QUANTILE_DECIMAL, [Decimal("10.10"), None, 0]),
        (median_of("quantity"), Kind.QUANTILE, [2, 1, 1]),
        (sum_of("price * quantity * 0.5"), Kind.MONEY, [Decimal("10.10"), 0, 0]),
        (sum_of("price * 0.00015"), Kind.MONEY, [Decimal("0.0015"), 0, 0]),
        (sum_of("quantity * 0.5"), Kind.MONEY, [1, Decimal("0.5"), Decimal("0.5")]),
    ],
)
def test_what_an_event_adds(measure: Measure, kind: Kind, values: list[Any]) -> None:
    figure = Figure("f", "F", measure)
    assert (measure.kind, [figure.of_event(one) for one in (PURCHASE, VIEW, FREE)]) == (kind, values)


def test_a_half_is_rounded_up_as_in_spark() -> None:
    halves = Figure("f", "F", sum_of("price * 0.00005"), where="purchase - refund")
    assert [halves.of_event(event(kind, price="1")) for kind in ("purchase", "refund")] == [
        Decimal("0.0001"),
        Decimal("-0.0001"),
    ]
    assert halves.sql == (
        "CAST((CAST(coalesce((`price` * 0.00005), 0) AS DECIMAL(27,13)) * (CAST((event_type = 'purchase') AS INT) - "
        "CAST((event_type = 'refund') AS INT))) AS DECIMAL(18,4))"
    )


@pytest.mark.parametrize(
    ("make", "expression", "why"),
    [
        (least_of, "brand", "is a text"),
        (least_of, "brand * 2", "text or a time"),
        (median_of, "brand", "is a text"),
        (median_of, "event_time", "is a time"),
        (distinct_of, "event_time", "is a time, and this measure is of a text, a whole number or a decimal"),
        (average_of, "brand", "is a text, and this measure is of a whole number or a decimal"),
        (average_of, "price * 2", "no name"),
        (sum_of, "price * 0.12345678901234567890", "too many digits"),
        (sum_of, "price * 1e999", "too many digits"),
        (sum_of, "price * price * quantity * 0.123456789", "38 that are calculated exactly"),
        (sum_of, "price * 0.1234567891", "14 digits behind the point: more than the 13"),
    ],
)
def test_what_can_not_be_measured_is_refused_with_the_reason(make: Any, expression: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        make(expression)


def test_a_column_that_is_not_there_is_told() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'price'"):
        least_of("prise").typed(STANDARD)


def test_figures_and_ratios_are_read_back_from_a_plan() -> None:
    plan = TablePlan.describing(TABLE, "cassandra")
    assert plan.every == ("minutes_5", "minutes_7", "week", "month")
    assert plan.physical == ("prices_5m", "prices_7m", "prices_week", "prices_month")
    found = plan.table
    assert [*map(FigurePlan.describing, found.figures)] == [*map(FigurePlan.describing, FIGURES)]
    assert TablePlan.describing(found, "cassandra") == plan
    assert plan.ratios == (RatioPlan("average_price", "average_price_sum", "average_price_count"),)
    assert found.ratios[0].divide(Decimal("7.5"), 2) == Decimal("3.75")


_events = st.builds(
    event,
    st.sampled_from(["view", "purchase", "refund"]),
    st.one_of(st.none(), st.decimals(0, 10**9, places=4).map(str)),
    st.integers(1, 10_000),
    st.sampled_from("abc"),
    st.one_of(st.floats(0, 3_000), st.floats(0, 5_000_000)),
    currency=st.sampled_from(["USD", "EUR"]),
)


def compared(rows: Sequence[dict[str, Any]]) -> dict[tuple[Any, ...], Any]:
    """Rows of one width by their key; sketches as what they estimate."""
    starts = {grain.name for grain in TABLE.every}
    return {(*(row[name] for name in row if name in starts), row["currency"]): comparable(TABLE, row) for row in rows}


def added(events: Sequence[Event]) -> pa.Table:
    """What each event adds, as Spark's columns are: decimals narrower than stored ones, sketched values as texts."""
    types = {Value.DECIMAL: pa.decimal128(18, 4), Value.SKETCH: pa.string()}
    numbers = {Kind.QUANTILE: pa.int64(), Kind.QUANTILE_DECIMAL: pa.decimal128(18, 4)}
    arrays = {"end": pa.array([one.event_time for one in events], arrow_type(Value.TIME))}
    arrays |= {name: pa.array([getattr(one, name) for one in events], pa.string()) for name in dimensions_of([TABLE])}
    for figure in figures_of([TABLE]):
        kind = numbers.get(figure.measure.kind) or types.get(figure.rules.value) or arrow_type(figure.rules.value)
        nothing = 0 if figure.rules.is_added else None
        values = [nothing if (value := figure.of_event(one)) is None else value for one in events]
        arrays[figure.name] = pa.array(values, kind)
    return pa.table(arrays)


@given(st.lists(st.lists(_events, max_size=12), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_batch_state_and_reconciliation_are_the_fold(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Event]]
) -> None:
    everything = [one for batch in batches for one in batch]
    truth = {grain: compared(fold(everything, TABLE, grain)) for grain in TABLE.every}

    once = rows_by_table(aggregate_batch(added(everything), [TABLE]), [TABLE])
    assert {grain: compared(rows.to_pylist()) for (_, grain), rows in once.items()} == {
        g: t for g, t in truth.items() if t
    }

    state = WindowState(tmp_path_factory.mktemp("state"), slots([TABLE]))
    kept: dict[Any, dict[Any, Any]] = defaultdict(dict)
    for number, batch in enumerate(batches):
        parts = aggregate_batch(added(batch), [TABLE])
        for _ in range(2):  # a batch that is done again changes nothing
            result = state.update(parts, batch=number, watermark_ms=0)
        for (_, grain), rows in rows_by_table(result, [TABLE]).items():
            kept[grain] |= compared(rows.to_pylist())
    assert kept == {grain: rows for grain, rows in truth.items() if rows}

    sums, facts = TableSums(TABLE), Facts([TABLE])
    for batch in batches:
        sums.add(facts(batch, [ms_of(one.event_time) for one in batch]))
    for grain in TABLE.every:
        named = [
            dict(
                zip(
                    (grain.name, "currency", *(f.name for f in FIGURES)),
                    (moment_at(key[0]), *key[1:], *values),
                    strict=True,
                )
            )
            for key, values in sums.rows(grain).items()
        ]
        assert compared(named) == truth[grain]


@given(st.lists(_events, min_size=1, max_size=20))
@settings(deadline=None, max_examples=40)
def test_columns_are_the_fold(events: list[Event]) -> None:
    summed = [figure for figure in FIGURES if figure.rules.is_added]
    names = ("event_type", "event_time", "price", "quantity", "currency", "product_id", "order_line")
    types = {"price": pa.decimal128(18, 4), "quantity": pa.int32(), "order_line": pa.int32()}
    table = pa.table({n: pa.array([getattr(one, n) for one in events], types.get(n)) for n in names})
    found = {row.pop("currency"): row for row in columns.sums(table, ["currency"], summed).to_pylist()}
    for currency, row in found.items():
        for figure in summed:
            mine = [figure.of_event(one) for one in events if one.currency == currency]
            assert row[figure.name] == figure.combine(mine)


def test_the_state_lets_a_window_go_when_it_is_over_and_not_before(tmp_path: Path) -> None:
    """A window of 7 minutes that begins in one hour and ends in the next stays with its hour until it is over."""
    seven = grain_of("7m")
    table = FigureTable("t", (EVENTS,), ("currency",), (seven,))
    state = WindowState(tmp_path, slots([table]))
    crossing = seven.start(datetime(2026, 3, 1, 10, 59, 59, tzinfo=UTC))
    assert crossing.hour == 10 and seven.end(crossing) > NOON - timedelta(hours=1)
    parts = pa.table({
        "slot": pa.array([0], pa.int32()), "end": pa.array([seven.end(crossing)], arrow_type(Value.TIME)),
        "currency": ["USD"], "events": pa.array([1], pa.int64()),
    })  # fmt: skip
    eleven_ms, end_ms = ms_of(NOON - timedelta(hours=1)), ms_of(seven.end(crossing))
    for batch in range(30):  # a window goes when no batch that can be undone needs it
        found = state.update(parts, batch=batch, watermark_ms=eleven_ms)
        assert found["events"].to_pylist() == [batch + 1]
    for batch in range(30, 60):
        state.update(parts.slice(0, 0), batch=batch, watermark_ms=end_ms)
    assert state.count == 0


class TestReading:
    EVERY = (
        event(price="1", seconds=0),
        event(price="4", quantity=3, seconds=240),
        event("view", price=None, seconds=299),
        event(price="2.5", product="q", seconds=301),
        event(price="7", seconds=40 * 86_400),
    )

    @pytest.fixture
    def store(self) -> MemoryStore:
        store = MemoryStore()
        store.create(TABLE)
        for grain in TABLE.every:
            store.write(TABLE, grain, fold(self.EVERY, TABLE, grain), version=1)
        return store

    def test_an_average_is_over_what_has_a_value_of_all_windows_at_once(self, store: MemoryStore) -> None:
        rows = read_rows(store, TABLE, since=None, until=None, grain=grain_of("month"), figures=parts_of([AVERAGE]))
        (all_of_them,) = grouped(rows, ["currency"], TABLE, chosen_figures(["average_price"], TABLE))
        assert all_of_them["average_price"] == Decimal("3.6250")
        by_month = grouped(rows, ["bucket", "currency"], TABLE, [AVERAGE])
        assert [row["average_price"] for row in by_month] == [Decimal("2.5"), Decimal("7")]

    def test_windows_that_are_not_kept_are_added_up_of_those_that_are(self, store: MemoryStore) -> None:
        lowest = [figure for figure in FIGURES if figure.name in ("lowest", "most", "products", "pieces")]
        rows = read_rows(
            store, TABLE, since=NOON, until=NOON + timedelta(hours=1), grain=grain_of("10m"), figures=lowest
        )
        (ten,) = grouped(rows, ["bucket", "currency"], TABLE, lowest)
        assert (ten["bucket"], ten["lowest"], ten["most"], ten["products"]) == (NOON, Decimal("1"), 3, 2)
        assert ten["pieces"] == 1

    def test_a_range_of_whole_windows_takes_weeks_and_fills_its_ends(self, store: MemoryStore) -> None:
        since, until = NOON + timedelta(minutes=5), NOON + timedelta(days=41)
        rows = read_rows(store, TABLE, since=since, until=until, grain=grain_of("week"), figures=(EVENTS,))
        assert sum(row["events"] for row in rows) == 2
        assert {row["bucket"].weekday() for row in rows} == {0}

    def test_a_range_that_begins_within_a_window_is_refused(self, store: MemoryStore) -> None:
        since = NOON + timedelta(minutes=2)
        with pytest.raises(UsageError, match=r"12:02:00Z is not the start of a window of 5 minutes.*12:00:00Z and"):
            read_rows(store, TABLE, since=since, until=NOON + timedelta(hours=1), grain=grain_of("hour"))


def test_one_name_for_two_figures_of_a_job_is_refused() -> None:
    """Both would have been the later one."""
    other = replace(TABLE, name="other", figures=(Figure("lowest", "Lowest", least_of("price"), where="purchase"),))
    assert figures_of([TABLE, replace(TABLE, name="same")]) == list(FIGURES)
    with pytest.raises(UsageError, match=r"two figures 'lowest'.*'other'"):
        figures_of([TABLE, other])


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (("5m", "7m"), "prices_week, prices_month is no longer written: its rows stay as they are"),
        (
            ("5m", "1w"),
            "the grouping key of prices changed from 5 minutes, 7 minutes, week, month to 5 minutes, week: "
            "the state can't be reused",
        ),
    ],
)
def test_the_gate_tells_which_windows_changed(now: tuple[str, ...], said: str) -> None:
    changed = replace(TABLE, every=tuple(map(grain_of, now)))
    old, new = (
        Plan("job", "t", "event_id", 0, (), "change", "count", (TablePlan.describing(table, "hbase"),))
        for table in (TABLE, changed)
    )
    assert [difference.reason for difference in compare(old, new)] == [said]


def test_users_are_what_they_were() -> None:
    assert distinct_of("user_id") == users_of("user_id") == Measure(Kind.USERS, "user_id")
    assert least_of("event_time") == FIRST_EVENT.measure and greatest_of("event_time") == last("event_time")
