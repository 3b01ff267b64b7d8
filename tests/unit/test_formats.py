"""Messages that are no JSON of the contract: opened, judged event by event, and accounted for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.feed.replay import send
from retailpulse_kernel.ground.errors import ContractError, EventError, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.live.stream.tail import Judge
from retailpulse_kernel.reconcile.tables import Share
from retailpulse_kernel.reconcile.topic import TopicFold
from retailpulse_kernel.shop.adapters.formats import FORMATS as TOOLS
from retailpulse_kernel.shop.contract.comparing import changes
from retailpulse_kernel.shop.contract.loading import contract_of, load_contract, read_contract, shipped
from retailpulse_kernel.shop.contract.model import REGISTERED, Contract
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.formats.opening import FORMATS, JSON, events_in, opener_of
from retailpulse_kernel.shop.formats.options import options_of
from retailpulse_kernel.shop.formats.reading import TopicReader, topic_reader
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.kafka.messages import MessageTable
from retailpulse_kernel.stores.kafka.store import Message
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.batches import newest_epochs
from retailpulse_kernel.streaming.intake.judging import Intake, Stretch
from retailpulse_kernel.streaming.intake.opening import Chunk
from retailpulse_kernel.streaming.plan.data import Plan, RowsPlan, TablePlan
from retailpulse_kernel.streaming.run.changes import Effect, compare
from retailpulse_kernel.streaming.run.planning import under
from retailpulse_kernel.streaming.state.dedup_index import DedupIndex
from tests.formats import UNREADABLE, ga4_hit, order, page, viewed
from tests.fuzz.test_adapters import RECORDS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHOE, HAT = {"product_id": "shoe", "category": "Apparel/Shoes", "price": 19.9}, {"product_id": "hat", "price": "5"}
MINUTE = timedelta(minutes=1)


def of_format(format: str) -> Contract:
    return replace(shipped().decoding, format=format)


def chunk(*values: bytes | None) -> Chunk:
    return Chunk(list(values), list(range(len(values))), [ms_of(NOON)] * len(values))


def judged(intake: Intake, *values: bytes | None, index: DedupIndex | None = None, **stretch: Any) -> list[Any]:
    return [row for batch in intake.rows([chunk(*values)], Stretch(0, **stretch), index) for row in batch.to_pylist()]


def segment(columns: tuple[str, ...], **more: Any) -> Intake:
    return Intake(columns, "t", contract=of_format("segment").plain(), **more)


class Topics:
    """Keeps the rejects that are sent."""

    bad, late = "dlq", "late"

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    def send(self, records: list[tuple[str, str, bytes]]) -> None:
        self.sent += [(topic, key, json.loads(record)) for topic, key, record in records]


class TestOpeners:
    def test_every_tool_but_our_own_has_one(self) -> None:
        assert set(TOOLS) - {"retailpulse"} <= set(FORMATS)

    def test_json_is_read_as_it_is(self) -> None:
        assert opener_of(JSON, {}) is None
        assert events_in(None, b"{}", 0, 0) == (b"{}",)

    def test_an_unknown_format_is_named(self) -> None:
        with pytest.raises(UnknownName, match="segmnt"):
            opener_of("segmnt", {})

    @pytest.mark.parametrize("format", sorted(set(TOOLS) - {"retailpulse"}))
    def test_a_record_is_an_event_of_the_contract(self, format: str) -> None:
        reader = TopicReader(of_format(format))
        (event,) = reader.events(json.dumps(RECORDS[format]).encode(), 3, 17)
        assert isinstance(event, Event)

    @pytest.mark.parametrize("format", ["rees46", "retailrocket"])
    def test_a_record_without_an_id_has_its_place(self, format: str) -> None:
        (event,) = TopicReader(of_format(format)).events(json.dumps(RECORDS[format]).encode(), 3, 17)
        assert isinstance(event, Event) and event.event_id == "3-17"

    def test_a_message_gives_the_same_whatever_came_before(self) -> None:
        opener = opener_of("rees46", {})
        message = json.dumps(RECORDS["rees46"]).encode()
        first, again = events_in(opener, message, 0, 0), [events_in(opener, message, 0, n) for n in (1, 0)][1]
        assert first == again

    def test_a_purchase_that_is_read_alone_is_an_order(self) -> None:
        """An order counts on its line 1: two purchases of a session are two orders, each with a line 1."""
        reader, message = TopicReader(of_format("rees46")), json.dumps(RECORDS["rees46"]).encode()
        bought = [next(reader.events(message, 0, offset)) for offset in (4, 5)]
        assert [(one.order_id, one.order_line) for one in bought] == [("0-4", 1), ("0-5", 1)]  # type: ignore[union-attr]

    def test_what_is_bought_by_retailrocket_s_records_has_the_prices_of_the_items(self, tmp_path: Path) -> None:
        (tmp_path / "items.csv").write_text("itemid,category,price\n1,Shoes,12.5\n2,,7\n")
        text = '[topics.rr]\ntopic = "rr"\nformat = "retailrocket"\ncurrency = "EUR"\nitems = "items.csv"\n'
        (tmp_path / "shop.toml").write_text(text)
        here = Settings.load(contract=str(tmp_path / "shop.toml"))

        def bought(item: int, offset: int) -> Any:
            record = {"timestamp": ms_of(NOON), "visitorid": 7, "event": "transaction", "itemid": item,
                      "transactionid": 99}  # fmt: skip
            return next(topic_reader(here, "rr").events(json.dumps(record).encode(), 0, offset))

        first, second = bought(1, 4), bought(2, 5)
        assert (first.price, first.currency, first.category) == (Decimal("12.5"), "EUR", "Shoes")
        assert (second.price, second.order_id, second.order_line) == (7, "0-5", 1), "a message is an order of its own"
        assert (bought(3, 6).reason, bought(3, 6).detail) == (
            "missing:price", "a transaction needs a price: the file of items has none of '3'"
        )  # fmt: skip
        before = contract_of(here)
        (tmp_path / "items.csv").write_text("itemid,price\n1,13\n")
        with pytest.raises(ContractError, match=r"line 5: topics.rr.items: .* has no column category"):
            load_contract(tmp_path / "shop.toml", thoroughly=True)
        (tmp_path / "items.csv").unlink()
        with pytest.raises(ContractError, match=r"items.csv of the topic 'rr' can't be read"):
            contract_of(here)
        (tmp_path / "items.csv").write_text("itemid,category,price\n1,Shoes,13\n")
        after = contract_of(here)
        assert bought(1, 4).price == 13, "who starts now goes by the file as it is now"
        plan = Plan("j", "rr", "event_id", 0, (), "change", "publish", ())
        (found,) = compare(under(plan, before), under(plan, after))
        assert found.effect is Effect.EPOCH and "items=items.csv items_version=" in found.reason
        assert "its items_version is" in str(next(iter(changes(before, after))))

    def test_an_order_s_lines_are_events_in_its_order(self) -> None:
        found = list(TopicReader(of_format("segment")).events(order("m", NOON, [SHOE, HAT, SHOE]), 0, 0))
        assert [one.event_id for one in found if isinstance(one, Event)] == ["m-1", "m-2", "m-3"]
        assert [one.price for one in found if isinstance(one, Event)] == [Decimal("19.9"), 5, Decimal("19.9")]

    @pytest.mark.parametrize(("message", "reason"), UNREADABLE.items(), ids=UNREADABLE.values())
    def test_what_can_t_be_opened_has_a_reason(self, message: bytes, reason: str) -> None:
        (found,) = TopicReader(of_format("segment")).events(message, 0, 0)
        assert isinstance(found, EventError) and found.reason == reason

    def test_the_shop_s_rules_hold(self) -> None:
        options = {"currency": "CHF", "prices": "exact"}
        (event,) = TopicReader(of_format("segment"), options).events(viewed("m", NOON), 0, 0)
        assert isinstance(event, Event) and event.currency == "CHF"
        computed = order("m", NOON, [SHOE | {"price": 19.123456789012345}])
        (error,) = TopicReader(of_format("segment"), options).events(computed, 0, 0)
        assert isinstance(error, EventError) and error.reason == "range:price"

    @given(message=st.binary(max_size=60) | st.sampled_from([b"null", b"{}", b'{"items": 1}', b"NaN", b'"\\ud800"']))
    @settings(max_examples=100, deadline=None)
    def test_any_bytes_give_a_reason_and_nothing_is_raised(self, message: bytes) -> None:
        # The others ask a registry: tests/integration/test_schema_registry.py
        for format in set(FORMATS) - set(REGISTERED):
            assert [type(one) for one in TopicReader(of_format(format)).events(message, 0, 0)] == [EventError]


class TestIntake:
    def test_events_are_judged_one_by_one(self) -> None:
        lines = [SHOE, HAT | {"price": "dear"}, HAT, HAT | {"quantity": 0}]
        *rows, counts = judged(segment(("event_id", "raw")), order("m", NOON, lines), page("p"), None, b"\xff")
        assert [row["event_id"] for row in rows] == ["m-1", "m-3"]
        assert (counts["n_accepted"], counts["n_bad"], counts["n_further"]) == (2, 5, 3)
        assert json.loads(rows[1]["raw"])["product_id"] == "hat", "the archive reads it as an event"

    def test_two_bad_events_of_a_message_are_two_dead_letters(self) -> None:
        topics = Topics()
        message = order("m", NOON, [HAT | {"quantity": 0}, SHOE, HAT | {"price": "dear"}])
        judged(segment((), rejects=topics), message, b"\xff")
        assert [(key, record["reason"], record.get("event")) for _, key, record in topics.sent] == [
            ("t-0-0", "range:quantity", 1),
            ("t-0-0-3", "format:price", 3),
            ("t-0-1", "not_utf8", None),
        ]
        assert {record["value"] for _, _, record in topics.sent[:2]} == {message.decode()}
        assert "value_base64" in topics.sent[2][2]

    def test_late_events_of_a_message_are_several(self) -> None:
        topics = Topics()
        intake = segment(("event_id",), rejects=topics, keep_late=True)
        early = order("m", NOON - 60 * MINUTE, [SHOE, HAT])
        *rows, counts = judged(intake, early, watermark_ms=ms_of(NOON - 10 * MINUTE))
        assert counts["n_late"] == 2 and [key for _, key, _ in topics.sent] == ["t-0-0", "t-0-0-2"]
        assert len({row["dedup_key"] for row in rows}) == 2, "Spark would take one for a duplicate of the other"

    def test_a_message_that_is_sent_twice_counts_once(self, tmp_path: Path) -> None:
        intake = segment(("event_id",), horizon_ms=600_000)
        message, index = order("m", NOON, [SHOE, HAT]), DedupIndex(tmp_path)
        for _ in range(2):  # done again, it is the same
            *rows, counts = judged(intake, message, message, index=index)
            assert [row["event_id"] for row in rows] == ["m-1", "m-2"]
            assert (counts["n_accepted"], counts["n_further"]) == (4, 2)

    def test_an_order_that_is_taken_once_has_one_line(self, tmp_path: Path) -> None:
        """As where each line is a message: the fold takes the first, and so does the index."""
        intake = segment(("event_id",), unique_by="order_id", horizon_ms=600_000)
        index, messages = DedupIndex(tmp_path), [order("a", NOON, [SHOE, HAT]), order("b", NOON, [HAT, SHOE])]
        for _ in range(2):
            *rows, _ = judged(intake, *messages, index=index)
            assert [row["event_id"] for row in rows] == ["a-1", "b-1"]


_TIMES = st.integers(-90, 3).map(lambda minutes: NOON + minutes * MINUTE)
_NAMES = st.sampled_from("abcdef")
_LINES = st.lists(
    st.sampled_from([SHOE, HAT, HAT | {"price": -1}, HAT | {"price": "dear"}, SHOE | {"quantity": 3}]),
    min_size=0,
    max_size=4,
)
_CALLS = (
    st.builds(order, _NAMES, _TIMES, _LINES)
    | st.builds(viewed, _NAMES, _TIMES)
    | st.builds(page, _NAMES)
    | st.sampled_from([b"\xff", None])
)


@given(values=st.lists(_CALLS, max_size=30), unique_by=st.sampled_from(["event_id", "order_id"]))
@settings(max_examples=60, deadline=None)
def test_the_fold_of_a_topic_counts_as_a_job_does(
    values: list[bytes | None], unique_by: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Consumed and further events are accepted, duplicate, late and bad ones, by both."""
    intake = segment(("event_id",), delay_ms=600_000, horizon_ms=10**9, unique_by=unique_by)
    *rows, counts = judged(intake, *values, index=DedupIndex(tmp_path_factory.mktemp("ids")))
    said = {
        "accepted": len(rows), "duplicate": counts["n_accepted"] - len(rows), "late": counts["n_late"],
        "bad": counts["n_bad"], "further_events": counts["n_further"],
    }  # fmt: skip
    account = Account(
        job="j", epoch=1, batch=0, offsets={"t": {"0": len(values)}}, consumed=len(values), rows=0, watermark_ms=0,
        started_ms=0, finished_ms=0, held=True, **said,
    )  # fmt: skip
    jobs = newest_epochs([account], "t")
    assert jobs["j"].problems == []
    fold = TopicFold(
        jobs.values(),
        {"j": Share("j", (("cassandra", CATEGORY),), unique_by=unique_by)},
        reader=TopicReader(of_format("segment")),
    )
    fold.run(Message(0, offset, ms_of(NOON), None, value) for offset, value in enumerate(values))
    (batch,) = jobs["j"].batches
    assert batch.found == {"consumed": len(values), **said}


