"""What every store of figures does: on the real servers, on their in-memory twin, and in a further store."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retailpulse_kernel.ground.errors import ConfinedError, NoSuchTable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, ORDERS, REVENUE, Figure, least_of
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, SESSION, TABLES, USER, FigureTable, Grain, Row, grain_of
from retailpulse_kernel.stores import registry
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.figure_rows import arrow_rows
from retailpulse_kernel.stores.hbase.connection import connect
from retailpulse_kernel.stores.hbase.rows import pack_cells, pack_keys
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics, topic_states
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch, new_epoch
from tests.memory import MemoryStore
from tests.sqlite_store import SqliteStore

pytestmark = pytest.mark.integration

Store = MemoryStore | CassandraStore | HBaseStore | SqliteStore

PLACES = [(table, grain) for table in TABLES for grain in table.every]
PLACE_IDS = [table.physical(grain) for table, grain in PLACES]
MINUTE, HOUR, DAY = GRAINS["minute"], GRAINS["hour"], GRAINS["day"]
# Each test has days of its own in the shared tables: creating a table takes HBase a second.
_days = itertools.count(0, 30)
#: Ids that once broke someone's row key, column or escape.
ODD_IDS = (
    "plain", "a#b", "a", "b#a", "100%", "%23", "%", "#", " leading and trailing ", "two  spaces",
    "tab\tnew\nline", "naïve",
    "日本語", "🛒", "e\u0301", "\u200b", "\u202eright to left", "'; drop table x; --", '"quoted"', "\\n", "\x01",
    "x" * 128, "é" * 128, "🛒" * 128,
)  # fmt: skip


#: Shipped ones, that of `tests/sqlite_store.py`, and what is installed.
STORES = [name for name in registry.names() if registry.can(name, FigureStore)]


@pytest.fixture(scope="module", params=["memory", *STORES])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with every table, in a namespace of its own."""
    made: Store
    if request.param == "memory":
        made = MemoryStore()
    else:
        folder, servers = tmp_path_factory.mktemp("store"), request.param in ("cassandra", "hbase")
        (folder / "local.toml").write_text("" if servers else f"[stores.{request.param}]\n")
        home = request.getfixturevalue("stack").home if servers else folder
        name = f"ct_{os.getpid()}_{time.time_ns() % 10**9}"
        own = Settings.load(home=home, profile=str(folder / "local.toml"), namespace=name)
        made = cast(Store, registry.open_store(request.param, own))
    for table in TABLES:
        made.create(table)
    yield made
    made.drop()
    made.close()


@pytest.fixture
def start() -> datetime:
    """Midnight of a month that no other test uses."""
    return datetime(2021, 1, 1, tzinfo=UTC) + timedelta(days=next(_days))


def shop(start: datetime, *, minutes: int = 4 * 60, ids: tuple[str, ...] = ODD_IDS) -> list[Event]:
    """Events over some hours before and after midnight: every kind of figure, money of every size."""
    amounts = (Decimal("0.0001"), Decimal("27773.52"), Decimal("9999999999999.9999"), Decimal("0"), Decimal("19.99"))
    events = []
    for i in range(0, minutes, 7):
        at = start - timedelta(hours=2) + timedelta(minutes=i, seconds=i % 60, milliseconds=i % 1000)
        name = ids[i % len(ids)]
        who = {"user_id": name, "session_id": f"s{name}"[:128], "category": name, "product_id": "p"}
        events.append(Event(event_id=f"v{i}", event_type="view", event_time=at, **who))
        order = {"order_id": f"o{i}", "order_line": 1, "price": amounts[i % 5], "currency": ("USD", "EUR")[i % 2]}
        kind = "refund" if i % 3 == 0 else "purchase"
        events.append(Event(event_id=f"p{i}", event_type=kind, event_time=at, quantity=1 + i % 2, **who, **order))
    return events


def canonical(rows: list[Row], table: FigureTable, grain: Grain) -> list[tuple[Any, ...]]:
    """Rows in one order, each value with its type: 1 is not True, and 1.0 is not Decimal(1)."""
    columns = (*table.key_columns(grain), *(figure.name for figure in table.figures))
    for row in rows:
        assert set(row) == set(columns)
    return sorted(
        (tuple((type(row[c]).__name__, row[c]) for c in columns) for row in rows),
        key=lambda values: [str(value) for value in values[: len(table.by) + 1]],
    )


