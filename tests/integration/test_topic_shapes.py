"""Payments of a topic with fields of their own, joined with purchases: killed once, equal to a plain fold."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.gate.gate import promote
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.contract.loading import load_contract
from retailpulse_kernel.shop.figures import EVENTS, REVENUE, Figure, greatest_of, sum_of
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.registry import figure_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.plan.data import read_plan
from retailpulse_kernel.streaming.plan.finding import plans
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import JobProcess, run_here, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NAMESPACE = "t_topic_shapes"
PAYMENTS = """
[topics.payments]
topic = "shop.payments"
id = "payment_id"
time = "paid_at"

[topics.payments.fields.payment_id]
path = "id"
type = "long"
required = true

[topics.payments.fields.paid_at]
type = "timestamp"
required = true

[topics.payments.fields.order_id]
path = "order.id"
required = true

[topics.payments.fields.amount]
path = "money.amount"
type = "decimal(9,2)"
required = true
min = 0

[topics.payments.fields.method]
dimension = true
default = "unknown"

[topics.payments.fields.note]
"""
SHOP = f"""
{PAYMENTS}
{PAYMENTS.replace("payments", "returns")}
[topics.stock]
topic = "shop.stock"

[topics.stock.fields.sku]
required = true
dimension = true

[topics.stock.fields.pieces]
type = "int"
"""
CELLS = """
# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow, or take what there is
run_for: timedelta | None = None  # how long a continuous run lasts

# %%
from pyspark.sql import functions as F

import retailpulse_kernel as rp

job = rp.job("payments", run=run, run_for=run_for, trigger="200ms")
purchases = job.events(watermark="30m")
payments = job.events(topic="shop.payments", watermark="30m").where("method != 'test'")