def test_a_tail_shows_each_event_and_what_can_t_be_opened() -> None:
    table = MessageTable(of_format("ga4"), opener_of("ga4", {}))
    hit = ga4_hit("o", NOON, [{"item_id": "shoe", "price": 2.5}, {"item_id": "hat", "price": 1}])
    scroll = ga4_hit("o", NOON, [], event="scroll")
    table.add([0, 1, 0], [7, 3, 8], [1, 2, 3], [hit, scroll, b"\xff"])
    frame = table.frame(None, of_events=True)
    assert list(frame.kafka_offset) == [7, 7, 3, 8] and list(frame.product_id.dropna()) == ["shoe", "hat"]
    assert list(frame.raw.dropna()) == [scroll, b"\xff"]
    assert list(frame.price.dropna()) == [Decimal("2.5"), 1]


def test_the_live_view_takes_each_event_of_a_message() -> None:
    judge = Judge(600_000, TopicReader(of_format("segment")))
    lines = [SHOE, HAT | {"price": "dear"}, HAT]
    values = [order("m", NOON, lines), order("m", NOON, lines), page("p"), order("n", NOON - 20 * MINUTE, lines)]
    found = [judge.judge(Message(0, offset, ms_of(NOON), None, value)) for offset, value in enumerate(values)]
    assert [[event.offset for event in events] for events in found] == [[0, 0], [], [], []]
    assert (judge.bad, judge.duplicate, judge.late) == (4, 2, 2)


