"""Records of Segment and GA4 read live from topics as they are: equal to the same records from a file, to the cent."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
import nbformat
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from typer.testing import CliRunner

from retailpulse_kernel.cli import app
from retailpulse_kernel.feed.adapters import Rules, read
from retailpulse_kernel.feed.checking import check_file
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.workbench.workbench import Workbench
from tests.formats import UNREADABLE, ga4_hit, order, page, viewed
from tests.jobs import JobProcess, run_here, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
SHOP = """
[topics.events]
format = "segment"
currency = "CHF"

[topics.web]
topic = "shop.web"
format = "ga4"

[fields.screen]
path = "context.screen"
default = "unknown"
dimension = true
"""
CELLS = """
# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow, or take what there is
run_for: timedelta | None = None  # how long a continuous run lasts

# %%
import retailpulse_kernel as rp

job = rp.job("sold", run=run, run_for=run_for)
figures = [rp.metrics.EVENTS, rp.metrics.REVENUE, rp.metrics.ORDERS]
sold = job.events().figures(*figures, by=["category", "currency"], every=["1 hour"], table="sold")
job.write(sold, to=rp.cassandra)
web = job.events(topic="shop.web").df
hits = web.select("event_id", "event_time", "event_type", "product_id", "category", "price", "quantity", "order_id")
job.write(hits, to=rp.cassandra, table="hits", key="event_id")
job.run()
"""


class Records(NamedTuple):
    """Messages of both topics."""

    segment: list[bytes]
    ga4: list[bytes]


def records() -> Records:
    """Orders of several lines, bad lines, repeated messages, calls about no product, and no records at all."""
    categories, calls, hits = ("Apparel/Shoes", "Apparel > Hats", "Home"), [], []
    for number in range(400):
        time = START + timedelta(seconds=9 * number)
        lines = [
            {"product_id": f"p{(number + line) % 7}", "category": categories[(number + line) % 3],
             "price": f"{number}.{line + 1}9", "quantity": line + 1}
            for line in range(number % 4 + 1)
        ]  # fmt: skip
        if number % 20 == 3:
            lines[1]["price"] = "dear" if number % 40 == 3 else -1
        calls.append(order(f"m{number}", time, lines, user=f"u{number % 9}", currency="EUR" if number % 2 else ""))
        calls.append(viewed(f"v{number}", time, category=categories[number % 3], user=f"u{number % 9}"))
        item: dict[str, Any] = {"item_id": f"p{number % 5}", "item_category": "Home", "price": number + 0.5}
        items = [{**item, "item_variant": line} for line in range(number % 3 + 1)]
        if number % 25 == 7:
            items[-1]["quantity"] = 0
        hits.append(ga4_hit(f"o{number}", time, items))
        if number % 10 == 0:
            calls += [page(f"page{number}"), calls[-2]]
            hits += [ga4_hit("scrolled", time, [], event="scroll"), hits[-1]]
    return Records([*calls, *UNREADABLE], [*hits, *UNREADABLE])


def produce(settings: Settings, topic: str, messages: list[bytes]) -> None:
    """Equal messages go to one partition, as those of one sender do."""
    producer = Producer({**client_config(settings), "enable.idempotence": True})
    for message in messages:
        producer.produce(topic, key=message[:200], value=message)
    assert producer.flush(30) == 0


def of_file(messages: list[bytes], format: str, folder: Path) -> tuple[dict[str, Event], int]:
    """The events of the same records from a file, each id once, and how many rows and lines are none."""
    path = folder / f"{format}.jsonl"
    path.write_bytes(b"\n".join(messages) + b"\n")
    events: dict[str, Event] = {}
    bad = 0
    for found in read(path, format, rules=Rules(currency="CHF") if format == "segment" else None):
        if isinstance(found, Event):
            events.setdefault(found.event_id, found)
        else:
            bad += 1
    return events, bad


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("formats")
    (made / "shop.toml").write_text(SHOP)
    (made / "local.toml").write_text('contract = "shop.toml"\n')
    content = jupytext.reads(CELLS, fmt="py:percent")
    content.metadata["kernelspec"] = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    nbformat.write(content, made / "sold.ipynb")
    return made


@pytest.fixture(scope="module", params=["resumed", pytest.param("killed", marks=pytest.mark.long)])
def settings(stack: Settings, folder: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """A namespace in which the job has read both topics, in two runs or after it was killed."""
    with pytest.MonkeyPatch.context() as patch:
        # The local servers without a Connect server: that of a test's stack may run older code.
        patch.setenv("RETAILPULSE_PROFILE", str(folder / "local.toml"))
        made = Settings.load(namespace=f"t_formats_{request.param}")
        web = made.namespace.topic("shop.web")
        drop(made)
        ensure_topics(made)
        Admin(made).create([NewTopic(web, num_partitions=4)])
        segment, ga4 = records()
        produce(made, made.namespace.events_topic, segment[:500])
        produce(made, web, ga4[:200])
        if request.param == "killed":
            kill_in_the_middle(made, folder, segment[500:700])
        else:
            run_here(made, folder / "sold.ipynb")
            produce(made, made.namespace.events_topic, segment[500:700])
        produce(made, made.namespace.events_topic, segment[700:])
        produce(made, web, ga4[200:])
        run_here(made, folder / "sold.ipynb")
        yield made
        drop(made)


def kill_in_the_middle(settings: Settings, folder: Path, more: list[bytes]) -> None:
    """Kill the job when it has done a micro-batch of each output, and messages wait."""
    job = JobProcess(settings, str(folder / "sold"), folder / "log")
    try:
        wait_until(
            lambda: len({account.output for account in accounts_of(settings)}) == 2 or job.process.poll() is not None,
            "a batch of both outputs",
        )
        assert job.process.poll() is None, (folder / "log").read_text()[-3_000:]
        produce(settings, settings.namespace.events_topic, more)
    finally:
        job.kill()


def accounts_of(settings: Settings) -> list[Account]:
    return read_accounts(settings, further=True)


def test_figures_are_those_of_a_file_to_the_cent(settings: Settings, tmp_path: Path) -> None:
    events, _ = of_file(records().segment, "segment", tmp_path)
    wanted: defaultdict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    for event in events.values():
        sums = wanted[event.category, event.currency]
        sums[0] += 1
        if event.event_type == "purchase":
            sums[1] += (event.price or Decimal(0)) * event.quantity
    rows = Workbench(namespace=settings.namespace.name).cassandra.query("SELECT * FROM sold_hour", limit=None)
    found: defaultdict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    for row in rows.to_dict("records"):
        sums = found[row["category"], row["currency"]]
        sums[0] += row["events"]
        sums[1] += row["revenue"]
    assert found == wanted and {currency for _, currency in found} == {"EUR", "CHF"}


def test_rows_are_those_of_a_file(settings: Settings, tmp_path: Path) -> None:
    events, _ = of_file(records().ga4, "ga4", tmp_path)
    rows = Workbench(namespace=settings.namespace.name).cassandra.query("SELECT * FROM hits", limit=None)
    names = ("product_id", "category", "price", "order_id")
    found = {row["event_id"]: tuple(row[name] for name in names) for row in rows.to_dict("records")}
    assert found == {one.event_id: tuple(getattr(one, name) for name in names) for one in events.values()}


def test_every_message_and_every_event_is_accounted_for(settings: Settings, tmp_path: Path) -> None:
    for output, format in (("", "segment"), ("hits", "ga4")):
        messages = getattr(records(), format)
        events, bad = of_file(messages, format, tmp_path)
        mine = [account for account in accounts_of(settings) if account.output == output]
        assert sum(one.consumed for one in mine) == len(messages)
        assert sum(one.accepted for one in mine) == len(events)
        assert sum(one.bad for one in mine) == bad
        assert sum(one.late for one in mine) == 0
        assert all(one.events == one.accepted + one.duplicate + one.late + one.bad for one in mine)
        assert sum(one.further_events for one in mine) > 100 and sum(one.duplicate for one in mine) > 40


def test_each_bad_event_is_one_dead_letter_with_its_reason(settings: Settings, tmp_path: Path) -> None:
    letters = {m.key: m.value for m in KafkaStore(settings).messages(settings.namespace.dlq_topic)}
    bad = sum(of_file(getattr(records(), format), format, tmp_path)[1] for format in ("segment", "ga4"))
    assert len(letters) == bad
    frame = KafkaStore(settings).tail(settings.namespace.dlq_topic, limit=None)
    reasons = Counter(frame.drop_duplicates(["topic", "partition", "offset", "event"]).reason)
    assert {"not_mapped", "format:price", "range:price", "range:quantity", *UNREADABLE.values()} == set(reasons)


def test_reconcile_finds_both_tables_equal(settings: Settings, folder: Path) -> None:
    result = reconcile(settings, notebook=folder / "sold.ipynb")
    assert result.outcome == "equal", (result.differences, result.unchecked)
    assert {(one.table, one.state) for one in result.tables if one.job == "sold"} == {
        ("sold_hour", "equal"),
        ("hits", "equal"),
    }
    (job,) = result.jobs
    assert job.further_events > 100 and job.reported == job.found


def test_a_notebook_looks_at_the_events(settings: Settings, tmp_path: Path) -> None:
    """A tail shows what messages hold, a sample has what a job would take."""
    rp = Workbench(namespace=settings.namespace.name)
    frame = rp.kafka.tail("shop.web", last="1h", limit=None)
    assert {"purchase"} == set(frame.event_type.dropna()) and len(frame) > len(records().ga4)
    sample = rp.job("looked").events(topic="shop.web").sample(limit=None).toPandas()
    assert set(sample.event_id) == set(of_file(records().ga4, "ga4", tmp_path)[0]) < set(frame.event_id.dropna())


def test_a_check_of_the_topic_goes_by_its_format(settings: Settings, tmp_path: Path) -> None:
    events, bad = of_file(records().segment, "segment", tmp_path)
    done = CliRunner().invoke(app, ["topics", "check", "--namespace", settings.namespace.name, "--json"])
    found = json.loads(done.stdout)
    assert (found["format"], found["rows"], found["events"]) == ("segment", len(records().segment), len(events))
    assert sum(found["rejected"].values()) == bad and done.exit_code == 1
    of_the_file = check_file(tmp_path / "segment.jsonl", "segment", rules=Rules(currency="CHF"))
    assert found["changed"] == of_the_file.changed and found["changed"]
