"""Topics in Avro, Protobuf and JSON Schema, with a real Schema Registry: from messages to figures."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewTopic
from google.protobuf import timestamp_pb2, wrappers_pb2
from google.type import decimal_pb2
from rich.console import Console

from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.formats.opening import Opener, opener_of
from retailpulse_kernel.shop.formats.registry import registry_options
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.services import SERVICES
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.run.context import RunContext
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import consumed, produce, run_here, totals, wait_until
from tests.proxy import Proxy
from tests.schemas import EVENT, WIDER_EVENT, Schemas, message_type

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
#: The registry asks for no login; who sends one must tell it nowhere else.
CANARY = "open-sesame-9"
PROFILE = """
contract = "shop.toml"

[registry]
username = "ann"
password = "env:REGISTRY_PASSWORD"
"""
DRAFT = "http://json-schema.org/draft-07/schema#"
SHOP = """
[topics.events]
topic = "retail.events"
format = "{format}"
"""


PAYMENTS = """
[topics.payments]
topic = "shop.payments"
format = "protobuf"
id = "id"

[topics.payments.fields.id]
type = "long"
required = true

[topics.payments.fields.amount]
type = "decimal(9,2)"
"""


@pytest.fixture(scope="module")
def registry(stack: Settings) -> Settings:
    """The stack with the registry, which the end of the session stops with all else."""
    supervision.up(stack, ["registry"], console=Console(stderr=True))
    return stack


def make_shop(folder: Path, format: str, patch: pytest.MonkeyPatch, namespace: str) -> Settings:
    """A namespace whose events have a format."""
    (folder / "shop.toml").write_text(SHOP.format(format=format))
    # The local servers without a Connect server: that of a test's stack may run older code.
    (folder / "local.toml").write_text(PROFILE)
    patch.setenv("REGISTRY_PASSWORD", CANARY)
    patch.setenv("RETAILPULSE_PROFILE", str(folder / "local.toml"))
    made = Settings.load(namespace=namespace)
    drop(made)
    ensure_topics(made)
    return made


@pytest.fixture
def avro_shop(registry: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    made = make_shop(tmp_path, "avro", monkeypatch, "t_registry")
    yield made
    drop(made)


def event(number: int, **more: Any) -> dict[str, Any]:
    """An event as a shop's program has it."""
    chance = random.Random(number)
    kind = chance.choice(["view", "add_to_cart", "purchase"])
    order = {"order_id": f"o{number}", "order_line": 1} if kind == "purchase" else {}
    return {
        "event_id": f"e{number}", "event_type": kind, "event_time": START + timedelta(milliseconds=17 * number),
        "user_id": f"u{number % 9}", "session_id": "s", "product_id": "p",
        "price": Decimal(chance.randrange(10**7)) / 100, "quantity": chance.randint(1, 5), **order, **more,
    }  # fmt: skip


def revenue(events: list[dict[str, Any]]) -> Decimal:
    return sum((e["price"] * e["quantity"] for e in events if e["event_type"] == "purchase"), Decimal(0))


def opened(opener: Opener | None, message: bytes) -> dict[str, Any]:
    assert opener is not None
    (found,) = opener.open(message, 0, 0)
    assert isinstance(found, bytes)
    return json.loads(found, parse_float=Decimal)


def refused(opener: Opener | None, message: bytes) -> EventError:
    assert opener is not None
    with pytest.raises(EventError) as caught:
        opener.open(message, 0, 0)
    return caught.value


def test_avro_keeps_each_value_exactly(registry: Settings) -> None:
    longs = {"type": "array", "items": "long"}
    fields = {
        "money": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 4},
        "millis": {"type": "long", "logicalType": "timestamp-millis"},
        "micros": {"type": "long", "logicalType": "timestamp-micros"},
        "day": {"type": "int", "logicalType": "date"},
        "one": {"type": "string", "logicalType": "uuid"},
        "word": {"type": "enum", "name": "Word", "symbols": ["yes", "no"]},
        "raw": "bytes",
        "nothing": ["null", "string"],
        "inner": {"type": "record", "name": "Inner", "fields": [{"name": "list", "type": longs}]},
    }  # fmt: skip
    schema = {"type": "record", "name": "All", "fields": [{"name": n, "type": t} for n, t in fields.items()]}
    moment = datetime(2026, 1, 31, 10, 0, 0, 123456, UTC)
    given = {
        "money": Decimal("12345678901234567890.1000"), "millis": moment, "micros": moment, "day": date(2026, 1, 31),
        "one": uuid.UUID(int=7), "word": "no", "raw": b"\xff\x00", "nothing": None, "inner": {"list": [2**62]},
    }  # fmt: skip
    opener = opener_of("avro", registry_options(registry))
    assert opened(opener, Schemas(registry).avro(schema)(given)) == {
        "money": "12345678901234567890.1000", "millis": "2026-01-31T10:00:00.123Z",
        "micros": "2026-01-31T10:00:00.123456Z", "day": "2026-01-31", "one": str(uuid.UUID(int=7)), "word": "no",
        "raw": "/wA=", "nothing": None, "inner": {"list": [2**62]},
    }  # fmt: skip


