"""What goes to browsers: only what is acknowledged is built upon, and nobody holds the others up for long."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.stream.corrections import Addition
from retailpulse_kernel.live.stream.cube import Cube, Reading
from retailpulse_kernel.live.stream.feed import Feed
from retailpulse_kernel.live.stream.frames import NOTHING, Clients, Keys, frame
from retailpulse_kernel.live.stream.health import Health
from retailpulse_kernel.live.stream.stored import Batches, VersionedRow
from retailpulse_kernel.live.view import live
from retailpulse_kernel.streaming.checkpoint.accounts import Account

ONE, TWO, THREE = (1, 0, 0, 1, 0, 0), (2, 0, 0, 1, 0, 0), (3, 0, 0, 2, 0, 0)


def hello(clients: Clients, name: str = "a") -> None:
    assert clients.hear({"op": "hello", "client": name})


def ack(clients: Clients, seq: int, name: str = "a") -> None:
    assert not clients.hear({"op": "ack", "client": name, "seq": seq})


def test_nothing_goes_out_before_the_last_frame_is_acknowledged() -> None:
    clients = Clients()
    assert clients.base(0.0) is None, "nobody is there"
    hello(clients)
    assert clients.base(0.0) == NOTHING
    clients.went(1, ONE, 0.0)
    assert clients.base(0.5) is None
    ack(clients, 1)
    assert clients.base(0.6) == ONE


def test_what_two_browsers_have_is_what_both_have() -> None:
    clients = Clients()
    hello(clients, "a")
    clients.went(1, TWO, 0.0, to="a")
    ack(clients, 1, "a")
    hello(clients, "b")
    clients.went(2, THREE, 0.1, to="b")
    ack(clients, 2, "b")
    assert clients.base(0.2) == TWO
    clients.hear({"op": "bye", "client": "a"})
    assert clients.base(0.2) == THREE


def test_a_silent_browser_holds_up_nobody_and_gathers_no_backlog() -> None:
    clients = Clients()
    hello(clients)
    sent, now = 0, 0.0
    for _ in range(10_000):  # ten minutes, looked at 16 times a second
        now += 0.06
        if clients.base(now) is not None:
            sent += 1
            clients.went(sent, ONE, now)
    assert sent == 30, "it may be busy for a while; then it has to ask for everything again"
    hello(clients)
    assert clients.base(now) == NOTHING


def test_an_old_acknowledgement_is_no_step_back() -> None:
    clients = Clients()
    hello(clients)
    clients.went(1, ONE, 0.0)
    clients.went(2, TWO, 3.0)
    ack(clients, 2)
    ack(clients, 1)
    assert clients.base(3.1) == TWO


def test_a_frame_has_exact_money_and_only_what_changed() -> None:
    feed, keys = Feed(Settings()), Keys()
    feed.cube = Cube()
    rows = [
        VersionedRow(60, ("USD", "a", "view"), (1, 0, Decimal(0), 0), 0),
        VersionedRow(60, ("USD", "a", "purchase"), (1, 1, Decimal("900719925474.0993"), 1), 0),
    ]
    assert feed.cube.adopt(Reading(frozenset({60}), rows, -1, {}), Batches("t"), alone=True)
    content, versions = frame(feed, keys, NOTHING, run="r", seq=1)
    told = orjson.loads(content)
    assert told["cells"].count(60) == 2 and "9007199254740993" in told["cells"]
    assert [key[1:] for key in told["keys"]] == [["USD", "a", "purchase"], ["USD", "a", "view"]]
    content, same = frame(feed, keys, versions, run="r", seq=2)
    assert orjson.loads(content)["cells"] == orjson.loads(content)["keys"] == [] and same == versions


def test_what_late_events_added_is_sent_when_it_changes() -> None:
    feed, keys = Feed(Settings()), Keys()
    added = [Addition(60, ("USD", "a", "purchase"), (2, 1, Decimal("12.50"), 1), 1_000)]
    feed.corrections.read(lambda: added, list)
    content, versions = frame(feed, keys, NOTHING, run="r", seq=1)
    assert orjson.loads(content)["late"] == [[60, 0, 2, 1, 125_000, 1, 1_000], []]
    feed.corrections.read(lambda: list(added), list)
    content, same = frame(feed, keys, versions, run="r", seq=2)
    assert orjson.loads(content)["late"] is None and same == versions


def account(batch: int, **counts: int) -> Account:
    whole = {"consumed": 10, "accepted": 10, "duplicate": 0, "late": 0, "bad": 0} | counts
    return Account("metrics", 1, batch, {}, **whole, rows=0, watermark_ms=0, started_ms=0, finished_ms=90_000)


def test_batches_are_counted_once() -> None:
    health = Health()
    health.add([account(1, late=2), account(2, bad=1)])
    health.add([account(1, late=2)])
    assert health.since(-1) == [[60, 20, 0, 2, 1]]
    version = health.version
    assert health.since(version) == []
    health.add([account(3)])
    assert health.since(version) == [[60, 30, 0, 2, 1]]


@pytest.mark.parametrize("options", [{"window": "7m"}, {"hz": 10}, {"hz": 0}])
def test_what_a_view_cannot_show_is_said(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="live view"):
        live(Settings(), **options)  # type: ignore[arg-type]