# %%
paid = payments.df.select("payment_id", "order_id", "amount", "method", F.col("event_time").alias("paid"))
bought = purchases.df.where("event_type = 'purchase' AND order_line = 1").select(
    F.col("order_id").alias("bought_order"), "user_id", "price", F.col("event_time").alias("bought")
)
near = F.expr("order_id = bought_order AND paid >= bought AND paid <= bought + INTERVAL 1 HOUR")
rows = paid.join(bought, near).select("payment_id", "order_id", "user_id", "amount", "method", "price", "paid")
job.write(rows, to=rp.cassandra, table="paid_orders", key="payment_id")
job.run()
"""
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
ORDERS = 400
Row = dict[str, Any]


def text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def purchases() -> list[Row]:
    """Orders of one line, ten seconds apart, of which some are sent twice."""
    chance, found = random.Random(3), []
    for number in range(ORDERS):
        found.append(
            {
                "event_id": f"e{number}", "event_type": "purchase",
                "event_time": text(START + number * timedelta(seconds=10)),
                "user_id": f"u{number % 30}", "session_id": "s", "product_id": "p", "price": f"{number}.50",
                "currency": "EUR", "order_id": f"o{number}", "order_line": 1,
            }
        )  # fmt: skip
        found += [found[-1]] * (chance.random() < 0.05)
    return found


def payments() -> list[Row | bytes]:
    """A payment of most orders, good ones and bad ones of every kind; some are sent twice, some belong to no order."""
    chance, found = random.Random(5), list[Row | bytes]()
    for number in range(ORDERS):
        if chance.random() < 0.1:
            continue
        moment = START + number * timedelta(seconds=10) + timedelta(milliseconds=chance.randrange(20_000))
        message: Row = {
            "id": 2**40 + number, "paid_at": text(moment), "order": {"id": f"o{number}"},
            "money": {"amount": chance.choice([f"{number}.50", number])}, "note": "thanks",
        }  # fmt: skip
        if chance.random() < 0.8:
            message["method"] = chance.choice(["card", "cash", "test"])
        if chance.random() < 0.05:
            message["order"] = {"id": "nobody's"}
        found.append(message)
        found += [message] * (chance.random() < 0.05)
        if number % 40 == 7:
            further = {"id": 2**41 + number}
            for part in (
                {"money": {"amount": "1.555"}},
                {"money": None},
                {"id": "x"},
                {"paid_at": "soon"},
                {"order": 1},
            ):
                found.append({**message, **further, **part})
            found.append(b"\xff\x00")
    return found


REASONS = {"range:amount", "missing:amount", "type:payment_id", "format:paid_at", "type:order_id", "not_utf8"}


def is_good(message: Row | bytes) -> bool:
    if isinstance(message, bytes):
        return False
    amount = (message["money"] or {}).get("amount")
    of_order = isinstance(message["order"], dict) and isinstance(message["id"], int) and message["paid_at"] != "soon"
    return amount not in (None, "1.555") and of_order


def folded() -> dict[int, tuple[Any, ...]]:
    """What the table should hold, by nothing but arithmetic."""
    orders = {one["order_id"]: one for one in purchases()}
    found = {}
    for one in payments():
        if not is_good(one) or one.get("method") == "test":  # type: ignore[union-attr]
            continue
        assert isinstance(one, dict)
        order = orders.get(one["order"]["id"])
        if order is not None:
            found[one["id"]] = (
                one["order"]["id"], order["user_id"], Decimal(one["money"]["amount"]), one.get("method", "unknown"),
                Decimal(order["price"]), datetime.fromisoformat(one["paid_at"]),
            )  # fmt: skip
    return found


def send(settings: Settings, topic: str, values: list[Row | bytes]) -> None:
    producer = Producer({**client_config(settings), "enable.idempotence": True})
    for number, value in enumerate(values):
        sent = value if isinstance(value, bytes) else json.dumps(value).encode()
        producer.produce(settings.namespace.topic(topic), value=sent, partition=number % 2)
        producer.poll(0)
    assert producer.flush(30) == 0


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.toml").write_text(SHOP)
    (folder / "local.toml").write_text('contract = "shop.toml"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_PROFILE", str(folder / "local.toml"))
        made = Settings.load(namespace=NAMESPACE)
        drop(made)
        ensure_topics(made)
        Admin(made).create([NewTopic(made.namespace.topic(name), 2) for name in ("shop.payments", "shop.stock")])
        yield made
        drop(made)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notebook") / "payments.ipynb"
    content = jupytext.reads(CELLS, fmt="py:percent")
    content.metadata["kernelspec"] = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    nbformat.write(content, path)
    return path


def accounts(settings: Settings) -> list[Account]:
    return [account for account in read_accounts(settings, further=True) if account.output == "paid_orders"]


@pytest.fixture(scope="module")
def joined(settings: Settings, notebook: Path) -> Settings:
    """The job of the join after it was killed in the middle, and run to the end of both topics."""
    bought, paid = purchases(), payments()
    send(settings, "retail.events", [*bought[:200]])
    send(settings, "shop.payments", paid[:200])
    job = JobProcess(settings, str(notebook.with_suffix("")), notebook.with_name("log"))
    try:
        wait_until(lambda: bool(accounts(settings)) or job.process.poll() is not None, "a batch")
        assert job.process.poll() is None, notebook.with_name("log").read_text()[-3_000:]
        send(settings, "shop.payments", paid[200:])
        send(settings, "retail.events", [*bought[200:]])
    finally:
        job.kill()
    run_here(settings, notebook)
    return settings


@pytest.mark.long
class TestJoin:
    def test_payments_joined_with_purchases_equal_a_plain_fold(self, joined: Settings) -> None:
        frame = Workbench(namespace=NAMESPACE).cassandra.query("select * from paid_orders", limit=None)
        names = ("order_id", "user_id", "amount", "method", "price", "paid")
        found = {row["payment_id"]: tuple(row[name] for name in names) for row in frame.to_dict("records")}
        assert found == folded()
        assert len(found) > 150

    def test_every_message_of_both_topics_is_accounted_for(self, joined: Settings) -> None:
        kafka = KafkaStore(joined)
        for topic in ("retail.events", "shop.payments"):
            offsets = kafka.offsets(joined.namespace.topic(topic))
            taken = Counter[int]()
            for account in accounts(joined):
                taken |= Counter({int(p): end for p, end in account.offsets[joined.namespace.topic(topic)].items()})
            assert taken == Counter({partition: end for partition, (_, end) in offsets.items()})
        counts = {name: sum(getattr(one, name) for one in accounts(joined)) for name in ("consumed", "accepted", "bad")}
        assert counts["consumed"] == len(purchases()) + len(payments())
        ids = {one["id"] for one in payments() if isinstance(one, dict) and is_good(one)}
        assert counts["accepted"] == ORDERS + len(ids)
        assert counts["bad"] == sum(not is_good(one) for one in payments())

    def test_a_bad_payment_is_a_dead_letter_with_the_field_s_reason(self, joined: Settings) -> None:
        letters = Workbench(namespace=NAMESPACE).kafka.consume("dlq", limit=None)
        assert set(letters["topic"]) == {joined.namespace.topic("shop.payments")}
        # A batch that was done again has sent its own once more, with the same key.
        places = {(row["partition"], row["offset"]): row["reason"] for row in letters.to_dict("records")}
        assert set(places.values()) == REASONS
        assert len(places) == sum(not is_good(one) for one in payments())

    def test_it_is_reconciled(self, joined: Settings, notebook: Path) -> None:
        (check,) = [check for check in reconcile(joined, notebook=notebook).tables if check.job == "payments"]
        assert (check.state, check.reason, check.rows) == ("equal", "", len(folded()))

    def test_the_gate_tries_it_on_samples_of_both_topics(self, joined: Settings, notebook: Path) -> None:
        done = promote(joined, notebook, only_try=True, sample=100)
        assert done.ok, done.steps
        assert done.verdict is not None and done.verdict.outcome == "resume", done.verdict

    def test_the_plan_has_what_the_query_reads_of_each_topic(self, joined: Settings) -> None:
        epoch = find_epoch(f"{joined.checkpoints}/payments")
        plan = None if epoch is None else read_plan(epoch.path)
        assert plan is not None
        read = {(field.topic, field.name): field.path for field in plan.fields}
        assert read == {
            ("shop.payments", name): path
            for name, path in {
                "event_id": "id", "event_time": "paid_at", "payment_id": "id", "paid_at": "paid_at",
                "order_id": "order.id", "amount": "money.amount", "method": "method",
            }.items()
        }  # fmt: skip


def stock() -> list[Row | bytes]:
    """Movements without an id and a time: each counts, also one that is like another."""
    return [{"sku": f"s{number % 3}", "pieces": number % 7 - 2} for number in range(300)] + [b'{"sku": 7}']


PIECES = Figure("pieces_moved", "Pieces", sum_of("pieces"))
MOST = Figure("most", "Most", greatest_of("pieces"))


def moved(rp: Workbench) -> Job:
    """A job of figures of the stock's movements."""
    job = rp.job("moved")
    events = job.events(topic="shop.stock").where("pieces IS NOT NULL")
    job.write(events.figures(EVENTS, PIECES, MOST, by=["sku"], every=["1 day"], table="moved"), to=rp.cassandra)
    return job


