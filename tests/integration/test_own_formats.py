"""A format of a shop's own, read from a topic as from a file: by Spark's workers, by the check and by a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from typer.testing import CliRunner

from retailpulse_kernel.cli import app
from retailpulse_kernel.feed.adapters import Accepted, read_rows
from retailpulse_kernel.feed.checking import check_file
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.workbench.workbench import Workbench
from tests.unit.test_declared import SALE, TILL

pytestmark = pytest.mark.integration

OWN = """
[fields.coupon]

[fields.drawer]
path = "drawer.number"
type = "int"
"""


def records() -> list[dict[str, Any]]:
    """Sales of the last hour, some of them no sales, one without its lines, one with an odd price."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    found: list[dict[str, Any]] = []
    for number in range(60):
        receipt = SALE["receipt"] | {"no": number}
        if number == 7:
            receipt = {"no": number}
        if number == 8:
            receipt |= {"positions": [{"article": "x", "cents": "dear"}, {"article": "y", "cents": 100}]}
        sale = SALE | {"at": int((start + timedelta(seconds=number)).timestamp()), "receipt": receipt}
        found.append(sale | {"drawer": {"number": number % 3}} | ({"kind": "OPEN"} if number % 20 == 3 else {}))
    return found


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "shop.toml").write_text(OWN + TILL)
    (folder / "local.toml").write_text('contract = "shop.toml"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_PROFILE", str(folder / "local.toml"))
        made = Settings.load(namespace="t_own_formats")
        drop(made)
        tills = made.namespace.topic("shop.tills")
        Admin(made).create([NewTopic(tills, num_partitions=2)])
        producer = Producer({**client_config(made), "enable.idempotence": True})
        for number, record in enumerate(records()):
            producer.produce(tills, key=str(number), value=json.dumps(record))
        assert producer.flush(30) == 0
        yield made
        drop(made)


def of_file(settings: Settings, folder: Path) -> tuple[dict[str, Any], int]:
    """The events of the same records from a file, and how many rows and lines are none."""
    path = folder / "tills.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records()))
    rows = list(read_rows(path, contract=contract_of(settings)))
    events = [row.event for row in rows if isinstance(row, Accepted)]
    return {event.event_id: event for event in events}, len(rows) - len(events)


def test_the_check_of_the_topic_finds_what_the_file_has(settings: Settings, tmp_path: Path) -> None:
    events, bad = of_file(settings, tmp_path)
    topic = settings.namespace.topic("shop.tills")
    for named in ((), ("--format", "till")):
        given = ["topics", "check", topic, "--namespace", settings.namespace.name, "--json", *named]
        found = json.loads(CliRunner().invoke(app, given).stdout)
        assert (found["format"], found["rows"], found["events"]) == ("till", 60, len(events))
        assert sum(found["rejected"].values()) == bad == 5
        assert found["changed"] == check_file(tmp_path / "tills.jsonl", "till", contract=contract_of(settings)).changed
        assert found["changed"], "a mapped topic is checked as a file is"


def test_workers_and_notebooks_read_the_topic(settings: Settings, tmp_path: Path) -> None:
    events, _ = of_file(settings, tmp_path)
    rp = Workbench(namespace=settings.namespace.name)
    sample = rp.job("looked").events(topic="shop.tills").sample(limit=None).toPandas()
    names = ["price", "quantity", "order_id", "order_line", "coupon", "drawer"]
    found = {row["event_id"]: [row[name] for name in names] for row in sample.to_dict("records")}
    assert found == {name: [getattr(event, field) for field in names] for name, event in events.items()}
    tail = rp.kafka.tail("shop.tills", last="1d", limit=None)
    assert set(tail.event_id.dropna()) == set(events)
