from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import StoreUnavailable, UsageError
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.ground.spans import span_of, span_text
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.connection import Reconnecting, close_all, why_unreachable
from retailpulse_kernel.stores.figure_rows import buckets, in_range, version_of
from retailpulse_kernel.stores.frames import to_frame
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.admin import no_such_topic
from retailpulse_kernel.stores.kafka.config import bootstrap_addresses
from retailpulse_kernel.stores.kafka.store import KafkaStore
from tests.memory import MemoryStore

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)


class Server:
    """A server that can be up or down, and counts its connections."""

    def __init__(self) -> None:
        self.up = True
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.lost: set[int] = set()

    def connect(self) -> int:
        if not self.up:
            raise ConnectionRefusedError
        self.opened.append(len(self.opened) + 1)
        return self.opened[-1]

    def ask(self, connection: int) -> str:
        if not self.up or connection in self.lost:
            raise ConnectionResetError
        return f"answer on {connection}"

    def client(self) -> Reconnecting[int]:
        return Reconnecting(self.connect, close=self.closed.append, is_lost=lambda error: isinstance(error, OSError))


def test_a_connection_is_opened_when_first_used_and_kept() -> None:
    server = Server()
    client = server.client()
    assert server.opened == []
    assert [client.run(server.ask) for _ in range(3)] == ["answer on 1"] * 3


def test_a_lost_connection_is_opened_again() -> None:
    server = Server()
    client = server.client()
    client.run(server.ask)
    server.lost = {1}
    assert client.run(server.ask) == "answer on 2"
    assert server.closed == [1]


def test_a_new_connection_that_is_lost_is_not_tried_twice() -> None:
    server = Server()
    server.lost = {1, 2, 3}
    client = server.client()
    with pytest.raises(ConnectionResetError):
        client.run(server.ask)
    assert server.opened == [1]
    server.lost = {1}
    assert client.run(server.ask) == "answer on 2"


def test_a_server_that_is_down_fails_and_works_once_it_is_back() -> None:
    server = Server()
    client = server.client()
    client.run(server.ask)
    server.up = False
    for _ in range(2):
        with pytest.raises(OSError):
            client.run(server.ask)
    server.up = True
    assert client.run(server.ask) == "answer on 2"


def test_a_refused_request_keeps_the_connection() -> None:
    server = Server()
    client = server.client()

    def bad(connection: int) -> None:
        raise ValueError("a bad query")

    for _ in range(2):
        with pytest.raises(ValueError):
            client.run(bad)
    assert (server.opened, server.closed) == ([1], [])
    client.close()
    client.close()
    assert server.closed == [1]


def test_all_connections_are_closed_when_a_process_ends() -> None:
    servers = [Server(), Server()]
    clients = [server.client() for server in servers]
    clients[0].run(servers[0].ask)
    close_all()
    assert [server.closed for server in servers] == [[1], []]
    assert clients[0].run(servers[0].ask) == "answer on 2", "who goes on all the same has a new one"