def month(start: datetime) -> dict[str, datetime]:
    return {"since": start - timedelta(days=1), "until": start + timedelta(days=28)}


class TestContract:
    @pytest.mark.parametrize("width", ["30s", "5m", "50m", "2h", "1w", "3mo"])
    def test_windows_of_any_width_are_written_and_read_by_range(
        self, store: Store, start: datetime, width: str
    ) -> None:
        grain, least = grain_of(width), Figure("least", "Least", least_of("price"), where="purchase", unit="currency")
        table = FigureTable("widths", (EVENTS, least), ("currency", "user_id"), (grain,))
        store.create(table)
        rows = fold(shop(start), table, grain)
        assert any(row["least"] is None for row in rows) and any(row["least"] is not None for row in rows)
        store.write(table, grain, rows, version=1)
        assert canonical(store.read(table, grain), table, grain) == canonical(rows, table, grain)
        starts = sorted({row[grain.name] for row in rows})
        since, until = starts[len(starts) // 3], grain.end(starts[2 * len(starts) // 3])
        within = [row for row in rows if since <= row[grain.name] < until]
        assert canonical(store.read(table, grain, since=since, until=until), table, grain) == canonical(
            within, table, grain
        )
        by_currency = store.read(table, grain, since=since, until=until, figures=(EVENTS,), by=("currency",))
        assert sum(row["events"] for row in by_currency) == sum(row["events"] for row in within)
        found = store.dump(table, grain)
        store.delete(table, grain, list(found), version=1)
        assert store.read(table, grain) == []
        store.remove(table)

    def test_a_new_figure_finds_room_and_a_table_can_be_removed(self, store: Store, start: datetime) -> None:
        few = FigureTable("few", (EVENTS,), ("currency",), (DAY,))
        more = FigureTable("few", (EVENTS, REVENUE), ("currency",), (DAY,))
        events = shop(start)
        store.create(few)
        store.write(few, DAY, fold(events, few, DAY), version=1)
        store.create(more)
        store.write(more, DAY, fold(events, more, DAY), version=2)
        assert canonical(store.read(more, DAY, **month(start)), more, DAY) == canonical(
            fold(events, more, DAY), more, DAY
        )
        store.remove(more)
        store.remove(more)
        store.create(few)
        assert store.read(few, DAY, **month(start)) == []

    def test_a_table_is_made_once(self, store: Store, start: datetime) -> None:
        rows = fold(shop(start), USER, DAY)
        store.write(USER, DAY, rows, version=1)
        store.create(USER)
        assert len(store.read(USER, DAY, **month(start))) == len(rows)

    @pytest.mark.parametrize(("table", "grain"), PLACES, ids=PLACE_IDS)
    def test_what_was_folded_is_read_back(
        self, store: Store, start: datetime, table: FigureTable, grain: Grain
    ) -> None:
        rows = fold(shop(start), table, grain)
        assert len({table.key(row, grain) for row in rows}) == len(rows) > 20
        money = [row["revenue"] for row in rows]
        assert min(money) < -(10**12) and max(money) > 10**13
        store.write(table, grain, rows, version=1)
        assert canonical(store.read(table, grain, **month(start)), table, grain) == canonical(rows, table, grain)

    @pytest.mark.parametrize("by", [None, (), ("currency",), ("currency", "category"), ("event_type",)])
    @pytest.mark.parametrize("grain", [MINUTE, HOUR, DAY], ids=lambda grain: grain.name)
    def test_some_figures_by_some_dimensions(
        self, store: Store, start: datetime, grain: Grain, by: tuple[str, ...] | None
    ) -> None:
        rows = fold(shop(start), CATEGORY, grain)
        store.write(CATEGORY, grain, rows, version=1)
        chosen = (EVENTS, REVENUE, ORDERS)
        keys = (grain.name, *(CATEGORY.by if by is None else by))
        expected: dict[tuple[Any, ...], list[Any]] = {}
        since, until = start - timedelta(minutes=90), start + timedelta(minutes=45)
        for row in rows:
            if since <= row[grain.name] < until:
                sums = expected.setdefault(tuple(row[key] for key in keys), [0, Decimal(0), 0])
                for place, figure in enumerate(chosen):
                    sums[place] += row[figure.name]
        found = store.read(CATEGORY, grain, since=since, until=until, figures=chosen, by=by)
        assert all(set(row) == {*keys, "events", "revenue", "orders"} for row in found)
        assert len(found) == len(expected) > 0
        for row in found:
            assert [row[figure.name] for figure in chosen] == expected[tuple(row[key] for key in keys)]

    @pytest.mark.parametrize("by", [None, ("currency",), ("currency", "category"), ()])
    @pytest.mark.parametrize("grain", [MINUTE, HOUR, DAY], ids=lambda grain: grain.name)
    def test_only_some_values(self, store: Store, start: datetime, grain: Grain, by: tuple[str, ...] | None) -> None:
        """Of a dot path also what is below it, and nothing that only begins like it."""
        paths = ("a", "a.b", "a.b.c", "a-b", "ab", "a.z", "A", "", "é", "é.x")
        rows = fold(shop(start, ids=paths), CATEGORY, grain)
        store.write(CATEGORY, grain, rows, version=1)
        since, until = start - timedelta(minutes=90), start + timedelta(minutes=45)
        for categories in (("a",), ("a.b", "a", "é"), ("nothing",)):
            only = {"currency": ("USD",), "category": categories}
            expected: dict[tuple[Any, ...], list[Any]] = {}
            for row in rows:
                inside = any(row["category"] == path or row["category"].startswith(path + ".") for path in categories)
                if inside and row["currency"] == "USD" and since <= row[grain.name] < until:
                    key = tuple(row[name] for name in (grain.name, *(CATEGORY.by if by is None else by)))
                    sums = expected.setdefault(key, [0, Decimal(0)])
                    sums[0] += row["events"]
                    sums[1] += row["revenue"]
            assert bool(expected) == (categories != ("nothing",))
            found = store.read(CATEGORY, grain, since=since, until=until, figures=(EVENTS, REVENUE), by=by, only=only)
            names = (grain.name, *(CATEGORY.by if by is None else by))
            assert {tuple(row[n] for n in names): [row["events"], row["revenue"]] for row in found} == expected
            assert len(found) == len(expected)

    def test_sketches_are_united(self, store: Store, start: datetime) -> None:
        store.write(CATEGORY, HOUR, fold(shop(start), CATEGORY, HOUR), version=1)
        found = store.read(CATEGORY, HOUR, **month(start), figures=(ACTIVE_USERS,), by=())
        users: dict[datetime, set[str]] = {}
        for event in shop(start):
            users.setdefault(HOUR.start(event.event_time), set()).add(event.user_id)
        assert {row["hour"]: sketches.estimate(row["active_users"]) for row in found} == {
            hour: len(names) for hour, names in users.items()
        }

    def test_writing_again_changes_nothing(self, store: Store, start: datetime) -> None:
        rows = fold(shop(start), CATEGORY, HOUR)
        for _ in range(3):
            store.write(CATEGORY, HOUR, rows, version=7)
        assert canonical(store.read(CATEGORY, HOUR, **month(start)), CATEGORY, HOUR) == canonical(rows, CATEGORY, HOUR)

    @pytest.mark.parametrize(("table", "grain"), PLACES, ids=PLACE_IDS)
    def test_the_higher_version_stays_whatever_comes_last(
        self, store: Store, start: datetime, table: FigureTable, grain: Grain
    ) -> None:
        old = fold(shop(start), table, grain)
        new = [changed(row, table) for row in old]
        now = int(time.time() * 1000)  # what version_of gives
        store.write(table, grain, old[: len(old) // 2], version=now)
        store.write(table, grain, new, version=now + 1)
        store.write(table, grain, old, version=now)
        assert canonical(store.read(table, grain, **month(start)), table, grain) == canonical(new, table, grain)
        store.write(table, grain, old, version=now + 2)
        assert canonical(store.read(table, grain, **month(start)), table, grain) == canonical(old, table, grain)

    @pytest.mark.parametrize(("table", "grain"), PLACES, ids=PLACE_IDS)
    def test_what_is_deleted_is_gone_unless_it_is_newer(
        self, store: Store, start: datetime, table: FigureTable, grain: Grain
    ) -> None:
        rows, now = fold(shop(start), table, grain), int(time.time() * 1000)
        kept, gone, newer = rows[:5], rows[5:-5], rows[-5:]
        store.write(table, grain, kept, version=now)
        there = store.dump(table, grain)
        store.write(table, grain, gone, version=now)
        store.write(table, grain, newer, version=now + 2)
        keys = store.dump(table, grain).keys() - there.keys()
        for _ in range(2):
            store.delete(table, grain, keys, version=now + 1)
        store.write(table, grain, gone, version=now)
        assert canonical(store.read(table, grain, **month(start)), table, grain) == canonical(
            [*kept, *newer], table, grain
        )
        store.write(table, grain, gone, version=now + 2)
        assert canonical(store.read(table, grain, **month(start)), table, grain) == canonical(rows, table, grain)

    @pytest.mark.parametrize(("table", "grain"), PLACES, ids=PLACE_IDS)
    def test_what_is_dumped_can_be_loaded(
        self, store: Store, start: datetime, table: FigureTable, grain: Grain
    ) -> None:
        store.write(table, grain, fold(shop(start), table, grain), version=7)
        copy = replace(table, name=f"{table.name}__copy", every=(grain,))
        store.create(copy)
        try:
            dumped = store.dump(table, grain, since=start)
            for _ in range(2):
                store.load(copy, grain, dumped, version=1)
            found = store.read(copy, grain, **month(start))
            assert canonical(found, copy, grain) == canonical(
                store.read(table, grain, **month(start) | {"since": start}), table, grain
            )
            assert found and store.dump(copy, grain) == dumped
        finally:
            store.remove(copy)

    def test_nothing_replaces_something(self, store: Store, start: datetime) -> None:
        """A backfill may find that there never was a first event; an old one must not shine through."""
        (row,) = fold(shop(start, minutes=1)[:1], USER, DAY)
        store.write(USER, DAY, [row], version=1)
        store.write(USER, DAY, [{**row, "first_event": None, "last_event": None}], version=2)
        (found,) = store.read(USER, DAY, **month(start))
        assert (found["first_event"], found["last_event"], found["events"]) == (None, None, 1)

    @pytest.mark.parametrize("grain", CATEGORY.every, ids=lambda grain: grain.name)
    @pytest.mark.parametrize(
        ("since", "until"),
        [
            ("-2:00", "2:00"),
            ("-0:01", "0:01"),  # over midnight
            ("0:00", "1:00"),  # from one partition's edge to the next
            ("-1:00", "0:00"),
            ("-1:30", "0:30"),  # in the middle of hours
            ("-0:59:59.999", "0:00:00.001"),  # a millisecond off every edge
            ("0:21", "0:21"),  # nothing at all
            (None, "0:00"),
            ("0:00", None),
        ],
    )
    def test_a_range_holds_the_windows_that_start_in_it(
        self, store: Store, start: datetime, grain: Grain, since: str | None, until: str | None
    ) -> None:
        rows = fold(shop(start, ids=("a", "b")), CATEGORY, grain)
        store.write(CATEGORY, grain, rows, version=1)
        first, end = (None if text is None else start + span(text) for text in (since, until))
        found = store.read(CATEGORY, grain, since=first, until=end)
        # An open end reads other tests' months too.
        mine = [row for row in found if month(start)["since"] <= row[grain.name] < month(start)["until"]]
        wanted = [
            row
            for row in rows
            if (first is None or row[grain.name] >= first) and (end is None or row[grain.name] < end)
        ]
        assert canonical(mine, CATEGORY, grain) == canonical(wanted, CATEGORY, grain)

    @pytest.mark.parametrize("grain", CATEGORY.every, ids=lambda grain: grain.name)
    def test_rows_come_with_the_version_that_wrote_them(self, store: Store, start: datetime, grain: Grain) -> None:
        rows = fold(shop(start), CATEGORY, grain)
        newer = {CATEGORY.key(row, grain) for row in rows[::3]}
        store.write(CATEGORY, grain, rows, version=7_000)
        store.write(CATEGORY, grain, rows[::3], version=8_000)
        bounds = {"since": start - timedelta(hours=1), "until": start + timedelta(hours=1)}
        found = store.read_versions(CATEGORY, grain, **bounds, figures=(REVENUE, EVENTS))
        few = replace(CATEGORY, figures=(REVENUE, EVENTS))
        assert canonical([row for row, _ in found], few, grain) == canonical(
            store.read(CATEGORY, grain, **bounds, figures=few.figures), few, grain
        )
        assert found and all(
            version == (8_000 if CATEGORY.key(row, grain) in newer else 7_000) for row, version in found
        )

    def test_an_absent_table_is_told(self, store: Store, start: datetime) -> None:
        absent = FigureTable("absent", (EVENTS,), ("currency",), (DAY,))
        store.remove(absent)
        for bounds in ({}, month(start)):
            with pytest.raises(NoSuchTable):
                store.read(absent, DAY, **bounds)
        with pytest.raises(NoSuchTable):
            store.read_versions(absent, DAY, **month(start), figures=absent.figures)

    def test_an_empty_range_and_an_empty_write(self, store: Store, start: datetime) -> None:
        store.write(SESSION, HOUR, [], version=1)
        assert store.read(SESSION, HOUR, **month(start)) == []

    def test_many_rows_with_full_sketches(self, store: Store, start: datetime) -> None:
        """5,000 rows, and some with the largest sketch: 32 KiB each, more than a batch of Cassandra's may warn at."""
        (row,) = fold(shop(start, minutes=1)[:1], CATEGORY, MINUTE)
        full = sketches.of(f"u{i}" for i in range(50_000))
        assert len(full) > 16_000
        rows = [{**row, "category": f"c{i}", "events": i} for i in range(5_000)]
        rows += [{**row, "category": f"full{i}", "active_users": full} for i in range(60)]
        begin = time.monotonic()
        store.write(CATEGORY, MINUTE, rows, version=1)
        print(f"{store.name}: {len(rows) / (time.monotonic() - begin):,.0f} rows/s")
        found = store.read(CATEGORY, MINUTE, **month(start))
        assert canonical(found, CATEGORY, MINUTE) == canonical(rows, CATEGORY, MINUTE)

    def test_any_row(self, store: Store) -> None:
        """Whatever values the types allow; each example writes over the last one's rows at a higher version."""
        versions = iter(range(1, 1_000))

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(any_row(), min_size=1, max_size=20, unique_by=lambda row: USER.key(row, DAY)))
        def check(rows: list[Row]) -> None:
            store.write(USER, DAY, rows, version=next(versions))
            there = {
                USER.key(row, DAY): row for row in store.read(USER, DAY, since=_ANY_DAY, until=_ANY_DAY + DAY.width)
            }
            for row in rows:
                assert there[USER.key(row, DAY)] == row

        check()

    def test_a_trial_writes_into_no_other_namespace(self, store: Store, tmp_path: Path) -> None:
        if isinstance(store, MemoryStore):
            pytest.skip("it has no namespace")
        confined = {"home": tmp_path, "confined_to": "ct_trial"}
        other = type(store)(store._settings.within("ct_other").model_copy(update=confined))
        doors: list[Callable[[], object]] = [
            lambda: other.create(USER),
            lambda: other.remove(USER),
            lambda: other.drop(),
            lambda: other.write(USER, DAY, [], version=1),
            lambda: other.load(USER, DAY, {}, version=1),
            lambda: other.delete(USER, DAY, [], version=1),
        ]
        for door in doors:
            with pytest.raises(ConfinedError, match="ct_other"):
                door()

    def test_drop_takes_everything(self, store: Store) -> None:
        if isinstance(store, MemoryStore):
            other: Store = MemoryStore()
        else:
            own = store._settings.within(f"ct_drop_{os.getpid()}")
            other = type(store)(own)
        rows = fold(shop(datetime(2020, 1, 1, tzinfo=UTC), minutes=1), USER, DAY)
        for _ in range(2):
            other.create(USER)
            assert other.read(USER, DAY) == []
            other.write(USER, DAY, rows, version=1)
            assert len(other.read(USER, DAY)) == len(rows)
            other.drop()
        other.drop()
        other.close()


def changed(row: Row, table: FigureTable) -> Row:
    """The same key with every figure different, and lower, so that no store may prefer it by its size."""
    changes: dict[str, Any] = {}
    for figure in table.figures:
        value = row[figure.name]
        match figure.rules.value:
            case Value.WHOLE:
                changes[figure.name] = value - 1
            case Value.DECIMAL:
                changes[figure.name] = value - Decimal("0.0001")
            case Value.TIME:
                changes[figure.name] = value - timedelta(milliseconds=1)
            case Value.SKETCH:
                changes[figure.name] = sketches.of(["someone else"])
    return row | changes


def span(text: str) -> timedelta:
    """A time span from ``[-]hours:minutes[:seconds]``."""
    hours, minutes, seconds = (*text.removeprefix("-").split(":"), "0")[:3]
    size = timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    return -size if text.startswith("-") else size


_ANY_DAY = datetime(2001, 1, 1, tzinfo=UTC)


def any_row() -> st.SearchStrategy[Row]:
    """A row of `USER` with any text that an event's id can be and any figures."""
    ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=128)
    counts = st.integers(min_value=-(2**63), max_value=2**63 - 1)
    # Cassandra's driver computes times as floats: from 2243 on they are a microsecond off.
    times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(
        lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000, tzinfo=UTC)
    )
    money = st.decimals(-(10**23), 10**23, places=4)
    values = {Value.WHOLE: counts, Value.DECIMAL: money, Value.TIME: st.none() | times}
    return st.fixed_dictionaries(
        {"day": st.just(_ANY_DAY), "user_id": ids, "currency": st.sampled_from(["USD", "EUR"])}
        | {figure.name: values[figure.rules.value] for figure in USER.figures}
    )