@pytest.fixture(scope="module")
def rp(settings: Settings) -> Workbench:
    """After the job of figures has run twice."""
    rp = Workbench(namespace=NAMESPACE)
    for part in (stock()[:100], stock()[100:]):
        send(settings, "shop.stock", part)
        moved(rp).run()
    return rp


def test_figures_of_a_topic_without_ids_count_each_message(rp: Workbench, settings: Settings) -> None:
    wanted = defaultdict[str, list[int]](list)
    for one in stock()[:-1]:
        assert isinstance(one, dict)
        wanted[one["sku"]].append(one["pieces"])
    frame = rp.cassandra.query("select * from moved_day", limit=None)
    found = defaultdict[str, Counter[str]](Counter)
    for row in frame.to_dict("records"):  # of two days, where it is midnight
        found[row["sku"]] += Counter({"events": row["events"], "pieces": row["pieces_moved"]})
    assert found == {sku: Counter(events=len(all_), pieces=sum(all_)) for sku, all_ in wanted.items()}
    asked = rp.figures("events", "pieces_moved", by="sku")
    assert {row["sku"]: row["events"] for row in asked.to_dict("records")} == {
        sku: len(all_) for sku, all_ in wanted.items()
    }
    counts = [account for account in read_accounts(settings) if account.job == "moved"]
    assert (sum(one.accepted for one in counts), sum(one.bad for one in counts)) == (300, 1)