@pytest.mark.parametrize("make", [viewed, lambda name, time: order(name, time, [SHOE, HAT])])
def test_ids_within_a_message_differ(make: Callable[[str, datetime], bytes]) -> None:
    found = TopicReader(of_format("segment")).events(make("m", NOON), 0, 0)
    ids = Counter(one.event_id for one in found if isinstance(one, Event))
    assert set(ids.values()) == {1}


def test_the_contract_knows_the_formats_that_are_opened() -> None:
    from retailpulse_kernel.shop.contract import loading

    assert set(loading.FORMATS) == set(FORMATS)


CONTRACT = """
[topics.events]
format = "segment"
currency = "CHF"
prices = "exact"

[fields.price]
path = "money.amount"

[fields.coupon]
path = "properties.coupon"
default = "none"
dimension = true

[fields.depth]
type = "decimal(6,3)"
path = "context.screen.depth"
"""


def test_a_shop_s_own_fields_are_where_the_record_has_them() -> None:
    """Its standard fields are where the adapter puts them, whatever the shop's own messages look like."""
    contract = read_contract(CONTRACT, name="shop.toml", base=shipped()).of_topic("retail.events")
    call = json.loads(order("m", NOON, [SHOE, HAT]))
    call["properties"]["coupon"] = "SPRING"
    call["context"]["screen"] = {"depth": Decimal("1.25")}
    reader = TopicReader(contract, options_of(Settings(), contract))
    found = list(reader.events(msgspec.json.Encoder(decimal_format="number").encode(call), 0, 0))
    assert [(one.coupon, one.depth, one.price, one.currency) for one in found] == [  # type: ignore[union-attr]
        ("SPRING", Decimal("1.25"), Decimal("19.9"), "CHF"),
        ("SPRING", Decimal("1.25"), Decimal(5), "CHF"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('prices = "exactly"', "'exactly' can't be chosen for prices. Did you mean 'exact'? There is: computed, exact"),
        ('currency = "EURO"', "'EURO' can't be chosen for currency."),
        ('users = "own"\nformat = "json"', "users is a choice for records of other tools, and the format is 'json'."),
        ("fields.x = {}", "Records of segment become standard events, and can't have fields of another shape."),
        ('item = "x.csv"', "There is no key 'item'"),
        ('items = "x.csv"', "Only records of retailrocket need prices beside them, and the format is 'segment'."),
    ],
)
def test_faults_of_a_topic_s_choices_are_named(text: str, said: str) -> None:
    format = "" if "format" in text else 'format = "segment"\n'
    with pytest.raises(ContractError) as raised:
        read_contract(f"[topics.web]\n{format}{text}\n", name="shop.toml", base=shipped())
    assert said in str(raised.value)