def test_avro_is_read_with_the_schema_that_it_was_written_with(registry: Settings) -> None:
    schemas, opener = Schemas(registry), opener_of("avro", registry_options(registry))
    older, newer = schemas.avro(EVENT), schemas.avro(WIDER_EVENT)
    before, after = older(event(1)), newer(event(2, quantity=2**40, category="toys"))
    assert before[1:5] != after[1:5], "each has a schema of its own"
    assert (opened(opener, after)["quantity"], opened(opener, after)["category"]) == (2**40, "toys")
    assert "category" not in opened(opener, before)


def test_what_is_no_avro_is_refused_with_its_reason(registry: Settings) -> None:
    opener = opener_of("avro", registry_options(registry))
    good = Schemas(registry).avro(EVENT)(event(1))
    other = Schemas(registry).json_schema({"$schema": DRAFT, "title": "Other", "type": "object"})({})
    for message in (b"", b"\0", b"garbage", b"\1" * 30, good[:5], good[:-3], good + b"more", other):
        assert refused(opener, message).reason == "not_avro", message
    for unknown in (b"\0\xff\xff\xff\xff", b"\0\x7f\xff\xff\xf0"):
        assert refused(opener, unknown + good[5:]).reason == "unknown_schema"
    assert "is of the type JSON" in refused(opener, other).detail


def test_json_schema_keeps_the_text_and_says_where_it_is_broken(registry: Settings) -> None:
    schema = {
        "$schema": DRAFT, "title": "Event", "type": "object", "required": ["id"],
        "properties": {"id": {"type": "string"}, "items": {"items": {"properties": {"price": {"type": "number"}}}}},
    }  # fmt: skip
    opener = opener_of("json_schema", registry_options(registry))
    head = Schemas(registry).json_schema(schema)({"id": "e"})[:5]
    exact = b'{"id": "e", "items": [{"price": 9999999999999.1234}]}'
    assert opener is not None and opener.open(head + exact, 0, 0) == [exact]
    broken = refused(opener, head + b'{"id": "e", "items": [{"price": 1}, {"price": "dear"}]}')
    assert (broken.reason, broken.detail) == ("not_valid", "$.items[1].price: 'dear' is not of type 'number'")
    assert refused(opener, head + b"{}").detail == "$: 'id' is a required property"
    assert refused(opener, head + b'{"id": ').reason == "not_json"
    assert refused(opener, exact).reason == "not_json_schema"


def test_protobuf_needs_no_generated_code(registry: Settings) -> None:
    kinds = {
        "id": ("STRING",), "quantity": ("INT64",), "time": (".google.protobuf.Timestamp",), "kind": (".shop.Kind",),
        "points": (".google.protobuf.Int64Value",), "price": (".google.type.Decimal",), "tags": ("STRING", "repeated"),
        "zero": ("INT32",), "raw": ("BYTES",), "absent": (".google.type.Decimal",),
    }  # fmt: skip
    imports = [module.DESCRIPTOR.name for module in (timestamp_pb2, wrappers_pb2, decimal_pb2)]
    kind = message_type("event.proto", kinds, *imports)
    value = kind(id="e", quantity=2**60, kind=2, tags=["a", "b"], raw=b"\xff")
    value.time.FromJsonString("2026-01-31T10:00:00.5Z")
    value.points.value, value.price.value = 7, "19.90"
    message = Schemas(registry).protobuf(kind)(value)
    opener = opener_of("protobuf", registry_options(registry))
    assert opened(opener, message) == {
        "id": "e", "quantity": 2**60, "time": "2026-01-31T10:00:00.500Z", "kind": "purchase", "points": 7,
        "price": "19.90", "tags": ["a", "b"], "zero": 0, "raw": "/w==",
    }  # fmt: skip
    assert refused(opener, message[:-1]).reason == "not_protobuf"
    assert refused(opener, message[:5] + b"\x02\x7f" + message[7:]).reason == "not_protobuf", "there is no such type"
    assert refused(opener, b"garbage").reason == "not_protobuf"