def test_figures_of_a_topic_of_another_shape_are_reconciled(rp: Workbench, settings: Settings) -> None:
    result = reconcile(settings)
    (check,) = [check for check in result.tables if check.job == "moved"]
    assert (check.table, check.state, check.reason) == ("moved_day", "equal", "")
    assert check.rows in (3, 6)  # of two days, where it is midnight
    (job,) = [job for job in result.jobs if job.job == "moved"]
    assert (job.problems, job.reported, job.found["bad"]) == ([], job.found, 1)
    assert result.differences == []  # nor of the job that joins two topics
    (plan,) = [plan for plan in plans(settings) if plan.job == "moved"]
    table, now = plan.tables[0].table, time.time_ns() // 1_000_000
    (day,) = table.every
    with closing(figure_store("cassandra", settings)) as store:
        row = next(row for row in store.read(table, day) if row["sku"] == "s1")
        store.write(table, day, [row | {"pieces_moved": row["pieces_moved"] + 1}], version=now)
        (check,) = [check for check in reconcile(settings).tables if check.job == "moved"]
        assert check.state == "differs" and check.first is not None and check.first.key["sku"] == "s1"
        store.write(table, day, [row], version=now + 1)


def test_a_backfill_writes_the_same(rp: Workbench) -> None:
    before = rp.cassandra.query("select sku, events, pieces_moved, most from moved_day", limit=None)
    job = rp.job("moved", run="backfill")
    events = job.events(topic="shop.stock").where("pieces IS NOT NULL")
    job.write(events.figures(EVENTS, PIECES, MOST, by=["sku"], every=["1 day"], table="moved"), to=rp.cassandra)
    job.run()
    after = rp.cassandra.query("select sku, events, pieces_moved, most from moved_day", limit=None)
    assert after.sort_values("sku").to_dict("records") == before.sort_values("sku").to_dict("records")


def test_samples_tail_and_given_rows_have_the_topics_fields(rp: Workbench) -> None:
    events = rp.job("look").events(topic="shop.stock").where("pieces > 3")
    sample = events.sample(None)
    assert sample.columns[-2:] == ["sku", "pieces"]
    assert {row["pieces"] for row in sample.toArrow().to_pylist()} == {4}
    tail = rp.kafka.tail("shop.stock", last="1h", limit=None)
    assert list(tail.columns)[3:5] == ["sku", "pieces"] and len(tail) == 301
    figures = events.figures(EVENTS, PIECES, by=["sku"], every=["1 hour"], table="looked")
    (row,) = figures.of([{"pieces": 5}, {"pieces": 4}, {"pieces": 3}])
    assert (row["sku"], row["events"], row["pieces_moved"]) == ("x", 2, 9)


def test_what_a_topic_does_not_have_is_refused_by_name(rp: Workbench) -> None:
    job = rp.job("refused")
    events = job.events(topic="shop.stock")
    for figure, by, said in (
        (REVENUE, ["sku"], "'price'"),
        (Figure("x", "X", sum_of("peices")), ["sku"], r"no column 'peices' of an event\. Did you mean 'pieces'\?"),
        (EVENTS, ["category"], "There is no dimension 'category'"),
    ):
        with pytest.raises(UsageError, match=said):
            events.figures(figure, by=by, every=["1 hour"], table="refused")
    with pytest.raises(UsageError, match=r"The archive holds standard events, and those of 'shop.stock' have fields"):
        job.write(events, to=rp.hive)
    with pytest.raises(UnknownName, match="'user_id'"):
        job.events(topic="shop.stock", unique_by="user_id")
    assert job.events(topic="shop.stock", unique_by="sku").unique_by == "sku"


