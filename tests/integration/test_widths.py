"""A job with windows of 5 minutes, a week and a month and with measures of every kind, killed and resumed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import nbformat
import pandas as pd
import pyarrow as pa
import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.events import Event, parse_event
from retailpulse_kernel.shop.figures import Figure, quantile_of
from retailpulse_kernel.shop.tables import grain_of
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.upkeep.retention import keep_minutes
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import JobProcess, consumed, produce, run_here, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

JOB = """
import retailpulse_kernel as rp
from retailpulse_kernel.shop.figures import EVENTS, REVENUE, Figure
from retailpulse_kernel.shop.figures import average_of, distinct_of, greatest_of, least_of, sum_of
from retailpulse_kernel.shop.figures import median_of, quantile_of

job = rp.job("prices", run=run)
events = job.events(rejects="count")
measured = [
    EVENTS,
    REVENUE,
    average_of("price", where="purchase", unit="currency"),
    Figure("lowest", "Lowest price", least_of("price"), where="purchase", unit="currency"),
    Figure("highest", "Highest line", greatest_of("price * quantity"), unit="currency"),
    Figure("most", "Most pieces", greatest_of("quantity"), where="purchase"),
    Figure("newest", "Newest", greatest_of("event_time"), where="purchase"),
    Figure("discounted", "Discounted", sum_of("price * quantity * (1 - 0.0725)"), "purchase - refund", "currency"),
    Figure("products", "Products", distinct_of("product_id")),
    Figure("prices", "Different prices", distinct_of("price")),
    Figure("p95", "95 % of prices", quantile_of("price", 0.95), where="purchase", unit="currency"),
    Figure("pieces", "Median of pieces", median_of("quantity")),
]
every = ["5 minutes", "1 week", "1 month"]
by_category = events.figures(*measured, by=["currency", "category"], every=every, table="prices")
by_user = events.figures(*measured, by=["user_id", "currency"], every=["7m", "2 hours", "1 week"], table="visits")
job.write(by_category, to=rp.cassandra)
job.write(by_user, to=rp.hbase)
job.run()
"""
PARAMETERS = (
    'from typing import Literal\n\nrun: Literal["continuous", "available_now", "backfill"] = "available_now"  # how'
)


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Iterator[Settings]:
    made = Settings.load(namespace="t_widths")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


def sent(settings: Settings, seed: int, start: datetime) -> list[Event]:
    """Events of two minutes in a topic, some of them twice; each once."""
    generator = Generator(
        rate=50, seconds=60, seed=seed, duplicates=0.05, late=0, bad=0, currencies={"EUR": 1, "USD": 3}, start=start
    )
    messages: list[Any] = [(message.key, message.value) for message in generator.messages()]
    produce(settings, messages)
    return list({(one := parse_event(value)).event_id: one for _, value in messages}.values())


@pytest.fixture(scope="module")
def rp(settings: Settings, events: list[Event]) -> Iterator[Workbench]:
    """The workbench, after the job has taken all events; left in order."""
    made = Workbench(namespace=settings.namespace_name)
    yield made
    made.cassandra.close()
    made.hbase.close()


@pytest.fixture(scope="module")
def events(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The events that the job has taken, in a run that was killed and in one that went on."""
    folder = tmp_path_factory.mktemp("widths")
    notebook, now = folder / "prices.ipynb", datetime.now(UTC)
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(JOB)]
    kernel = {"kernelspec": {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebook)
    found = sent(settings, 1, now - timedelta(days=40))
    job = JobProcess(settings, str(notebook.with_suffix("")), folder / "log")  # a path is found as a shipped name is
    try:
        wait_until(lambda: job.process.poll() is not None or consumed(settings, "prices") > 0, "the first batch")
        assert job.process.poll() is None, (folder / "log").read_text()
        found += sent(settings, 2, now - timedelta(hours=3))
    finally:
        job.kill()
    found += sent(settings, 3, now - timedelta(hours=2))
    run_here(settings, notebook)
    return found


def test_what_was_killed_and_resumed_is_reconciled(settings: Settings, events: list[Event]) -> None:
    result = reconcile(settings)
    assert result.outcome == "equal", [*result.differences, *result.unchecked]
    rows = {check.table: check.rows for check in result.tables if check.job == "prices"}
    assert set(rows) == {"prices_5m", "prices_week", "prices_month", "visits_7m", "visits_2h", "visits_week"}
    assert all(rows.values())
    for table, every in (("prices_month", "1 month"), ("prices_5m", "5 minutes")):
        grain = grain_of(every)
        keys = {(grain.start(one.event_time), one.currency, one.category) for one in events}
        assert rows[table] == len(keys), table


@pytest.mark.parametrize("every", ["5 minutes", "15m", "1 week", "2 weeks", "1 month", "3 months"])
def test_what_is_read_is_a_plain_calculation(rp: Workbench, events: list[Event], every: str) -> None:
    names = ["events", "average_price", "lowest", "highest", "most", "newest", "discounted", "p95", "pieces",
             "products", "prices"]  # fmt: skip
    grain = grain_of(every)
    frame = rp.figures(*names, by=["bucket", "currency"], every=every, table="prices")
    windows: dict[tuple[datetime, str], list[Event]] = defaultdict(list)
    for one in events:
        windows[grain.start(one.event_time), one.currency].append(one)
    stored = {
        (row.bucket.to_pydatetime(), row.currency): [getattr(row, name) for name in names] for row in frame.itertuples()
    }
    assert stored.keys() == windows.keys()
    for key, members in windows.items():
        *exact, p95, pieces, products, prices = (None if pd.isna(value) else value for value in stored[key])
        *expected, dear, usual, some, more = measured(members)
        assert exact == expected, key
        assert (p95, pieces) == (dear and pytest.approx(dear, rel=Decimal("0.0101")), usual), key
        # A sketch is exact up to some 3,000 values.
        assert (products, prices) == pytest.approx((some, more), abs=0 if more < 3_000 else 0.02 * more), key


def measured(members: list[Event]) -> list[Any]:
    bought = [one for one in members if one.event_type == "purchase"]
    prices = [one.price for one in bought if one.price is not None]
    lines = [one.price * one.quantity for one in members if one.price is not None]
    signs = {"purchase": 1, "refund": -1}
    part, rest = Decimal("0.0001"), Decimal("0.9275")
    discounted = [
        (one.price * one.quantity * rest * signs[one.event_type]).quantize(part, ROUND_HALF_UP)
        for one in members
        if one.event_type in signs and one.price is not None
    ]
    return [
        len(members),
        (sum(prices) / Decimal(len(prices))).quantize(part, ROUND_HALF_UP) if prices else None,
        min(prices, default=None),
        max(lines, default=None),
        max((one.quantity for one in bought), default=None),
        max((one.event_time for one in bought), default=None),
        sum(discounted, Decimal(0)),
        sorted(prices)[(len(prices) - 1) * 95 // 100] if prices else None,
        sorted(one.quantity for one in members)[(len(members) - 1) // 2],
        len({one.product_id for one in members}),
        len({one.price for one in members if one.price is not None}),
    ]


def test_spark_makes_the_quantiles_of_given_events(rp: Workbench, events: list[Event]) -> None:
    measured = Figure("p95", "95 % of prices", quantile_of("price", 0.95), where="purchase", unit="currency")
    figures = rp.job("quantiles").events().figures(measured, by=["currency"], every=["1 day"], table="quantiles")
    given = [{"event_type": "purchase", "price": price} for price in ("1.00", "2.00", "2000.00")]
    (row,) = figures.of([*given, {"event_type": "view", "price": "5000.00"}])
    assert row["p95"] == pytest.approx(Decimal(2), rel=Decimal("0.0101"))
    with pytest.raises(UsageError, match=r"can't keep the quantile 'p95' in its state"):
        _ = figures.df


def test_a_width_that_the_table_does_not_add_up_to_is_refused(rp: Workbench) -> None:
    with pytest.raises(UsageError, match=r"keeps windows of 5 minutes, week, month"):
        rp.figures("events", by="bucket", every="1 minute", table="prices")
    with pytest.raises(UsageError, match="Did you mean 'prices'"):
        rp.figures("events", by="bucket", table="price")


def test_windows_below_an_hour_go_by_their_age(settings: Settings, events: list[Event]) -> None:
    assert keep_minutes(settings, timedelta(days=400)) == ["prices_5m"], "HBase lets nothing go by its age"


def test_spark_places_times_as_python_does(rp: Workbench) -> None:
    """Times over 60 years and around every boundary, in a session that is not in UTC, and by the clocks of zones."""
    from pyspark.sql import functions as F

    spark, half_a_day = (
        rp.job("placing").spark,
        timedelta(hours=11, minutes=59),
    )
    epoch, moments = datetime(1970, 1, 1, tzinfo=UTC), [datetime(1968, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]
    grains = [
        grain_of(width) for width in ("7s", "5m", "7m", "5h", "1d", "2d", "1w", "2w", "1mo", "3mo", "5mo", "12mo")
    ]
    zones = ("Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia")
    zoned = {
        f"{width}_{number}": grain_of(width, Calendar(zone, "sunday"))
        for width in ("1h", "6h", "1d", "1w", "1mo")
        for number, zone in enumerate(zones)
    }
    while moments[-1] < datetime(2031, 1, 1, tzinfo=UTC):
        moments.append(moments[-1] + half_a_day * 3)
    moments += [grain.start(moment) + more for moment in moments[::40] for grain in (*grains, *zoned.values())
                for more in (timedelta(0), -timedelta(microseconds=1))]  # fmt: skip
    before = str(spark.conf.get("spark.sql.session.timeZone"))
    spark.conf.set("spark.sql.session.timeZone", "Asia/Kathmandu")
    try:
        frame = spark.createDataFrame(
            pa.table({"at": pa.array([(m - epoch) // timedelta(microseconds=1) for m in moments])})
        )
        at = frame.select("at", F.timestamp_micros("at").alias("moment"))
        named = {grain.name: grain for grain in grains} | zoned
        ends = [F.unix_micros(F.expr(grain.end_sql("moment"))).alias(name) for name, grain in named.items()]
        found = at.select("at", *ends).toArrow().to_pylist()
    finally:
        spark.conf.set("spark.sql.session.timeZone", before)
    assert len(found) == len(moments)
    for row in found:
        moment = epoch + row["at"] * timedelta(microseconds=1)
        for name, grain in named.items():
            assert epoch + row[name] * timedelta(microseconds=1) == grain.end(moment), (grain, moment)
