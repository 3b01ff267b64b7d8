"""The magics on the real servers, as a notebook's cells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from IPython.core.interactiveshell import InteractiveShell

import retailpulse_kernel
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.magics import completion, schema
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, SESSION
from retailpulse_kernel.stores import namespaces
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.workbench.workbench import Workbench

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)
SALES = [
    Event(
        event_id=f"e{i}", event_type="purchase", event_time=NOW, user_id=f"u{i}", session_id=f"s{i}", product_id="p",
        category=f"c{i:02d}", price=Decimal("0.10"), order_id=f"o{i}", order_line=1,
    )
    for i in range(30)
]  # fmt: skip
NASTY = 'it\'s \\ "quoted" ${env:HOME} ${hiveconf:x} %s :name -- ü😀\n;'


@pytest.fixture(scope="module")
def bench(stack: Settings) -> Iterator[Workbench]:
    made = Workbench(namespace=f"ct_magics_{os.getpid()}")
    ensure_topics(made.settings)
    made.hive.create()
    for store, table in ((made.cassandra, CATEGORY), (made.hbase, SESSION)):
        store.create(table)
        for grain in table.every:
            store.write(table, grain, fold(SALES, table, grain), version=1)
    made.kafka.produce([{"event_type": "view", "user_id": f"u{i}", "price": "0.10"} for i in range(40)])
    yield made
    namespaces.drop(made.settings)


@pytest.fixture
def shell(bench: Workbench, use_bench: Callable[[Any], None]) -> Iterator[InteractiveShell]:
    use_bench(bench)
    schema.forget()
    shell = InteractiveShell()
    retailpulse_kernel.load_ipython_extension(shell)
    shell.user_ns |= {"day": NOW.date(), "nasty": NASTY, "currencies": ["USD", "EUR"], "hour": f"{NOW:%Y%m%dT%H}"}
    yield shell
    shell.cleanup()  # else it stays `__main__`, which a process that a later test starts looks at
    shell.reset()
    schema.forget()


@pytest.fixture
def run(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str]]:
    def cell(magic: str, line: str, body: str | None = None) -> tuple[Any, str]:
        capsys.readouterr()
        result = shell.run_line_magic(magic, line) if body is None else shell.run_cell_magic(magic, line, body)
        return result, capsys.readouterr().out.strip()

    return cell


def test_cql(run: Callable[..., tuple[Any, str]], shell: InteractiveShell) -> None:
    frame, said = run("cql", "--limit 4", "select category, revenue from category_day where day = :day")
    assert list(frame["category"]) == ["c00", "c01", "c02", "c03"] and isinstance(frame["revenue"][0], Decimal)
    assert said.startswith("4 of 30 rows: --limit all gives all · ")
    frame, said = run("cql", "select * from category_day where day = :day and currency in :currencies")
    assert len(frame) == 30 and said.startswith("30 rows · ")
    assert run("cql", "--into top --as polars", "select category from category_day")[0] is None
    assert isinstance(shell.user_ns["top"], pl.DataFrame) and len(shell.user_ns["top"]) == 30
    none, said = run("cql", "select * from category_day where day = :day and currency = :nasty")
    assert none.empty and said.startswith("0 rows")
    trace, said = run("cql", "--explain select * from category_day where day = :day")
    assert "CQL has no EXPLAIN" in said and {"step", "source", "microseconds"} == set(trace.columns) and len(trace)
    shell.user_ns["day"] = 1.5
    with pytest.raises(UsageError, match="parameters do not fit"):
        run("cql", "select * from category_day where day = :day")


def test_a_keyspace_is_changed_and_completed_anew(run: Callable[..., tuple[Any, str]]) -> None:
    def tables() -> list[str]:
        found = completion.complete("%%cql\nselect * from ", {})
        return [word for word, _ in found[1]] if found else []

    assert "mine" not in tables()
    frame, said = run("cql", "", "create table mine (k text primary key, v text)")
    assert frame is None and said.startswith("done")
    assert "mine" in tables()
    run("cql", "", "drop table mine")
    assert "mine" not in tables()


def test_hive(run: Callable[..., tuple[Any, str]]) -> None:
    frame, said = run("hive", "--limit 2", "select :nasty t union all select 'b' union all select 'c';")
    assert said.startswith("2 of 3 rows") and NASTY in set(frame["t"])
    frame, _ = run("hive", "select 'USD' in :currencies yes, :day d, 'XXX' in :currencies no")
    assert frame.iloc[0].to_dict() == {"yes": True, "d": NOW.date(), "no": False}
    plan, said = run("hive", "--explain select count(*) from events")
    assert plan is None and "TableScan" in said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "'",
        "\\",
        "\\'",
        "''",
        "a\nb\tc\r",
        "${system:user.name}",
        "%_\\%",
        "\x00",
        "\x1a",
        "\\u0041",
        "\\",
        "😀",
        "é",
    ],
)
def test_hive_gives_back_any_text(run: Callable[..., tuple[Any, str]], shell: InteractiveShell, text: str) -> None:
    shell.user_ns["text"] = text
    frame, _ = run("hive", "select :text t, length(:text) n")
    assert frame["t"][0] == text


def test_hbase(run: Callable[..., tuple[Any, str]], shell: InteractiveShell) -> None:
    frame, said = run("hbase", "--limit 3", "scan session_hour prefix=:hour columns=user_id,revenue")
    assert list(frame.columns) == ["row", "user_id", "revenue"] and said.startswith("3 of 30 rows")
    shell.user_ns |= {"begin": NOW.replace(minute=0), "end": NOW + timedelta(hours=1)}
    assert len(run("hbase", "scan session_hour since=:begin until=:end")[0]) == 30
    assert run("hbase", "scan session_hour since=:end")[0].empty
    shell.user_ns["key"] = frame["row"][0]
    row, _ = run("hbase", "get session_hour :key")
    assert row.set_index("column")["value"]["revenue"] == Decimal("0.10")
    assert "no other row is read" in run("hbase", "--explain scan session_hour prefix=x")[1]
    assert list(run("hbase", "tables")[0]["table"]) == ["session_hour"]
    with pytest.raises(UsageError, match="and a prefix"):
        run("hbase", "scan session_hour prefix=x since=2026-01-01")
    with pytest.raises(UnknownName, match="Did you mean 'columns'"):
        run("hbase", "scan session_hour column=x")


def test_kafka(run: Callable[..., tuple[Any, str]], shell: InteractiveShell) -> None:
    frame, said = run("kafka", "tail --last 1h --limit 5")
    assert len(frame) == 5 and said.startswith("The newest 5 of 40 messages, from ")
    oldest, said = run("kafka", "consume --limit 5 --as arrow")
    assert (
        isinstance(oldest, pa.Table) and oldest.num_rows == 5 and said.startswith("The oldest 5 of 40 messages, up to ")
    )
    assert max(oldest["arrival"].to_pylist()) <= frame["arrival"].min()
    assert len(run("kafka", "consume --limit all")[0]) == 40
    assert len(run("kafka", "")[0]) == 4
    shell.user_ns["records"] = pd.DataFrame({"user_id": ["x", "y"], "reason": ["a", "b"]})
    assert "2 messages sent" in run("kafka", "produce :records --topic dlq")[1]
    assert set(run("kafka", "tail dlq --last 1m")[0]["reason"]) == {"a", "b"}
    shell.user_ns["later"] = datetime.now(UTC) + timedelta(minutes=1)
    assert run("kafka", "consume --since :later")[0].empty
    assert run("kafka", "offsets dlq")[0]["messages"].sum() == 2


def test_profiles(run: Callable[..., tuple[Any, str]], stack: Settings, tmp_path: Path) -> None:
    profile = tmp_path / "other.toml"
    profile.write_text(f'[cassandra]\nport = {stack.profile.cassandra.port}\nusername = "ann"\npassword = "env:HOME"\n')
    frame, _ = run("cql", f"--profile {profile} select category from category_day")
    assert len(frame) == 30, "the namespace is the notebook's"
    _, said = run("rp", f"profile {profile}")
    assert "user ann" in said and "********** from env:HOME" in said and os.environ["HOME"] not in said
    namespace = retailpulse_kernel.default_workbench().settings.namespace_name
    try:
        run("rp", f"connect {profile}")
        now = retailpulse_kernel.default_workbench().settings
        assert (now.profile_name, now.namespace_name) == (str(profile), namespace)
    finally:
        retailpulse_kernel.default_workbench().cassandra.close()


def test_status(run: Callable[..., tuple[Any, str]]) -> None:
    status, _ = run("rp", "status")
    assert status.servers["healthy"].all() and status.jobs.empty


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("%%cql\nselect rev", {"revenue"}),
        ("%%cql\nselect * from category_", {"category_day", "category_hour", "category_minute"}),
        ("%%hive\nselect kafka_o", {"kafka_offset"}),
        ("%%sql\nselect e.arr from events e where e.arr", {"arrival"}),
        ("%%hbase\nscan sess", {"session_hour"}),
        ("%%hbase\nscan session_hour columns=user_id,rev", {"revenue"}),
    ],
)
def test_completion(shell: InteractiveShell, before: str, words: set[str]) -> None:
    end = time.monotonic() + 30
    while True:
        found = completion.complete(before, {})
        if found and {word for word, _ in found[1]} == words:
            return
        assert time.monotonic() < end, found


def test_completion_of_topics(shell: InteractiveShell, bench: Workbench) -> None:
    topic = bench.settings.namespace.events_topic
    end = time.monotonic() + 30
    while topic not in str(completion.complete(f"%kafka tail {topic[:8]}", {})):
        assert time.monotonic() < end
