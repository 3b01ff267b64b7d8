"""Reference tables in real stores: what is read of each, what is refused, and a store that comes late or goes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from retailpulse_kernel.ground.errors import StoreUnavailable, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import ReferenceTable
from retailpulse_kernel.stores.cassandra.rows import keyspace_ddl
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.topics import await_leaders, ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.reference_tables import read_table
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.query.analysis import analysed
from retailpulse_kernel.streaming.reference.refreshing import References, TableState
from retailpulse_kernel.workbench.workbench import Workbench
from tests.proxy import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TABLE = """
[tables.{name}]
{source} = "products"
key = "sku"

[tables.{name}.columns]
sku = "string"
cost = "decimal(9,2)"
pieces = "int"
weight = "double"
listed = "bool"
since = "date"
seen = "timestamp"
"""
ROWS: list[dict[str, Any]] = [
    {
        "sku": "A", "cost": Decimal("1.50"), "pieces": 7, "weight": 0.5, "listed": True,
        "since": date(2026, 1, 31), "seen": datetime(2026, 1, 31, 10, 0, 0, 250_000, UTC),
    },
    {"sku": "B", "cost": None, "pieces": None, "weight": None, "listed": None, "since": None, "seen": None},
]  # fmt: skip


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("contract")
    sources = ("cassandra", "hive", "topic")
    (folder / "shop.toml").write_text("".join(TABLE.format(name=f"in_{one}", source=one) for one in sources))
    made = Settings.load(namespace=f"t_sources_{os.getpid()}", contract=str(folder / "shop.toml"))
    drop(made)
    ensure_topics(made)
    with closing(CassandraStore(made)) as cassandra:
        cassandra.query(keyspace_ddl(made))
        cassandra.query(
            "create table products (sku text primary key, cost decimal, pieces int, weight double, listed boolean, "
            "since date, seen timestamp, colour text)"
        )
        cassandra.query(
            "insert into products (sku, cost, pieces, weight, listed, since, seen) values "
            "('A', 1.5, 7, 0.5, true, '2026-01-31', '2026-01-31T10:00:00.250Z')"
        )
        cassandra.query("insert into products (sku) values ('B')")
    with closing(HiveStore(made)) as hive:
        hive.query(
            "create table products (sku string, cost decimal(9,2), pieces int, weight double, listed boolean, "
            "since date, seen timestamp, colour string) stored as parquet"
        )
        hive.query(
            "insert into products select 'B', null, null, null, null, null, null, null union all select "
            "'A', 1.50, 7, 0.5D, true, date '2026-01-31', timestamp '2026-01-31 10:00:00.25', 'x'"
        )
    topic = made.namespace.topic("products")
    Admin(made).create([NewTopic(topic, 2, config={"cleanup.policy": "compact"})])
    await_leaders(Admin(made), {topic: 2})
    full = {"sku": "A", "cost": "1.50", "pieces": 7, "weight": 0.5, "listed": True, "since": "2026-01-31"}
    send(
        made,
        ("A", {"sku": "A", "pieces": 1}),
        ("C", {"sku": "C"}),
        ("B", {"sku": "B", "more": [1]}),
        ("C", None),
        ("A", {**full, "seen": "2026-01-31T10:00:00.25Z"}),
    )
    yield made
    drop(made)


def send(settings: Settings, *messages: tuple[str | None, Any]) -> None:
    producer = Producer({**client_config(settings), "enable.idempotence": True})
    for key, value in messages:
        content = None if value is None else json.dumps(value).encode()
        producer.produce(settings.namespace.topic("products"), key=key, value=content)
    assert producer.flush(30) == 0


def table(settings: Settings, name: str) -> ReferenceTable:
    return {one.name: one for one in contract_of(settings).tables}[name]


@pytest.mark.parametrize("name", ["in_cassandra", "in_hive", "in_topic"])
def test_a_table_is_read_in_the_contract_s_types(settings: Settings, name: str) -> None:
    assert read_table(settings, table(settings, name)).to_pylist() == ROWS


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("in_cassandra", {"place": "product"}, "There is no Cassandra table 'product'. Did you mean 'products'?"),
        ("in_hive", {"place": "product"}, "There is no Hive table 'product'. Did you mean 'products'?"),
        ("in_topic", {"place": "product"}, "product"),
        (
            "in_hive",
            {"columns": (("sku", "string"), ("color", "string"))},
            "no column 'color' of Hive's table products. Did you mean 'colour'?",
        ),
        ("in_cassandra", {"columns": (("sku", "int"),)}, "has a value that is not a int"),
        (
            "in_topic",
            {"key": ("pieces",)},
            "The key column 'pieces' of the reference table 'in_topic' is null in 1 row",
        ),
    ],
)
def test_what_does_not_fit_is_refused(settings: Settings, name: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_table(settings, replace(table(settings, name), **change))
    assert said in str(refused.value)


def test_a_store_that_comes_late_and_one_that_goes(settings: Settings, tmp_path: Path) -> None:
    proxy = Proxy(("127.0.0.1", settings.profile.hive.port))
    proxy.stop()
    (tmp_path / "profile.toml").write_text(f'[hive]\nport = {proxy.port}\nauth = "NOSASL"\n')
    far = Settings.load(
        namespace=settings.namespace_name, profile=str(tmp_path / "profile.toml"), contract=str(settings.contract)
    )
    told: list[TableState] = []
    epoch = new_epoch(str(tmp_path / "job"))
    references = References(far, [table(far, "in_hive")], epoch.path, told.append)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        references.begin(now_ms=0)
    proxy.start()
    references.begin(now_ms=1)
    assert [state.error for state in told] == [""]
    proxy.stop()
    references.look(now_ms=600_001)
    assert "does not answer" in told[-1].error and told[-1].version == told[0].version
    proxy.start()
    references.look(now_ms=630_001)
    assert told[-1].error == "" and told[-1].read_ms == 630_001
    proxy.stop()


def test_a_table_in_a_notebook(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAILPULSE_CONTRACT", str(settings.contract))
    rp = Workbench(namespace=settings.namespace_name)
    job = rp.job("lookups")
    with pytest.raises(UnknownName, match=r"There is no reference table 'in_hiv'\. Did you mean 'in_hive'\?"):
        job.reference("in_hiv")
    products = job.reference("in_topic")
    assert products.where("sku = 'A'").select("sku", "cost", "seen").collect()[0].cost == Decimal("1.50")
    send(settings, ("D", {"sku": "D"}))
    assert {row.sku for row in products.collect()} == {"A", "B", "D"}, "outside of the job, the table is read each time"
    send(settings, ("D", None))
    events = job.events().df
    found = []
    for name in ("in_topic", "in_topic", "in_hive"):
        products = job.reference(name).withColumnRenamed("sku", "product_id")
        found.append(analysed(events.join(products, "product_id")))
    assert found[0].fingerprint == found[1].fingerprint != found[2].fingerprint
    assert found[2].references == ["in_hive"]
