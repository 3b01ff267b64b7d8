"""The real servers: up, healthy, small, on loopback, and back after kill -9 with all that they acknowledged."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import happybase
import psutil
import pytest
from cassandra.cluster import Cluster
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from pyhive import hive
from rich.console import Console

from retailpulse_kernel.ground.errors import RequirementError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.daemon import Supervisor
from retailpulse_kernel.machine.strays import tree
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.health import check
from retailpulse_kernel.stack.services import SERVICES, select
from retailpulse_kernel.workbench.workbench import Workbench

pytestmark = pytest.mark.integration

#: What `up` starts without names.
SERVERS = [service.name for service in select()]

#: It looks at all that runs, so no other test may use the servers meanwhile.
alone = pytest.mark.long

disturbs = pytest.mark.skipif(
    "RETAILPULSE_TEST_HOME" in os.environ and "RETAILPULSE_TEST_FAULTS" not in os.environ,
    reason="kills servers that others may use: RETAILPULSE_TEST_HOME is set, RETAILPULSE_TEST_FAULTS is not",
)


def status(settings: Settings) -> dict[str, supervision.ServiceStatus]:
    return {entry.name: entry for entry in supervision.status(settings)}


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)


def supervised(settings: Settings) -> list[psutil.Process]:
    pid = Supervisor(settings).pid()
    assert pid is not None
    return tree(pid)


@alone
def test_every_server_answers_and_all_stay_under_6_gb(stack: Settings) -> None:
    entries = status(stack)
    assert list(entries)[: len(SERVERS)] == SERVERS
    for name in SERVERS:
        entry = entries[name]
        assert entry.healthy, entry
        assert entry.state == "running"
        assert entry.memory_mb is not None
        assert entry.memory_mb > 50
        assert entry.memory_mb < SERVICES[name].memory_mb * 1.2, "what the doctor reckons with is too little"
    assert sum(entry.memory_mb or 0 for entry in entries.values()) < 6_000


@alone
def test_listens_on_loopback_only(stack: Settings) -> None:
    """Also while Hive computes: its engine has servers of its own for as long as a query runs."""
    pids, addresses = {process.pid for process in supervised(stack)}, set()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            lambda: Workbench().hive.query("select n, count(*) c from (select explode(array(1, 2, 2)) n) x group by n")
        )
        while not asked.done():
            listening = [c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in pids]
            assert len(listening) >= 8
            addresses |= {c.laddr.ip for c in listening}
    assert sorted(asked.result()["c"]) == [1, 2]
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_up_again_leaves_running_servers_alone(stack: Settings) -> None:
    before = {name: entry.pid for name, entry in status(stack).items()}
    said = io.StringIO()
    supervision.up(stack, console=Console(file=said))
    assert said.getvalue().count("already up") == len(SERVERS)
    assert {name: entry.pid for name, entry in status(stack).items()} == before


def test_two_ups_at_once_do_not_fight(stack: Settings) -> None:
    before = {name: entry.pid for name, entry in status(stack).items()}
    both = [command("up") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    assert {name: entry.pid for name, entry in status(stack).items()} == before


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "retailpulse_kernel.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_commands_report_json(stack: Settings) -> None:
    out, err = command("status", "--json").communicate(timeout=60)
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert entries["hiveserver2"]["healthy"], err
    assert entries["cassandra"]["memory_mb"] > 300
    out, _ = command("doctor", "--json").communicate(timeout=60)
    assert {check["name"]: check["verdict"] for check in json.loads(out)}["ports"] == "ok"


def test_logs_shows_the_last_lines(stack: Settings) -> None:
    out, err = command("logs", "cassandra", "-n", "3").communicate(timeout=60)
    assert 1 <= len(out.splitlines()) <= 3, err


def test_a_topic_is_not_made_by_accident(stack: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": stack.profile.kafka.bootstrap})
    name = f"typo.{uuid.uuid4().hex}"
    assert admin.list_topics(name, timeout=5).topics[name].error is not None
    assert name not in admin.list_topics(timeout=5).topics


def test_hive_writes_and_aggregates(stack: Settings) -> None:
    """An insert, a partition, column statistics and a grouping: what needs all of Hive's jars and tables."""
    database = f"stack_{uuid.uuid4().hex[:8]}"
    cursor = hive.connect(stack.profile.hive.host, stack.profile.hive.port, auth="NOSASL").cursor()
    cursor.execute(f"create database {database}")
    try:
        cursor.execute(
            f"create external table {database}.t (a int, b string) partitioned by (dt string) stored as parquet"
        )
        cursor.execute(f"insert into {database}.t partition (dt='2019-10-01') values (1,'x'), (2,'y'), (3,'x')")
        cursor.execute(f"analyze table {database}.t partition (dt) compute statistics for columns")
        cursor.execute(f"select b, sum(a) from {database}.t where dt = '2019-10-01' group by b order by b")
        assert cursor.fetchall() == [("x", 4), ("y", 2)]
        cursor.execute("select current_timestamp() = from_utc_timestamp(current_timestamp(), 'UTC')")
        assert cursor.fetchone() == (True,)
    finally:
        cursor.execute(f"drop database {database} cascade")


# -- faults -----------------------------------------------------------------------------------------------------------


def kill_and_wait(settings: Settings, name: str) -> float:
    """Kill -9 a server's process; the seconds until supervisor's new one answers."""
    before = status(settings)[name].pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    begun = time.monotonic()

    def is_back() -> bool:
        entry = status(settings)[name]
        return entry.healthy and entry.pid not in (None, before)

    until(is_back, 120, f"{name} healthy again")
    return time.monotonic() - begun