def test_a_topic_that_the_contract_lacks_has_the_standard_event(rp: Workbench) -> None:
    events = rp.job("others").events(topic="of.nobody")
    assert events.contract.holds_events and "product_id" in events.contract.types


@pytest.mark.parametrize("named", [f"{NAMESPACE}.shop.stock", "shop.stock"], ids=["in full", "within the namespace"])
def test_a_contract_is_proposed_for_a_topic_of_another_shape(rp: Workbench, tmp_path: Path, named: str) -> None:
    made = tmp_path / "proposed.toml"
    words = ["contract", "init", "--namespace", NAMESPACE, "--from", named, "--topic", "stock"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--output", str(made)])
    assert not ended.value.code
    found = load_contract(made).of_topic("shop.stock")
    assert {name: field.type for name, field in found.by_name.items()} == {"sku": "string", "pieces": "int"}
    assert found.counts_messages


def checked(capsys: pytest.CaptureFixture[str], topic: str, *further: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["topics", "check", topic, "--namespace", NAMESPACE, *further])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err


@pytest.mark.parametrize("named", [f"{NAMESPACE}.shop.stock", "shop.stock"], ids=["in full", "within the namespace"])
def test_a_topic_of_another_shape_is_checked_by_its_own_contract(
    rp: Workbench, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    code, said = checked(capsys, named, "--json")
    found = json.loads(said)
    assert (code, found["rows"], found["events"], found["repeated_ids"]) == (1, 301, 300, 0)
    assert found["rejected"] == {"type:sku": 1}
    assert found["fields"] == {"sku": 300, "pieces": 300}
    assert (found["by_type"], found["revenue"], found["users"]) == ({}, {}, 0)
    assert "sku 300, pieces 300" in checked(capsys, named)[1]


def test_ids_times_and_defaults_of_another_shape_are_counted(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = settings.namespace.topic("shop.returns")
    Admin(settings).create([NewTopic(topic, 2)])
    paid = {"id": 1, "paid_at": "2026-03-01T10:00:00.123456Z", "order": {"id": "o"}, "money": {"amount": "1.50"}}
    card = {**paid, "id": 2, "paid_at": "2026-03-01T11:00:00Z", "method": "card", "note": "thanks"}
    send(settings, "shop.returns", [paid, paid, {**paid, "money": {"amount": 2}}, card, {**paid, "money": None}, b"x"])
    code, said = checked(capsys, "shop.returns", "--json")
    found = json.loads(said)
    assert (code, found["rows"], found["events"]) == (1, 6, 2)
    assert (found["repeated_ids"], found["conflicting_ids"]) == (2, 1)
    assert found["changed"] == {"defaulted:method": 3, "cut:event_time": 3}
    assert found["rejected"] == {"missing:amount": 1, "not_json": 1}
    assert (found["since"], found["until"]) == ("2026-03-01T10:00:00.123Z", "2026-03-01T11:00:00.000Z")
    assert found["fields"] == {"payment_id": 2, "paid_at": 2, "order_id": 2, "amount": 2, "method": 2, "note": 1}


def test_what_can_not_be_checked_is_said(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(capsys, "shop.stock", "--format", "segment")
    assert code == 2 and "Leave --format out" in said
    code, said = checked(capsys, "shop.nothing")
    assert code == 2 and "There is no topic 'shop.nothing'" in said
    found = json.loads(checked(capsys, "retail.progress", "--json")[1])  # a name that no contract has
    assert found["topic"] == settings.namespace.progress_topic