def test_threads_take_turns_on_one_connection() -> None:
    server = Server()
    client = server.client()
    inside, most = 0, 0

    def slow(connection: int) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.01)
        inside -= 1

    threads = [threading.Thread(target=client.run, args=(slow,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, server.opened) == (1, [1])


@pytest.fixture
def closed_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


@pytest.fixture
def listening() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_why_a_server_is_not_reached(closed_port: int, listening: tuple[str, int]) -> None:
    assert why_unreachable([("127.0.0.1", closed_port)]) == "nothing listens there"
    assert why_unreachable([("no-such-host.invalid", 1)]) == "the host name 'no-such-host.invalid' is not known"
    assert why_unreachable([("a" * 70 + ".example", 1)]) is not None
    assert why_unreachable([]) is not None
    assert why_unreachable([("127.0.0.1", closed_port), listening]) is None


STORES: list[Callable[[Settings], KafkaStore | CassandraStore | HBaseStore | HiveStore]] = [
    KafkaStore, CassandraStore, HBaseStore, HiveStore,
]  # fmt: skip


def all_at(port: int, folder: Path) -> Settings:
    """A profile with every server at one port."""
    address = f'host = "127.0.0.1"\nport = {port}\n'
    profile = folder / "shop.toml"
    profile.write_text(
        f'[kafka]\nbootstrap = "127.0.0.1:{port}"\n[cassandra]\nport = {port}\n[hbase]\n{address}[hive]\n{address}'
    )
    return Settings.load(profile=str(profile))


@pytest.mark.parametrize("make", STORES)
def test_a_store_that_is_down_is_named_with_its_address_and_a_remedy(
    make: Callable[[Settings], KafkaStore], closed_port: int, tmp_path: Path
) -> None:
    store = make(all_at(closed_port, tmp_path))
    with pytest.raises(StoreUnavailable) as caught:
        store.ping()
    assert caught.value.store == store.name
    assert f"127.0.0.1:{closed_port} does not answer: nothing listens there." in str(caught.value)
    assert f"Check [{store.name}] in the profile" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_making_a_store_connects_to_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        settings = all_at(server.getsockname()[1], tmp_path)
        for make in STORES:
            make(settings).close()
            with pytest.raises(BlockingIOError):  # nobody waits to be accepted
                server.accept()


@pytest.mark.parametrize(
    ("bootstrap", "addresses"),
    [
        ("a:1", [("a", 1)]),
        ("a:1, b:2", [("a", 1), ("b", 2)]),
        ("a", [("a", 9092)]),
        ("[::1]:1", [("::1", 1)]),
    ],
)
def test_brokers_by_address(bootstrap: str, addresses: list[tuple[str, int]], tmp_path: Path) -> None:
    profile = tmp_path / "shop.toml"
    profile.write_text(f'[kafka]\nbootstrap = "{bootstrap}"\n')
    assert bootstrap_addresses(Settings.load(profile=str(profile))) == addresses


def test_a_frame_has_its_types_with_and_without_rows() -> None:
    names = ["n", "gaps", "yes", "at", "money", "text", "day"]
    kinds = {0: "integer", 1: "integer", 2: "boolean", 3: "time", 5: "text", 6: "date"}
    row = (1, 2**60 + 1, True, datetime(2026, 1, 1), Decimal("1.10"), "a", date(2026, 1, 1))
    full = to_frame(names, [row, (2, None, False, *[None] * 4)], kinds, more=True)  # type: ignore[arg-type]
    empty = to_frame(names, [], kinds)  # type: ignore[arg-type]
    expected = ["int64", "Int64", "bool", "datetime64[ns, UTC]", "object", "string", "date32[day][pyarrow]"]
    assert [str(dtype) for dtype in full.dtypes] == expected
    assert [str(dtype) for dtype in empty.dtypes] == [d.replace("Int64", "int64") for d in expected]
    assert full["gaps"][0] == 2**60 + 1, "float64 would round it"
    assert full["money"][0] == Decimal("1.10") and isinstance(full["money"][0], Decimal)
    assert full["at"][0] == datetime(2026, 1, 1, tzinfo=UTC)
    assert full["day"][0] == date(2026, 1, 1) and list(full["day"].dt.year)[:1] == [2026]
    assert full["text"].str.split(".").str[0][0] == "a"
    assert (full.attrs["more"], empty.attrs["more"], len(empty)) == (True, False, 0)


def test_a_frame_of_a_join_and_of_times_beyond_pandas() -> None:
    odd = to_frame(["day", "text"], [("10000-01-01", "\ud800"), (None, "b")], {0: "date", 1: "text"})
    assert odd.to_numpy().tolist() == [["10000-01-01", "\ud800"], [None, "b"]]
    frame = to_frame(["id", "id"], [(1, datetime(9999, 12, 31))], {0: "integer", 1: "time"})
    assert list(frame.columns) == ["id", "id"]
    assert frame.iloc[0, 1] == datetime(9999, 12, 31, tzinfo=UTC), "as a time that pandas holds"
    assert to_frame([], [], {}).empty


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30s", timedelta(seconds=30)),
        ("10m", timedelta(minutes=10)),
        (" 2 H ", timedelta(hours=2)),
        ("1.5d", timedelta(hours=36)),
    ],
)
def test_spans(text: str, span: timedelta) -> None:
    assert span_of(text) == span_of(span) == span


def test_a_topic_that_is_not_there_is_told_with_the_nearest_or_with_how_it_is_made() -> None:
    shop = Namespace("shop")
    there = ["__consumer_offsets", *shop.topics, "orders", *(f"other.{number}" for number in range(1000))]
    known = "Known: dlq, late, progress, shop.retail.events, "
    for wrong, near in {
        "nope": None,
        "dql": "dlq",
        "shop.retail.event": "shop.retail.events",
        "order": "orders",
    }.items():
        said = str(no_such_topic(shop, wrong, there))
        assert said.startswith(f"There is no topic {wrong!r}. ")
        assert (f"Did you mean {near!r}?" in said) if near else known in said
        assert "other.7" not in said and "topics --create" not in said
    for name, topics in (("shop.retail.events", there[5:]), ("nope", [])):
        assert "`retailpulse topics --create --namespace shop`" in str(no_such_topic(shop, name, topics))


@pytest.mark.parametrize("text", ["30s", "0.25s", "10m", "90m", "2h", "36h", "7d", "0s"])
def test_a_span_is_written_as_it_is_read(text: str) -> None:
    assert span_text(span_of(text)) == text


@pytest.mark.parametrize("text", ["", "10", "m", "-1h", "10 fortnights", "1h30m"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="30s, 10m, 2h or 1d"):
        span_of(text)


def test_the_partitions_of_a_range() -> None:
    around = (MIDNIGHT - timedelta(minutes=1), MIDNIGHT + timedelta(minutes=1))
    assert list(buckets(GRAINS["minute"], *around)) == [MIDNIGHT - timedelta(hours=1), MIDNIGHT]
    assert list(buckets(GRAINS["hour"], *around)) == [MIDNIGHT - timedelta(days=1), MIDNIGHT]
    assert list(buckets(GRAINS["day"], MIDNIGHT, MIDNIGHT)) == []
    assert list(buckets(GRAINS["minute"], MIDNIGHT, MIDNIGHT + timedelta(hours=1))) == [MIDNIGHT]
    assert in_range(MIDNIGHT, MIDNIGHT, None) and not in_range(MIDNIGHT, None, MIDNIGHT)


def test_versions_grow_by_batch_and_a_later_epoch_wins() -> None:
    first, second = 1_700_000_000_000, 1_700_000_600_000
    versions = [version_of(first, batch) for batch in range(300)] + [version_of(second, 0)]
    assert versions == sorted(set(versions))


def test_the_twin_is_a_store_and_says_when_a_table_is_missing() -> None:
    store = MemoryStore()
    assert isinstance(store, FigureStore)
    with pytest.raises(UsageError, match="category_day"):
        store.read(CATEGORY, GRAINS["day"])
