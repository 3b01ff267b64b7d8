"""The same promoted notebook on another profile: other addresses, and Spark as a cluster of its own processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.notebooks.environment import Environment
from retailpulse_kernel.promotion.gate.trial import Candidate, try_out
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from tests.cluster import Cluster, spark_cluster
from tests.jobs import produce
from tests.proxy import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(600)]

PROFILE = """\
[kafka]
bootstrap = "127.0.0.1:{kafka}"
[cassandra]
port = {cassandra}
[hbase]
port = {hbase}
[hive]
port = {hive}
metastore = "thrift://127.0.0.1:{metastore}"
warehouse = "{warehouse}"
[spark]
master = "{master}"
driver_memory = "768m"
checkpoints = "{checkpoints}"
[spark.conf]
"spark.driver.host" = "127.0.0.1"
"spark.executor.memory" = "768m"
"spark.executor.cores" = "2"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with spark_cluster(tmp_path) as running:
        yield running


@pytest.fixture
def settings(stack: Settings, cluster: Cluster, tmp_path: Path) -> Iterator[Settings]:
    """A profile that leads to the servers by other ports than the local one's."""
    local = stack.profile
    targets = {
        "kafka": int(local.kafka.bootstrap.rpartition(":")[2]),
        "cassandra": local.cassandra.port,
        "hbase": local.hbase.port,
        "hive": local.hive.port,
        "metastore": int(local.hive.metastore.rpartition(":")[2]),
    }
    with ExitStack() as ended:
        ports = {}
        for name, port in targets.items():
            proxy = Proxy(("127.0.0.1", port))
            ended.callback(proxy.stop)
            ports[name] = proxy.port
        path = tmp_path / "elsewhere.toml"
        path.write_text(
            PROFILE.format(
                **ports, master=cluster.master, warehouse=stack.warehouse, checkpoints=(tmp_path / "shared").as_uri()
            )
        )
        made = Settings.load(
            namespace="t_cluster", profile=str(path), pipelines=tmp_path / "pipelines", home=tmp_path / "home"
        )
        drop(made)
        ensure_topics(made)
        yield made
        drop(made)


def test_a_promoted_notebook_runs_elsewhere_unchanged(stack: Settings, settings: Settings, cluster: Cluster) -> None:
    source = job_notebook("metrics")
    plan = try_out(Settings.load(namespace="t_cluster_try"), [Candidate(str(source))])[0].plan
    manifest = Manifest(
        "metrics", 1, "metrics.ipynb", "", "stream", "@hourly", "", "", {"run": "available_now"},
        Environment("", ""), "first", plan=plan,
    )  # fmt: skip
    version = Registry(settings).freeze(source, manifest)
    frozen = {path.name: path.read_text() for path in version.folder.iterdir()}
    for name, text in frozen.items():
        for bound in (str(stack.home), str(settings.home), "127.0.0.1", "localhost", socket.gethostname(), "spark://"):
            assert bound not in text, f"{name} is bound to this machine by {bound}"

    messages = Generator(rate=500, seconds=4, seed=3, start=datetime.now(UTC), duplicates=0.05, bad=0.02).messages()
    produce(settings, [(message.key, message.value) for message in messages])
    done = subprocess.run(
        [sys.executable, "-m", "retailpulse_kernel.cli", "run", "metrics", "--profile", settings.profile_name],
        env={**os.environ, **environment(settings), "RETAILPULSE_PROFILE": "local"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(cluster.work.glob("app-*/0/stderr")), "an executor of the cluster did the work"
    assert reconcile(settings).ok
    assert {path.name: path.read_text() for path in version.folder.iterdir()} == frozen
