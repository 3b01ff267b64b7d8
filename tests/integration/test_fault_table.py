"""Six faults of five stores: the first line of the error names cause and remedy within 5 s, and the next call works.

The shared servers stay up: a proxy before each is what goes down and comes back. Where a store has no login, what
really happens stands in the table. `pytest -s` prints it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.tables import CATEGORY, SESSION
from retailpulse_kernel.stores import namespaces
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.workbench.workbench import Workbench
from tests.proxy import Proxy

pytestmark = pytest.mark.integration

STORES = ["kafka", "cassandra", "hbase", "hive", "spark"]
SECONDS = 5.0
PASSWORD = "canary-in-the-fault-table"

#: What is asked of each store: something it can do, a table it has not, something that is no request at all.
GOOD, UNKNOWN, BAD = "good", "unknown", "bad"
REQUESTS: dict[str, dict[str, Callable[[Workbench], Any]]] = {
    "kafka": {
        GOOD: lambda rp: rp.kafka.tail(last="1m"),
        UNKNOWN: lambda rp: rp.kafka.tail("nowhere"),
        BAD: lambda rp: rp.kafka.tail(last="soon"),
    },
    "cassandra": {
        GOOD: lambda rp: rp.cassandra.query("select * from category_day limit 1"),
        UNKNOWN: lambda rp: rp.cassandra.query("select * from nowhere"),
        BAD: lambda rp: rp.cassandra.query("selekt 1"),
    },
    "hbase": {
        GOOD: lambda rp: rp.hbase.scan("session_hour"),
        UNKNOWN: lambda rp: rp.hbase.scan("nowhere"),
        BAD: lambda rp: rp.hbase.scan("session_hour", columns=["nofamily:x"]),
    },
    "hive": {
        GOOD: lambda rp: rp.hive.query("select 1"),
        UNKNOWN: lambda rp: rp.hive.query("select * from nowhere"),
        BAD: lambda rp: rp.hive.query("selekt 1"),
    },
    "spark": {
        GOOD: lambda rp: rp.sql("select count(*) from events"),
        UNKNOWN: lambda rp: rp.sql("select * from nowhere"),
        BAD: lambda rp: rp.sql("selekt 1"),
    },
}

# Spark is one for a process, and other tests have theirs: its requests are made in a child, one line of JSON each.
CHILD = """
import json, os, signal, sys, time
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.workbench.workbench import Workbench
benches = {}
for line in sys.stdin:
    profile, namespace, sql = json.loads(line)
    begin, kind, said = time.monotonic(), None, ""
    try:
        if sql == "kill":
            from pyspark import SparkContext
            process = SparkContext._gateway.proc
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        else:
            key = profile, namespace
            benches[key] = benches.get(key) or Workbench(*key)
            benches[key].sql(sql)
    except RetailPulseError as error:
        kind, said = type(error).__name__, str(error)
    print("answer " + json.dumps([kind, said, time.monotonic() - begin]), flush=True)
"""
SQL = {GOOD: "select count(*) from events", UNKNOWN: "select * from nowhere", BAD: "selekt 1"}


@dataclass(frozen=True)
class Answer:
    """What became of a request: the error's kind and text, or neither."""

    kind: str | None
    said: str
    seconds: float

    @property
    def first_line(self) -> str:
        return self.said.splitlines()[0] if self.said else ""


