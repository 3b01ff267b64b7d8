"""Reference tables: what a micro-batch is joined with, while the table changes, goes away, and the job is killed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest

from retailpulse_kernel.ground.errors import NoSuchTable
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.promotion.gate.gate import promote
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.stores.cassandra.rows import keyspace_ddl
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.log import committed_batch, newest_batch
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from retailpulse_kernel.streaming.reference.versions import RECORDS, Versions
from retailpulse_kernel.streaming.run.context import RunContext
from tests.jobs import produce, wait_until
from tests.proxy import Proxy
from tests.reference_job import HOLD

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CONTRACT = """
[tables.products]
file = "products.csv"
key = "product_id"
columns = {product_id = "string", title = "string"}
every = "1s"
"""
PROFILE = """
[kafka]
bootstrap = "{kafka}"
[cassandra]
port = {cassandra}
[hive]
port = {hive}
auth = "NOSASL"
[spark]
master = "local[2]"
"""


class Lab:
    """A namespace with a contract, the file of its reference table, and the job."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        assert settings.contract is not None
        self.folder = settings.contract.parent
        self.log = self.folder / "log"
        self.stop = self.folder / "stop"

    def write(self, title: str) -> None:
        """Give the product a title."""
        new = self.folder / "new.csv"
        new.write_text(f"product_id,title\np1,{title}\n")
        new.replace(self.folder / "products.csv")

    def send(self, *events: str) -> None:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        common = {"event_type": "view", "event_time": now, "user_id": "u1", "session_id": "s1", "product_id": "p1"}
        produce(self.settings, [("u1", json.dumps({**common, "event_id": one}).encode()) for one in events])

    def start(self, run: str) -> subprocess.Popen[bytes]:
        self.stop.unlink(missing_ok=True)
        context = RunContext(stop_file=str(self.stop)).environment()
        command = [sys.executable, "-m", "tests.reference_job", self.settings.namespace.name, run]
        with self.log.open("ab") as file:
            env = {**os.environ, **environment(self.settings), **context}
            return subprocess.Popen(command, env=env, stdout=file, stderr=file, start_new_session=True)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The job as it runs continuously; stopped at the end of the block."""
        process = self.start("continuous")
        try:
            yield process
            self.stop.touch()
            assert process.wait(120) == 0, self.said[-3_000:]
        finally:
            if process.poll() is None:
                kill(process)

    def run(self) -> None:
        """Let the job take all that there is."""
        assert self.start("available_now").wait(240) == 0, self.said[-3_000:]

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def titles(self) -> dict[str, str | None]:
        """The title that each event got."""
        return {row["event_id"]: row["title"] for row in self._rows("looked_up", "event_id", "title")}

    @property
    def counts(self) -> dict[str, int]:
        """How many events of each title there are."""
        return {row["title"]: row["events"] for row in self._rows("by_title", "w", "title", "events")}

    def _rows(self, table: str, *columns: str) -> list[dict[str, Any]]:
        with closing(CassandraStore(self.settings)) as store:
            try:
                return store.query(f"select {', '.join(columns)} from {table}").to_dict("records")
            except NoSuchTable:  # asked for rather than looked up: a table is listed before it can be read
                return []

    @property
    def epoch(self) -> str:
        return f"{self.settings.checkpoints}/lookups/e0001"

    @property
    def version(self) -> str | None:
        (table,) = contract_of(self.settings).tables
        newest = Versions(self.epoch, table).newest
        return newest and newest.version

    def recorded(self, output: str) -> dict[int, str]:
        """The version of each micro-batch of an output."""
        folder = Path(checkpoint_of(self.epoch, output), RECORDS, "products")
        return {int(path.name): path.read_text() for path in folder.glob("[0-9]*")}


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes], lab: Lab) -> None:
    wait_until(lambda: condition() or process.poll() is not None, what)
    assert process.poll() is None, lab.said[-3_000:]


NOTEBOOK = """
import pickle
from pathlib import Path
import retailpulse_kernel as rp
from pyspark.sql import functions as F
job = rp.job("lookups")
events = job.events(watermark="1m")
---
def load(path):
    return pickle.loads(Path(path).read_bytes())