def test_any_bytes_are_opened_or_refused(registry: Settings) -> None:
    schemas, chance = Schemas(registry), random.Random(11)
    kind = message_type("few.proto", {"id": ("STRING",), "n": ("INT64", "repeated")})
    good = {
        "avro": schemas.avro(EVENT)(event(1)),
        "json_schema": Schemas(registry).json_schema({"$schema": DRAFT, "title": "Any", "type": "object"})({"a": 1}),
        "protobuf": Schemas(registry).protobuf(kind)(kind(id="e", n=[1, 2])),
    }
    for format, message in good.items():
        opener = opener_of(format, registry_options(registry))
        assert opener is not None
        for _ in range(1_000):
            broken = bytearray(message)
            for _ in range(chance.randint(1, 4)):
                broken[chance.randrange(5, len(broken))] = chance.randrange(256)
            with contextlib.suppress(EventError):
                assert all(json.loads(one) is not None for one in opener.open(bytes(broken), 0, 0))  # type: ignore[arg-type]


def test_an_avro_topic_is_read_as_any_other(avro_shop: Settings) -> None:
    schemas = Schemas(avro_shop)
    events = [event(number) for number in range(300)]
    write = schemas.avro(EVENT)
    good = [("k", write(one)) for one in events]
    produce(avro_shop, [*good[:100], ("k", b"garbage"), *good[100:], good[7], ("k", b"\0\x7f\xff\xff\xf0....")])
    run_here(avro_shop, "metrics")
    rp = Workbench(namespace=avro_shop.namespace_name)
    assert figures(rp) == (revenue(events), 300)
    reasons = rp.kafka.consume("dlq", limit=None)["reason"].value_counts().to_dict()
    assert reasons == {"not_avro": 1, "unknown_schema": 1}
    tail = rp.kafka.tail(last="1h", limit=None)
    assert tail["price"].dropna().sum() == sum(one["price"] for one in [*events, events[7]])
    assert not reconcile(avro_shop).differences
    kept = [path for path in Path(avro_shop.checkpoints).rglob("*") if path.is_file()]
    assert any(b"avro" in path.read_bytes() for path in kept), "the plan has the format"
    assert not [path for path in kept if CANARY.encode() in path.read_bytes()]
    assert CANARY not in repr(rp.kafka.consume("dlq", limit=None).to_dict("records"))


def test_the_list_of_topics_has_their_formats(avro_shop: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["topics", "--json", "--namespace", avro_shop.namespace_name])
    assert not ended.value.code
    formats = {topic["topic"]: topic["format"] for topic in json.loads(capsys.readouterr().out)}
    assert formats.pop(avro_shop.namespace.events_topic) == "avro"
    assert set(formats.values()) == {"json"}