class SparkChild:
    def __init__(self, log: Path) -> None:
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def ask(self, profile: str, namespace: str, sql: str) -> Answer:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([profile, namespace, sql]) + "\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith("answer "):
            assert line, "the child has ended"
        return Answer(*json.loads(line.removeprefix("answer ")))

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Lab:
    """Profiles that lead through proxies, and the table of what was seen."""

    def __init__(self, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.namespace = folder, settings.namespace_name
        self.child = SparkChild(folder / "spark.log")
        self.seen: dict[tuple[str, str], Answer] = {}
        monkeypatch.setenv("FAULT_TABLE_PASSWORD", PASSWORD)
        profile = settings.profile
        ports = {
            "kafka": int(profile.kafka.bootstrap.rpartition(":")[2]),
            "cassandra": profile.cassandra.port,
            "hbase": profile.hbase.port,
            "hive": profile.hive.port,
            "spark": int(profile.hive.metastore.rpartition(":")[2]),
        }
        self.proxies = {store: Proxy(("127.0.0.1", port)) for store, port in ports.items()}
        self.ports = ports
        self._benches: dict[str, Workbench] = {}

    def profile(self, store: str, host: str = "127.0.0.1", port: int | None = None, more: str = "") -> str:
        port = port or self.proxies[store].port
        section = "hive" if store == "spark" else store
        address = {
            "kafka": f'bootstrap = "{host}:{port}"',
            "cassandra": f'hosts = ["{host}"]\nport = {port}',
            "spark": f'metastore = "thrift://{host}:{port}"',
        }.get(store, f'host = "{host}"\nport = {port}')
        text = f"[{section}]\n{address}\n{more}\n"
        path = self.folder / f"{store}-{abs(hash(text)):x}.toml"
        path.write_text(text)
        return str(path)

    def ask(self, store: str, profile: str, request: str) -> Answer:
        if store == "spark":
            return self.child.ask(profile, self.namespace, SQL[request])
        begin = time.monotonic()
        try:
            if profile not in self._benches:
                self._benches[profile] = Workbench(profile, self.namespace)
            REQUESTS[store][request](self._benches[profile])
        except RetailPulseError as error:
            return Answer(type(error).__name__, str(error), time.monotonic() - begin)
        return Answer(None, "", time.monotonic() - begin)

    def note(self, store: str, fault: str, answer: Answer, kind: str | None, *parts: str) -> None:
        """Put an answer into the table, and hold it to what it should be."""
        self.seen[fault, store] = answer
        assert answer.kind == kind, answer
        assert answer.seconds < SECONDS, answer
        assert PASSWORD not in answer.said
        for part in parts:
            assert part in answer.first_line, answer

    def close(self) -> None:
        self.child.end()
        for bench in self._benches.values():
            for store in STORES:
                if store in vars(bench):
                    vars(bench)[store].close()
        for proxy in self.proxies.values():
            proxy.stop()

    def __str__(self) -> str:
        lines = [f"{'fault':<24} {'store':<10} {'s':>5}  first line"]
        for (fault, store), answer in sorted(self.seen.items()):
            said = f"{answer.kind}: {answer.first_line}" if answer.kind else "no error: it works"
            lines.append(f"{fault:<24} {store:<10} {answer.seconds:5.2f}  {said}")
        return "\n".join(lines)


@pytest.fixture(scope="module")
def lab(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    bench = Workbench(namespace=f"ct_faults_{os.getpid()}")
    ensure_topics(bench.settings)
    bench.cassandra.create(CATEGORY)
    bench.hbase.create(SESSION)
    bench.hive.create()
    with pytest.MonkeyPatch.context() as patch:
        made = Lab(bench.settings, tmp_path_factory.mktemp("faults"), patch)
        yield made
        made.close()
    print(f"\n{made}")
    namespaces.drop(bench.settings)


@pytest.mark.parametrize("store", STORES)
def test_server_down(lab: Lab, store: str) -> None:
    profile, proxy = lab.profile(store), lab.proxies[store]
    proxy.stop()
    try:
        answer = lab.ask(store, profile, GOOD)
    finally:
        proxy.start()
    section = "[hive] metastore" if store == "spark" else f"[{store}]"
    lab.note(
        store, "server down", answer, "StoreUnavailable",
        f"127.0.0.1:{proxy.port} does not answer", "nothing listens there", f"Check {section} in the profile",
    )  # fmt: skip
    assert lab.ask(store, profile, GOOD).kind is None, "the next call after it is back"
    proxy.stop()
    try:
        again = lab.ask(store, profile, GOOD)
    finally:
        proxy.start()
    assert again.kind == "StoreUnavailable" and again.seconds < SECONDS, "also when it goes away later"
    assert lab.ask(store, profile, GOOD).kind is None


@pytest.mark.parametrize("store", STORES)
def test_wrong_host(lab: Lab, store: str) -> None:
    answer = lab.ask(store, lab.profile(store, host="no-such-host.invalid"), GOOD)
    lab.note(
        store, "wrong host", answer, "StoreUnavailable",
        "the host name 'no-such-host.invalid' is not known", "Check [",
    )  # fmt: skip


LOGIN = 'username = "ann"\npassword = "env:FAULT_TABLE_PASSWORD"'


@pytest.mark.parametrize("store", STORES)
def test_wrong_credentials(lab: Lab, store: str) -> None:
    """None of the shared servers asks for a login; a client that offers one is told what is the matter."""
    fault = "wrong credentials"
    if store == "kafka":
        more = f'{LOGIN}\nsecurity_protocol = "SASL_PLAINTEXT"\nsasl_mechanism = "SCRAM-SHA-512"'
        answer = lab.ask(store, lab.profile(store, more=more), GOOD)
        lab.note(store, fault, answer, "StoreUnavailable", "refuses the user 'ann'", "takes no login", "[kafka]")
    elif store == "cassandra":
        # A server without authentication takes whoever comes.
        lab.note(store, fault, lab.ask(store, lab.profile(store, more=LOGIN), GOOD), None)
    elif store == "hive":
        answer = lab.ask(store, lab.profile(store, more=f'{LOGIN}\nauth = "LDAP"'), GOOD)
        lab.note(store, fault, answer, "StoreUnavailable", "does not take a login with auth = 'LDAP'", "[hive]")
    else:
        path = lab.folder / f"{store}-login.toml"
        path.write_text(f"[{store}]\n{LOGIN}\n")
        answer = lab.ask(store, str(path), GOOD)
        lab.note(
            store, fault, answer, "ProfileError", f"{store}.username", "Only Kafka, Cassandra, Hive and the registry"
        )


@pytest.mark.parametrize("store", STORES)
def test_unknown_table(lab: Lab, store: str) -> None:
    profile = lab.profile(store)
    kind = "UnknownName" if store in ("kafka", "hbase") else "NoSuchTable"
    remedy = {"kafka": "dlq, late, progress", "hbase": "Known: session_hour"}.get(store, ".tables()` lists")
    assert lab.ask(store, profile, GOOD).kind is None
    lab.note(store, "unknown table", lab.ask(store, profile, UNKNOWN), kind, "nowhere", remedy)
    assert lab.ask(store, profile, GOOD).kind is None


@pytest.mark.parametrize("store", STORES)
def test_bad_query(lab: Lab, store: str) -> None:
    profile = lab.profile(store)
    cause = {"kafka": "'soon' is not a time span", "hbase": "HBase can't do this"}.get(store, "can't run this")
    remedy = {"kafka": "30s, 10m", "hbase": "rp.hbase.tables()"}.get(store, ".columns()` shows")
    assert lab.ask(store, profile, GOOD).kind is None
    lab.note(store, "bad query", lab.ask(store, profile, BAD), "UsageError", cause, remedy)
    assert lab.ask(store, profile, GOOD).kind is None


@pytest.mark.parametrize("store", STORES)
def test_connection_dropped_while_idle(lab: Lab, store: str) -> None:
    profile = lab.profile(store)
    assert lab.ask(store, profile, GOOD).kind is None
    lab.proxies[store].cut()
    lab.note(store, "dropped while idle", lab.ask(store, profile, GOOD), None)


def test_spark_whose_java_has_ended_starts_again(lab: Lab) -> None:
    profile = lab.profile("spark")
    assert lab.ask("spark", profile, GOOD).kind is None
    lab.child.ask(profile, lab.namespace, "kill")
    assert lab.ask("spark", profile, GOOD).kind is None