@pytest.mark.faults
@disturbs
def test_kafka_keeps_what_it_acknowledged(stack: Settings) -> None:
    servers = {"bootstrap.servers": stack.profile.kafka.bootstrap}
    topic = f"stack.{uuid.uuid4().hex}"
    admin = AdminClient(servers)
    admin.create_topics([NewTopic(topic, 1)])[topic].result(30)
    acknowledged = []
    producer = Producer({**servers, "enable.idempotence": True})
    for number in range(1000):
        producer.produce(
            topic, str(number), callback=lambda error, message: acknowledged.append((error, message.value()))
        )
    producer.flush(30)
    kept = [value for error, value in acknowledged if error is None]
    assert len(kept) == 1000
    kill_and_wait(stack, "kafka")
    consumer = Consumer({**servers, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    read: list[bytes | None] = []
    until(
        lambda: bool(read.extend(m.value() for m in consumer.consume(1000, 1) if not m.error())) or len(read) >= 1000,
        60,
        "all read",
    )
    consumer.close()
    assert read == kept


@pytest.mark.faults
@disturbs
def test_cassandra_keeps_what_it_acknowledged(stack: Settings) -> None:
    keyspace = f"stack_{uuid.uuid4().hex[:8]}"

    @contextlib.contextmanager
    def session() -> Iterator:
        with Cluster(stack.profile.cassandra.hosts, port=stack.profile.cassandra.port, protocol_version=5) as cluster:
            yield cluster.connect()

    with session() as cql:
        cql.execute(
            f"create keyspace {keyspace} with replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        )
        cql.execute(f"create table {keyspace}.t (k int primary key)")
        for number in range(300):
            cql.execute(f"insert into {keyspace}.t (k) values ({number})")
        kill_and_wait(stack, "cassandra")
    with session() as cql:
        assert {row.k for row in cql.execute(f"select k from {keyspace}.t")} == set(range(300))
        cql.execute(f"drop keyspace {keyspace}")


@pytest.mark.faults
@disturbs
def test_hbase_keeps_what_it_acknowledged(stack: Settings) -> None:
    address = stack.profile.hbase
    table = f"stack_{uuid.uuid4().hex[:8]}"
    with contextlib.closing(happybase.Connection(address.host, address.port)) as connection:
        connection.create_table(table, {"f": {}})
        for number in range(300):
            connection.table(table).put(f"{number:03d}".encode(), {b"f:v": b"1"})
    kill_and_wait(stack, "hbase")
    # Its Thrift server was not killed, but has to find the new master.
    until(lambda: check(stack, "hbase-thrift") is None, 90, "the Thrift server answers")

    def rows() -> int:
        with contextlib.closing(happybase.Connection(address.host, address.port, timeout=60_000)) as connection:
            return sum(1 for _ in connection.table(table).scan())

    assert rows() == 300
    with contextlib.closing(happybase.Connection(address.host, address.port, timeout=60_000)) as connection:
        connection.delete_table(table, disable=True)


@pytest.mark.faults
@disturbs
def test_hive_keeps_its_tables(stack: Settings) -> None:
    database = f"stack_{uuid.uuid4().hex[:8]}"

    def ask(statement: str) -> list[tuple]:
        with contextlib.closing(
            hive.connect(stack.profile.hive.host, stack.profile.hive.port, auth="NOSASL")
        ) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    ask(f"create database {database}")
    kill_and_wait(stack, "hive-metastore")
    # HiveServer2 was not killed: its connections to the Metastore are, and it must open new ones.
    assert check(stack, "hiveserver2") is None
    assert (database,) in ask("show databases")
    kill_and_wait(stack, "hiveserver2")
    ask(f"drop database {database}")


@pytest.mark.faults
@disturbs
def test_the_thrift_server_comes_back(stack: Settings) -> None:
    kill_and_wait(stack, "hbase-thrift")


@pytest.mark.faults
@disturbs
def test_up_after_kill_9_of_the_supervisor(stack: Settings) -> None:
    """Its children live on and hold the ports; `up` ends them and starts anew."""
    family = supervised(stack)
    family[0].kill()
    family[0].wait(10)
    orphans = [process for process in family[1:] if process.is_running()]
    assert len(orphans) >= len(SERVERS)
    supervision.up(stack, console=Console(file=io.StringIO()))
    assert not [process for process in orphans if process.is_running()]
    assert all(entry.healthy for entry in status(stack).values())
    assert Supervisor(stack).strays() == []


@pytest.mark.faults
@disturbs
def test_a_taken_port_is_named_with_who_holds_it(stack: Settings) -> None:
    other = stack.model_copy(update={"home": stack.home / "other"})
    with pytest.raises(RequirementError) as caught:
        supervision.up(other, ["kafka"], console=Console(file=io.StringIO()))
    assert "is taken by java" in str(caught.value)
    assert str(status(stack)["kafka"].pid) in str(caught.value)
    assert not (other.home / "kafka").exists()


def test_up_starts_only_what_is_asked_for(stack: Settings, tmp_path) -> None:
    """A second, smaller stack beside the first, on other ports; it goes without a trace."""
    settings = Settings.load(home=tmp_path / "second", port_offset=stack.port_offset + 2_000)
    try:
        supervision.up(settings, ["kafka"], console=Console(file=io.StringIO()))
        entries = status(settings)
        assert entries["kafka"].healthy
        assert not entries["cassandra"].healthy
        assert entries["cassandra"].state == "stopped"
        with socket.create_connection(("127.0.0.1", 9092 + settings.port_offset)):
            pass
        family = supervised(settings)
    finally:
        supervision.down(settings, wipe=True)
    assert not [process for process in family if process.is_running()]
    assert not settings.home.exists()
    assert status(stack)["kafka"].healthy