def test_a_topic_of_another_shape_may_have_a_registry(
    registry: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop(tmp_path, "json", monkeypatch, "t_registry_shape")
    (tmp_path / "shop.toml").write_text(PAYMENTS)
    try:
        made = Admin(shop).create([NewTopic(shop.namespace.topic("shop.payments"), 2)])
        assert made
        kind = message_type(
            "payment.proto", {"id": ("INT64",), "amount": (".google.type.Decimal",)}, decimal_pb2.DESCRIPTOR.name
        )
        write = Schemas(shop).protobuf(kind)
        payments = [kind(id=2**40 + number, amount={"value": f"{number}.50"}) for number in range(50)]
        produce(shop, [("k", write(one)) for one in payments] + [("k", b"garbage")], "shop.payments")
        rp = Workbench(namespace=shop.namespace_name)
        job = rp.job("payments")
        job.write(
            job.events(topic="shop.payments").df.select("id", "amount"), to=rp.cassandra, table="paid", key=["id"]
        )
        job.run()
        frame = rp.cassandra.query("select id, amount from paid", limit=None)
        assert dict(zip(frame["id"], frame["amount"], strict=True)) == {
            2**40 + number: Decimal(f"{number}.50") for number in range(50)
        }
        assert list(rp.kafka.consume("dlq", limit=None)["reason"]) == ["not_protobuf"]
    finally:
        drop(shop)


def figures(rp: Workbench) -> tuple[Decimal, int]:
    """Revenue and events of the whole table."""
    frame = rp.cassandra.query("select revenue, events from category_day", limit=None)
    return sum(frame["revenue"], Decimal(0)), int(frame["events"].sum())


@pytest.mark.long
def test_schemas_survive_a_restart(registry: Settings) -> None:
    message = Schemas(registry).avro(EVENT)(event(1))
    supervision.down(registry, names=["registry"])
    supervision.up(registry, ["registry"], console=Console(stderr=True))
    (status,) = (one for one in supervision.status(registry) if one.name == "registry")
    assert status.healthy and status.state == "running"
    schema = Schemas(registry).client.get_schema(int.from_bytes(message[1:5]))
    assert json.loads(schema.schema_str)["name"] == "Event"


JOB = """
import retailpulse_kernel as rp
from retailpulse_kernel.shop.figures import EVENTS, REVENUE

job = rp.job("sales", run="continuous")
sales = job.events().figures(EVENTS, REVENUE, by=["currency", "category"], every=["1 day"], table="sales")
job.write(sales, to=rp.cassandra)
job.run()
"""


class Running:
    """A job in a process of its own, with what it has said."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._log, self._stop = settings, folder / "job.log", folder / "stop"
        context = RunContext(stop_file=str(self._stop)).environment()
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", JOB], env={**os.environ, **environment(settings), **context},
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self._log.read_text()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(lambda: self.process.poll() is not None or condition(), what, 120)
        assert condition(), self.said[-3_000:]

    def stop(self) -> None:
        self._stop.touch()
        assert self.process.wait(120) == 0, self.said[-3_000:]

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.mark.long
def test_a_running_job_follows_schemas_and_waits_for_the_registry(avro_shop: Settings, tmp_path: Path) -> None:
    """A field is added and a type widened while a job runs; the registry is away when the new ids come."""
    schemas, console = Schemas(avro_shop), Console(stderr=True)
    newest = {**WIDER_EVENT, "fields": [*WIDER_EVENT["fields"], {"name": "brand", "type": "string", "default": ""}]}
    first, second, third = schemas.avro(EVENT), schemas.avro(WIDER_EVENT), schemas.avro(newest)
    older = [event(number) for number in range(300)]
    newer = [event(number, category="toys") for number in range(300, 900)]
    known = [*map(first, older), b"garbage", b"\0\x7f\xff\xff\xf0...."]
    wider = [*map(second, newer[:300]), b"\0garbage"]
    # The serialiser asks for the schema of an id once: the registry may be away then.
    widest = [*map(third, newer[300:]), first(older[0])]
    port = SERVICES["registry"].ports["port"]
    # Through a proxy, which comes back at once: a server needs longer on a busy machine.
    proxy = Proxy(("127.0.0.1", port + avro_shop.port_offset))
    url = f"http://127.0.0.1:{proxy.port - avro_shop.port_offset}/apis/ccompat/v7"
    (tmp_path / "local.toml").write_text(f'{PROFILE}url = "{url}"\n')
    job = Running(avro_shop, tmp_path)

    def send(messages: list[bytes], away: Callable[[], None], word: str, back: Callable[[], None]) -> None:
        end = consumed(avro_shop, "sales") + len(messages)
        away()
        produce(avro_shop, [("k", message) for message in messages])
        job.until(lambda: word in job.said, word)
        assert not word or consumed(avro_shop, "sales") < end, "nothing is skipped"
        back()
        job.until(lambda: consumed(avro_shop, "sales") >= end, f"after {word}")

    try:
        send(known, lambda: None, "", lambda: None)
        send(wider, proxy.stop, "The Schema Registry is not ready", proxy.start)
        assert "is waiting" not in job.said, "a short outage is no matter of the job's"
        send(
            widest,
            lambda: supervision.down(avro_shop, names=["registry"]),
            "sales is waiting: The Schema Registry",
            lambda: supervision.up(avro_shop, ["registry"], console=console),
        )
        job.stop()
    finally:
        job.kill()
        proxy.stop()
        supervision.up(avro_shop, ["registry"], console=console)
    counts = totals(read_accounts(avro_shop), "sales")
    assert counts == Counter(consumed=len(known) + len(wider) + len(widest), accepted=900, duplicate=1, bad=3, late=0)
    rp = Workbench(namespace=avro_shop.namespace_name)
    frame = rp.cassandra.query("select category, revenue, events from sales_day", limit=None)
    assert sum(frame["revenue"], Decimal(0)) == revenue([*older, *newer])
    assert frame.groupby("category")["events"].sum().to_dict() == {"unknown": 300, "toys": 600}
    assert Counter(rp.kafka.consume("dlq", limit=None)["reason"]) == {"not_avro": 1, "unknown_schema": 2}
    assert not reconcile(avro_shop).differences