def test_cassandra_s_table_is_altered_while_it_is_written(stack: Settings, start: datetime) -> None:
    """As retention does: all that was prepared for the table is unknown to the server from then on."""
    own = Settings.load(home=stack.home, namespace=f"ct_altered_{os.getpid()}")
    table = FigureTable("altered", (EVENTS,), ("category",), (HOUR,))
    writer, keeper = CassandraStore(own), CassandraStore(own)
    writer.create(table)
    over = threading.Event()

    def alter() -> int:
        for days in itertools.count(1):
            keeper.query(f"alter table altered_hour with default_time_to_live = {days * 86_400}")
            if over.is_set():
                return days
        raise AssertionError

    try:
        with ThreadPoolExecutor(1) as pool:
            altered = pool.submit(alter)
            try:
                for version in range(1, 80):
                    rows = [
                        {"category": f"c{i}", "hour": start + timedelta(days=i), "events": version} for i in range(30)
                    ]
                    writer.write(table, HOUR, rows, version=version)
            finally:
                over.set()
            assert altered.result() > 3
        assert [row["events"] for row in writer.read(table, HOUR)] == [79] * 30
    finally:
        writer.drop()
        writer.close()
        keeper.close()


def test_two_namespaces_of_which_one_begins_as_the_other(stack: Settings) -> None:
    """What is done to one of them, removal included, leaves the other whole."""
    table = FigureTable("category", (EVENTS,), ("currency",), (DAY,))
    short = Settings.load(namespace=f"ct_{os.getpid()}")
    long = Settings.load(namespace=f"ct_{os.getpid()}_b")
    day = datetime(2026, 1, 1, tzinfo=UTC)
    rows = {s.namespace_name: [{"day": day, "currency": s.namespace_name, "events": 1}] for s in (short, long)}
    drop(short)
    drop(long)
    try:
        for settings in (short, long):
            ensure_topics(settings)
            HiveStore(settings).create()
            new_epoch(f"{settings.checkpoints}/metrics")
            for store in (CassandraStore(settings), HBaseStore(settings)):
                store.create(table)
                store.write(table, DAY, rows[settings.namespace_name], version=1)
        for settings in (short, long):
            assert HBaseStore(settings).tables() == CassandraStore(settings).tables() == ["category_day"]
            assert HBaseStore(settings).read(table, DAY) == rows[settings.namespace_name]
        drop(short)
        assert (HBaseStore(short).tables(), CassandraStore(short).tables()) == ([], [])
        assert not any(state.exists for state in topic_states(short))
        assert all(state.exists for state in topic_states(long))
        for store in (CassandraStore(long), HBaseStore(long)):
            assert store.read(table, DAY) == rows[long.namespace_name]
        assert HiveStore(long).tables() == ["events"] and HiveStore(long).location.is_dir()
        assert find_epoch(f"{long.checkpoints}/metrics") is not None
        assert find_epoch(f"{short.checkpoints}/metrics") is None
    finally:
        drop(short)
        drop(long)