model = job.model("known.pickle", load=load)
suppliers = job.reference("suppliers").withColumnRenamed("sku", "product_id")
joined = events.df.join(suppliers, "product_id", "left")
named = F.udf(lambda supplier: model().get(supplier))
rows = joined.select("event_id", "product_id", named("supplier").alias("supplier"))
job.write(rows, to=rp.cassandra, table="supplied", key="event_id")
job.run()
"""
SUPPLIERS = """
[tables.suppliers]
cassandra = "suppliers"
key = "sku"
columns = {sku = "string", supplier = "string"}
every = "1s"
"""


def notebook(folder: Path) -> Path:
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in NOTEBOOK.split("---")]
    kernel = {"display_name": "RetailPulse", "language": "python", "name": "retailpulse"}
    path = folder / "lookups.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def lab(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    (tmp_path / "shop.toml").write_text(CONTRACT)
    monkeypatch.setenv("RETAILPULSE_CONTRACT", str(tmp_path / "shop.toml"))
    made = Settings.load(namespace=f"t_reference_{os.getpid()}")
    drop(made)
    ensure_topics(made)
    yield Lab(made)
    drop(made)


def test_a_batch_has_the_rows_of_its_time_and_the_job_outlives_the_source(lab: Lab) -> None:
    lab.write("old")
    with lab.running() as process:
        lab.send("e1")
        until(lambda: lab.titles.get("e1") == "old", "the first event", process, lab)
        before = lab.version
        lab.write("new")
        until(lambda: lab.version != before, "the new version", process, lab)
        lab.send("e2")
        until(lambda: lab.titles.get("e2") == "new", "the second event", process, lab)
        (lab.folder / "products.csv").write_text("product_id,title\np1,a\np1,b\n")
        until(lambda: "has the key product_id = p1 2 times" in lab.said, "the fault", process, lab)
        (lab.folder / "products.csv").unlink()
        until(lambda: "products.csv is not there" in lab.said, "the missing file", process, lab)
        lab.send("e3")
        until(lambda: lab.titles.get("e3") == "new", "the third event", process, lab)
        until(lambda: lab.counts == {"old": 1, "new": 2}, "the sums", process, lab)
    assert lab.titles == {"e1": "old", "e2": "new", "e3": "new"}
    shown = lab.said[lab.said.rindex("products: version") :]
    assert lab.version and lab.version in shown and "UTC; not read since: The file " in shown


@pytest.mark.long
def test_a_batch_that_is_done_again_has_the_version_that_it_had(lab: Lab) -> None:
    lab.write("old")
    (lab.folder / HOLD).touch()
    lab.send("e1")
    process = lab.start("continuous")
    try:
        until(lambda: bool(lab.recorded("looked_up")), "a batch that is under way", process, lab)
        (old,) = lab.recorded("looked_up").values()
        lab.write("new")
        until(lambda: lab.version != old, "the new version", process, lab)
        checkpoint = checkpoint_of(lab.epoch, "looked_up")
        assert newest_batch(checkpoint) is not None and committed_batch(checkpoint) is None
    finally:
        kill(process)
    (lab.folder / HOLD).unlink()
    lab.run()
    assert lab.titles == {"e1": "old"} and lab.recorded("looked_up")[0] == old
    lab.send("e2")
    lab.run()
    assert lab.titles == {"e1": "old", "e2": "new"}
    assert lab.recorded("looked_up")[1] == lab.version != old


@pytest.mark.long
def test_a_job_waits_for_a_store_that_is_late(lab: Lab) -> None:
    assert lab.settings.contract is not None
    lab.settings.contract.write_text(CONTRACT.replace('file = "products.csv"', 'hive = "products"'))
    near = lab.settings.profile
    proxy = Proxy(("127.0.0.1", near.hive.port))
    proxy.stop()
    profile = lab.folder / "profile.toml"
    profile.write_text(PROFILE.format(kafka=near.kafka.bootstrap, cassandra=near.cassandra.port, hive=proxy.port))
    with closing(HiveStore(lab.settings)) as hive:
        hive.query("create table products (product_id string, title string) stored as parquet")
        hive.query("insert into products values ('p1', 'late')")
    lab.send("e1")
    lab.settings = Settings.load(namespace=lab.settings.namespace_name, profile=str(profile))
    process = lab.start("available_now")
    try:
        until(lambda: "lookups is waiting: " in lab.said, "a word of the job", process, lab)
        assert "Hive" in lab.said and lab.version is None
        proxy.start()
        assert process.wait(120) == 0, lab.said[-3_000:]
    finally:
        if process.poll() is None:
            kill(process)
        proxy.stop()
    assert lab.titles == {"e1": "late"}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_job_that_is_tried_joins_the_live_tables_and_has_its_models(lab: Lab) -> None:
    assert lab.settings.contract is not None
    lab.settings.contract.write_text(SUPPLIERS)
    settings = lab.settings.model_copy(update={"pipelines": lab.folder / "pipelines"})
    source = notebook(lab.folder)
    (lab.folder / "known.pickle").write_bytes(pickle.dumps({"old": "Old & Co", "new": "New Ltd"}))
    with closing(CassandraStore(settings)) as store:
        store.query(keyspace_ddl(settings))
        store.query("create table suppliers (sku text primary key, supplier text)")
        store.query("insert into suppliers (sku, supplier) values ('p1', 'old')")
        lab.send("e1", "e2")
        first = promote(settings, source)
        assert first.version is not None, first.steps
        assert (first.version.folder / "known.pickle").is_file()
        run_notebook(settings, first.version.notebook, {})
        store.query("insert into suppliers (sku, supplier) values ('p1', 'new')")
        assert {row["supplier"] for row in lab._rows("supplied", "supplier")} == {"Old & Co"}
        content = nbformat.read(source, as_version=4)
        content.cells[0].source += "\n# nothing else"
        nbformat.write(content, source)
        second = promote(settings, source)
        assert second.verdict is not None and second.verdict.outcome == "resume", second.steps
        assert "the job's 2 rows equal those of the live version" in second.verdict.evidence