def plan(contract: str) -> Plan:
    """The plan of a job of rows that reads the topic ``shop.web``, under a contract."""
    rows = RowsPlan("hits", (("event_id", "string"),), ("event_id",), "append", "q", (("shop.web", "event_id"),))
    tables = (TablePlan("hits", "cassandra", rows=rows),)
    made = Plan("j", "shop.web", "event_id", 60_000, (), "change", "publish", tables)
    return under(made, read_contract(contract, name="shop.toml", base=shipped()))


WEB = '[topics.web]\ntopic = "shop.web"\n'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", 'format = "ga4"', "the messages of shop.web were read as json, and now are as ga4"),
        ('format = "ga4"', 'format = "segment"', "were read as ga4, and now are as segment"),
        ('format = "ga4"', 'format = "ga4"\nusers = "reject"', "were read as ga4, and now are as ga4 users=reject"),
        ('format = "ga4"', 'format = "ga4"', ""),
        ("", 'format = "json"', ""),
    ],
)
def test_another_format_needs_an_epoch(old: str, new: str, said: str) -> None:
    found = compare(plan(WEB + old), plan(WEB + new))
    assert [(one.what, one.effect) for one in found] == [("format", Effect.EPOCH)] * bool(said)
    assert all(said in one.reason for one in found)
    before, after = (read_contract(WEB + text, name="shop.toml", base=shipped()) for text in (old, new))
    assert [one.what for one in changes(before, after)] == ["topic"] * bool(said)


def test_nothing_is_sent_as_json_to_a_topic_of_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop.toml").write_text('[topics.events]\nformat = "segment"\n')
    monkeypatch.setenv("RETAILPULSE_CONTRACT", str(tmp_path / "shop.toml"))
    with pytest.raises(UsageError, match=r"retail.events holds segment by the contract"):
        send(Settings.load(home=tmp_path), [])