def test_cells_of_before_stand_beside_those_of_now(stack: Settings) -> None:
    table = FigureTable("older", (EVENTS, REVENUE), ("currency",), (DAY,))
    day = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [{"day": day, "currency": name, "events": 1, "revenue": Decimal("2.5000")} for name in ("EUR", "USD")]
    store = HBaseStore(Settings.load(namespace=f"cells_{os.getpid()}"))
    try:
        store.create(table)
        store.write(table, DAY, rows, version=1)
        now = store.dump(table, DAY)
        before = b'{"currency":"EUR","events":1,"revenue":"2.5000"}'
        store._run(lambda hbase: hbase.table("older_day").put(b"20260101#EUR", {b"f:row": before}, timestamp=2))
        assert store.read(table, DAY) == rows and store.dump(table, DAY) == now
        assert [version for _, version in store.read_versions(
            table, DAY, since=day, until=day + timedelta(days=1), figures=(EVENTS,)
        )] == [2, 1]  # fmt: skip
        shown = store.scan("older_day")
        assert shown["revenue"].tolist() == [Decimal("2.5000")] * 2 and shown["events"].tolist() == [1, 1]
        assert store.get("older_day", "20260101#EUR") == store.get("older_day", "20260101#USD") | {"currency": "EUR"}
    finally:
        store.drop()
        store.close()


