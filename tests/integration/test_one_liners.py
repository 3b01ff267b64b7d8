"""One line to every store: frames with the right types, and errors that help, on the real servers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from retailpulse_kernel.ground.errors import NoSuchTable, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, SESSION
from retailpulse_kernel.stores import namespaces
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.workbench.workbench import Workbench

pytestmark = pytest.mark.integration

UTC_TIMES, DATES = "datetime64[ns, UTC]", "date32[day][pyarrow]"
#: Three minutes ago, so that the newest hour holds it.
RECENT = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)


def sale(i: int, price: str, category: str) -> Event:
    return Event(
        event_id=f"e{i}", event_type="purchase", event_time=RECENT, user_id=f"u{i}", session_id=f"s{i}",
        product_id="p", category=category, price=Decimal(price), order_id=f"o{i}", order_line=1,
    )  # fmt: skip


SALES = [sale(1, "0.1", "books"), sale(2, "0.2", "books"), sale(3, "99999999999999.9999", "boats")]


@pytest.fixture(scope="module")
def rp(stack: Settings) -> Iterator[Workbench]:
    """A workbench in a namespace that holds three sales."""
    bench = Workbench(namespace=f"ct_lines_{os.getpid()}")
    ensure_topics(bench.settings)
    bench.cassandra.create(CATEGORY)
    bench.hbase.create(SESSION)
    bench.hive.create()
    for grain in CATEGORY.every:
        bench.cassandra.write(CATEGORY, grain, fold(SALES, CATEGORY, grain), version=1)
    for grain in SESSION.every:
        bench.hbase.write(SESSION, grain, fold(SALES, SESSION, grain), version=1)
    yield bench
    namespaces.drop(bench.settings)


def test_kafka(rp: Workbench) -> None:
    topics = rp.kafka.topics().set_index("topic")
    assert list(topics["exists"]) == [True] * 4
    assert rp.kafka.tail().empty
    begin = datetime.now(UTC) - timedelta(seconds=1)
    sent = rp.kafka.produce(
        [
            {"event_type": "view", "event_time": RECENT, "user_id": f"u{i}", "price": Decimal("0.10"), "quantity": i}
            for i in range(50)
        ]
    )
    assert sent == 50
    frame = rp.kafka.tail(last="1m")
    assert (len(frame), frame.attrs["more"]) == (50, False)
    assert set(frame["quantity"]) == set(range(50))
    assert (frame["event_time"] == RECENT).all() and str(frame["event_time"].dtype) == UTC_TIMES
    assert frame["arrival"].is_monotonic_increasing and frame["arrival"].min() > begin
    assert set(frame["price"]) == {Decimal("0.10")} and isinstance(frame["price"][0], Decimal)
    assert str(frame["event_type"].dtype) == "category"
    newest = rp.kafka.tail(last="1m", limit=10)
    assert newest.attrs["more"] and newest.attrs["total"] == 50
    reach = f"{newest['arrival'][0]:%Y-%m-%d %H:%M:%S}"
    assert newest.attrs["note"].startswith(f"The newest 10 of 50 messages, from {reach} instead of ")
    oldest = rp.kafka.consume(last="1m", limit=10)
    assert oldest.attrs["note"].startswith("The oldest 10 of 50 messages, up to ")
    assert [len(read(last="1m", limit=None)) for read in (rp.kafka.tail, rp.kafka.consume)] == [50, 50]
    pd.testing.assert_series_equal(newest["kafka_offset"], frame["kafka_offset"][-10:].reset_index(drop=True))
    assert rp.kafka.tail(last="1m", limit=50).attrs["more"] is False
    assert sum(end - first for first, end in rp.kafka.offsets().values()) == 50
    assert len(list(rp.kafka.messages())) == 50


@pytest.mark.parametrize("short", ["dlq", "late", "progress"])
def test_kafka_topics_by_short_names(rp: Workbench, short: str) -> None:
    assert rp.kafka.produce([{"reason": "not_json", "offset": 7}], short, key="reason") == 1
    frame = rp.kafka.tail(short, last="1m")
    assert list(frame["offset"]) == [7], "the reject's own offset, not its place in this topic"
    assert list(frame["kafka_offset"]) == [0]


def test_messages_that_kafka_has_deleted_are_told(rp: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    rp.kafka.produce([{"reason": "not_json", "number": n} for n in range(5)], "late", key="reason")
    (partition, (_, end)) = next(item for item in rp.kafka.offsets("late").items() if item[1][1] >= 5)
    admin = AdminClient(client_config(rp.settings))
    kept = TopicPartition(rp.settings.namespace.late_topic, partition, end - 2)
    for future in admin.delete_records([kept]).values():
        future.result(30)
    for read in (rp.kafka.tail, rp.kafka.consume):
        capsys.readouterr()
        frame = read("late", last="10m")
        assert frame["number"].iloc[-1] == 4 and frame.attrs["more"] is False
        assert f"The topic begins at {frame['arrival'][0]:%Y-%m-%d %H:%M:%S} (UTC)" in capsys.readouterr().err


def test_kafka_keeps_a_user_where_other_senders_put_him(rp: Workbench) -> None:
    from retailpulse_kernel.stores.kafka.producer import Sender

    with Sender(rp.settings) as sender:
        for i in range(20):
            sender.send(f"same{i}".encode(), b"{}")
    rp.kafka.produce([{"user_id": f"same{i}"} for i in range(20)])
    homes: dict[bytes, set[int]] = {}
    for message in rp.kafka.messages():
        if (message.key or b"").startswith(b"same"):
            homes.setdefault(message.key or b"", set()).add(message.partition)
    assert len(homes) == 20 and all(len(partitions) == 1 for partitions in homes.values())


def test_kafka_errors(rp: Workbench) -> None:
    for call in (rp.kafka.tail, rp.kafka.offsets, rp.kafka.require):
        with pytest.raises(UnknownName, match=rf"Did you mean '{rp.settings.namespace.dlq_topic}'\? Known: .*late"):
            call(f"{rp.settings.namespace.dlq_topic}s")
    with pytest.raises(UsageError, match="'many' is not a number of rows"):
        rp.kafka.tail(limit="many")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="as JSON"):
        rp.kafka.produce([{"user_id": object()}])


def test_cassandra(rp: Workbench) -> None:
    assert rp.cassandra.tables() == ["category_day", "category_hour", "category_minute"]
    day = RECENT.date()
    frame = rp.cassandra.query(
        "select * from category_day where day = :day and currency = :currency", {"day": day, "currency": "USD"}
    ).set_index("category")
    assert list(frame["revenue"].loc[["boats", "books"]]) == [Decimal("99999999999999.9999"), Decimal("0.3")]
    assert (frame["day"] == day).all() and str(frame["day"].dtype) == DATES and str(frame["events"].dtype) == "int64"
    assert str(frame.index.dtype) == str(frame["currency"].dtype) == "string"
    assert frame.loc["books", "day"] == day, "a value of a frame can be bound again"
    cut = rp.cassandra.query("select * from category_day", limit=1)
    assert (len(cut), cut.attrs["more"]) == (1, True)
    assert rp.cassandra.query("select * from category_day", limit=2).attrs["more"] is False
    none = rp.cassandra.query("select * from category_day where day = '1999-01-01'")
    assert none.empty and str(none["day"].dtype) == DATES and "revenue" in none
    as_floats = rp.cassandra.query("select category, revenue from category_day", as_="float")
    assert list(as_floats.nlargest(1, "revenue")["category"]) == ["boats"]
    assert rp.cassandra.columns("category_day")["category_day"][:2] == ["day", "currency"]
    beyond = "blob_as_timestamp(bigint_as_blob(253402300800000))"  # the year 10,000
    with pytest.raises(UsageError, match=r"a value that Python can't hold.*as text: `cast\(column as text\)`"):
        rp.cassandra.query(f"select {beyond} as at from system.local")
    as_text = rp.cassandra.query(f"select cast({beyond} as text) as at from system.local")
    assert "10000-01-01" in as_text["at"][0]
    injected = rp.cassandra.query(
        "select * from category_day where day = :day and currency = :c", {"day": day, "c": "USD' or '1'='1"}
    )
    assert injected.empty


def test_hbase(rp: Workbench) -> None:
    assert rp.hbase.tables() == ["session_hour"]
    hour = RECENT.strftime("%Y%m%dT%H")
    frame = rp.hbase.scan("session_hour", hour)
    assert list(frame["user_id"]) == ["u1", "u2", "u3"]
    assert str(frame["user_id"].dtype) == str(frame["row"].dtype) == "string"
    assert len(rp.hbase.scan("session_hour", last="3h")) == 3
    assert "user_id" in rp.hbase.columns("session_hour")["session_hour"]
    assert sum(frame["revenue"]) == Decimal("100000000000000.2999")
    assert str(frame["first_event"].dtype) == UTC_TIMES and (frame["first_event"] == RECENT).all()
    assert str(frame["orders"].dtype) == "int64"
    assert (len(rp.hbase.scan("session_hour", limit=2)), rp.hbase.scan("session_hour", limit=2).attrs["more"]) == (
        2,
        True,
    )
    assert rp.hbase.scan("session_hour", limit=3).attrs["more"] is False
    assert rp.hbase.scan("session_hour", limit=0).empty
    assert len(rp.hbase.scan("session_hour", limit=None)) == 3
    assert list(rp.hbase.scan("session_hour", columns=["user_id"]).columns) == ["row", "user_id"]
    for cell in ("f", "f:row"):
        assert list(rp.hbase.scan("session_hour", columns=[cell]).columns) == list(frame.columns)
    assert rp.hbase.scan("session_hour", "1999").empty
    row = rp.hbase.get("session_hour", frame["row"][0])
    assert (row["user_id"], row["revenue"], row["first_event"]) == ("u1", Decimal("0.1"), RECENT)
    assert rp.hbase.get("session_hour", "no such row") == {}


def test_hive(rp: Workbench) -> None:
    assert rp.hive.tables() == ["events"]
    frame = rp.hive.query(
        "select cast(:price as decimal(18,4)) price, timestamp '2026-01-01 00:00:00.5' at, 1 one, "
        "cast(null as bigint) gap, :text text, date '2026-01-31' day, date '9999-12-31' + 1 beyond, "
        "cast('2026-01-31 12:00:00.5 Europe/Berlin' as timestamp with local time zone) zoned",
        {"price": "0.1000", "text": "it's 100 %"},
    )
    assert frame["price"][0] == Decimal("0.1") and isinstance(frame["price"][0], Decimal)
    assert frame["at"][0] == datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert [str(dtype) for dtype in frame.dtypes] == [
        "object", UTC_TIMES, "int64", "Int64", "string", DATES, "object", UTC_TIMES,
    ]  # fmt: skip
    assert frame["day"][0] == date(2026, 1, 31) and frame["beyond"][0] == "+10000-01-01"
    assert frame["zoned"][0] == datetime(2026, 1, 31, 11, 0, 0, 500_000, tzinfo=UTC)
    assert "event_time" in rp.hive.columns("events")["events"]
    archived = rp.hive.events(last="1h", limit=5, as_="float")
    assert archived.empty and str(archived["price"].dtype) == "float64"
    with pytest.raises(UnknownName, match="Did you mean 'events'"):
        rp.hive.columns("event")
    assert frame["text"][0] == "it's 100 %"
    empty = rp.hive.query("select * from events", limit=5)
    assert empty.empty and str(empty["event_time"].dtype) == UTC_TIMES and empty.attrs["more"] is False
    cut = rp.hive.query("select 1 n union all select 2 union all select 3", limit=2)
    assert (len(cut), cut.attrs["more"]) == (2, True)


def test_figures(rp: Workbench) -> None:
    by_category = rp.figures(by="category", last="1h").set_index("category")
    assert by_category["revenue"].to_dict() == {"boats": Decimal("99999999999999.9999"), "books": Decimal("0.3")}
    assert by_category["average_order_value"]["books"] == Decimal("0.15")
    best = rp.figures("revenue", by="category", last="1h", as_="float").nlargest(1, "revenue")
    assert list(best["category"]) == ["boats"]
    with pytest.raises(UsageError, match="`last` and `since` are both given"):
        rp.figures(last="1h", since="2026-01-01")
    over_time = rp.figures(by=["bucket"], grain="hour")
    assert str(over_time["bucket"].dtype) == UTC_TIMES
    assert over_time["active_users"].sum() == 3
    with pytest.raises(UnknownName, match="Did you mean 'category'"):
        rp.figures(by="categry")


def test_status(rp: Workbench) -> None:
    status = rp.status()
    servers = status.servers.set_index("name")
    assert servers["healthy"].all()
    assert servers["version"].astype(bool).all() and servers["version"]["cassandra"].startswith("5.")
    assert status.jobs.empty and "No job has run here yet." in repr(status)
    assert "hiveserver2" in status._repr_html_()


def test_bad_queries_are_the_callers(rp: Workbench) -> None:
    for query in ("select * from nowhere", "selekt", "select * from category_day where revenue = 1"):
        with pytest.raises(UsageError, match="Cassandra can't run this") as caught:
            rp.cassandra.query(query)
        assert "Error from server" not in str(caught.value)
    for statement in ("select * from nowhere", "selekt", "select no_such_column from events"):
        with pytest.raises(UsageError, match="Hive can't run this"):
            rp.hive.query(statement)
    for store in (rp.cassandra, rp.hive):
        with pytest.raises(UsageError, match="The parameter :a of the statement has no value"):
            store.query("select * from x where y = :a", {"b": 1})
    with pytest.raises(UnknownName, match="Did you mean 'session_hour'"):
        rp.hbase.scan("session_hor")
    with pytest.raises(UnknownName):
        rp.hbase.get("nowhere", "x")
    with pytest.raises(UsageError, match="HBase can't do this"):
        rp.hbase.scan("session_hour", columns=["nofamily:x"])


def test_a_namespace_without_tables_says_so(stack: Settings) -> None:
    nowhere = Workbench(namespace=f"ct_nowhere_{os.getpid()}")
    with pytest.raises(UsageError, match=r"rp.cassandra.tables\(\)"):
        nowhere.cassandra.query("select * from category_day")
    with pytest.raises(UsageError, match=r"rp.hive.tables\(\)"):
        nowhere.hive.query("select * from events")
    assert nowhere.hbase.tables() == nowhere.cassandra.tables() == []
    namespaces.drop(nowhere.settings)


def test_a_statement_that_needs_no_table_runs_in_a_new_namespace(stack: Settings) -> None:
    new = Workbench(namespace=f"ct_new_{os.getpid()}")
    assert new.hive.query("select 1 one")["one"][0] == 1
    assert len(new.cassandra.query("select now() from system.local")) == 1
    with pytest.raises(NoSuchTable, match=f"there is no keyspace '{new.cassandra.keyspace}' yet"):
        new.cassandra.query("select * from category_day")
    namespaces.drop(new.settings)


def test_a_long_query_of_hive_is_not_cut_short(rp: Workbench) -> None:
    """Connecting has a timeout of seconds; a query has none."""
    begin = time.monotonic()
    frame = rp.hive.query("select java_method('java.lang.Thread', 'sleep', cast(7000 as bigint)) slept")
    assert len(frame) == 1 and time.monotonic() - begin > 6


def test_threads_share_a_store(rp: Workbench) -> None:
    """A live view reads while a cell does."""
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(5):
                assert len(rp.hbase.scan("session_hour")) == 3
                assert len(rp.cassandra.query("select * from category_day")) == 2
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