def test_tables_with_the_names_of_before_are_moved(stack: Settings) -> None:
    """`a_b` and `a` were told apart by nothing: what a table is called without its namespace does it."""
    table = FigureTable("session", (EVENTS,), ("currency",), (DAY, HOUR))
    short = Settings.load(namespace=f"ct_{os.getpid()}")
    long = Settings.load(namespace=f"ct_{os.getpid()}_b")
    store, other = HBaseStore(short), HBaseStore(long)

    def row(hour: int, events: int) -> dict[str, Any]:
        return {"hour": datetime(2026, 1, 1, hour, tzinfo=UTC), "currency": "EUR", "events": events}

    def of_before(settings: Settings, rows: dict[int, Row]) -> None:
        connection = connect(settings)
        connection.table_prefix_separator = b"_"
        connection.create_table("session_hour", {"f": {"max_versions": 1}})
        for version, one in rows.items():
            found = arrow_rows(table, HOUR, [one])
            with connection.table("session_hour").batch(timestamp=version) as batch:
                for key, cell in zip(pack_keys(table, HOUR, found), pack_cells(table, found), strict=True):
                    batch.put(key, {b"f:row": cell})
        connection.close()

    try:
        of_before(short, {1: row(0, 10), 5: row(1, 11)})
        of_before(long, {1: row(0, 99)})
        assert store.tables() == []
        store.create(table)
        assert store.tables() == ["session_day", "session_hour"]
        store.write(table, HOUR, [row(0, 12), row(1, 0)], version=3)
        found = {one["hour"].hour: one["events"] for one in store.read(table, HOUR)}
        assert found == {0: 12, 1: 11}, "each row has kept its version"
        store.create(table)
        assert len(store.read(table, HOUR)) == 2
        store.drop()
        assert other.tables() == []
        other.create(table)
        assert [one["events"] for one in other.read(table, HOUR)] == [99]
        of_before(short, {1: row(0, 10)})
        store.drop()
        store.create(table)
        assert store.read(table, HOUR) == [], "a namespace that was removed has left no old table"
    finally:
        for one in (store, other):
            one.drop()
            one.close()
