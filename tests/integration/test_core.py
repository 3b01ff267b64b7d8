"""The core of the package, installed alone: what it does, and what it says of the rest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from retailpulse_kernel.ground.extras import EXTRAS
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores import namespaces
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.workbench.workbench import Workbench

pytestmark = [pytest.mark.integration, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "env" / "requirements.lock"
BIN = Path(sys.executable).parent
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
SALES = [
    Event(
        event_id=f"e{i}", event_type="purchase", event_time=NOW - timedelta(minutes=3), user_id=f"u{i}",
        session_id=f"s{i}", product_id="p", category=category, price=Decimal(price), order_id=f"o{i}", order_line=1,
    )
    for i, (category, price) in enumerate([("books", "0.1"), ("books", "0.2"), ("boats", "99999999999999.9999")])
]  # fmt: skip
#: Every module of the package can be imported, or says which extra it needs.
IMPORT_ALL = """
import importlib, json, pkgutil
import retailpulse_kernel
from retailpulse_kernel.ground.errors import MissingExtra

said = {}
for module in pkgutil.walk_packages(retailpulse_kernel.__path__, "retailpulse_kernel.", onerror=lambda name: None):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except MissingExtra as error:
            said[module.name] = error.extra
        else:
            said[module.name] = "core"
print(json.dumps(said))
"""
#: A remote profile's servers: those of the test's stack, which the core did not start.
PROFILE = """
[kafka]
bootstrap = "{kafka}"
[cassandra]
hosts = ["127.0.0.1"]
port = {cassandra}
[hbase]
host = "127.0.0.1"
port = {hbase}
[hive]
host = "127.0.0.1"
port = {hive}
auth = "NOSASL"
metastore = "{metastore}"
warehouse = "{warehouse}"
[spark]
master = "local[2]"
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and the core's packages, at the locked versions."""
    folder = tmp_path_factory.mktemp("core")
    build = [BIN / "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    versions = folder / "versions.txt"  # without hashes: the wheel that was just built has none there
    versions.write_text("\n".join(re.findall(r"^([^\s#]+==[^\\\n]+?)\s*\\?$", LOCK.read_text(), re.MULTILINE)))
    venv = folder / "venv"
    subprocess.run([BIN / "uv", "venv", "--quiet", "--python", sys.executable, venv], check=True)
    install = [BIN / "uv", "pip", "install", "--quiet", "--python", venv / "bin" / "python", "-c", versions, wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    if "error sending request" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip(f"the package index does not answer: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return venv


@pytest.fixture(scope="module")
def run(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program of that environment, in an empty folder and with a home of its own."""
    folder = tmp_path_factory.mktemp("elsewhere")
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ours |= {"RETAILPULSE_HOME": str(folder / "home"), "COLUMNS": "200"}

    def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [venv / "bin" / program, *arguments],
            cwd=folder, env=ours | environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def bench(stack: Settings) -> Iterator[Workbench]:
    """A namespace with three sales in Cassandra, and as many messages in Kafka."""
    bench = Workbench(namespace=f"ct_core_{os.getpid()}")
    ensure_topics(bench.settings)
    bench.cassandra.create(CATEGORY)
    for grain in CATEGORY.every:
        bench.cassandra.write(CATEGORY, grain, fold(SALES, CATEGORY, grain), version=1)
    bench.kafka.produce([{"event_type": "view", "event_time": NOW, "user_id": f"u{i}"} for i in range(3)])
    yield bench
    namespaces.drop(bench.settings)


@pytest.fixture(scope="module")
def environment(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Leads to the running servers, as a profile of somebody's own servers does."""
    servers = bench.settings.profile
    profile = tmp_path_factory.mktemp("profiles") / "elsewhere.toml"
    profile.write_text(
        PROFILE.format(
            kafka=servers.kafka.bootstrap, cassandra=servers.cassandra.port, hbase=servers.hbase.port,
            hive=servers.hive.port, metastore=servers.hive.metastore, warehouse=bench.settings.warehouse,
        )
    )  # fmt: skip
    return {
        "RETAILPULSE_PROFILE": str(profile),
        "RETAILPULSE_NAMESPACE": bench.settings.namespace_name,
        "RETAILPULSE_PORT_OFFSET": "0",
    }


class TestAlone:
    def test_has_no_package_of_an_extra(self, run: Run) -> None:
        code = "import sys; from importlib.util import find_spec; print([m for m in sys.argv[1:] if find_spec(m)])"
        # The registry needs more of a package that the core has.
        extra = {module for modules in EXTRAS.values() for module in modules} - {"confluent_kafka"}
        done = run("python", "-c", code, *extra)
        assert (done.stdout.strip(), done.stderr) == ("[]", "")

    def test_imports_every_module_or_says_which_extra_it_needs(self, run: Run) -> None:
        done = run("python", "-W", "ignore", "-c", IMPORT_ALL)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        for module in ("ground.settings", "answers.reading", "shop.fold", "stores.kafka.store", "workbench.overview"):
            assert said[f"retailpulse_kernel.{module}"] == "core"
        assert set(said.values()) <= {"core", *EXTRAS}

    def test_has_its_settings(self, run: Run) -> None:
        code = "import retailpulse_kernel as rp; print(rp.connect(namespace='shop').settings.namespace.events_topic)"
        done = run("python", "-c", code)
        assert (done.stdout.strip(), done.stderr) == ("shop.retail.events", "")

    def test_has_its_help(self, run: Run) -> None:
        done = run("retailpulse", "--help")
        assert done.returncode == 0, done.stderr
        for command in ("status", "figures", "promote", "lab"):
            assert re.search(rf"\b{command}\b", done.stdout)


class TestWithoutAnExtra:
    @pytest.mark.parametrize(
        ("command", "extra"),
        [
            ("up", "stack"), ("doctor", "stack"), ("demo", "stack"), ("serve", "api"), ("lab", "lab"),
            ("monitor", "monitoring"), ("dashboards build", "monitoring"), ("run x.ipynb", "notebooks"),
            ("promote x.ipynb", "notebooks"), ("new job x", "notebooks"), ("jobs", "notebooks"),
        ],
    )  # fmt: skip
    def test_a_command_says_which_to_install(self, run: Run, command: str, extra: str) -> None:
        done = run("retailpulse", *command.split())
        assert done.returncode == 2, done.stderr
        assert f"pip install 'retailpulse-kernel[{extra}]'" in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(
        ("line", "extra"),
        [
            ("rp.hbase.tables()", "hbase"), ("rp.hive.tables()", "hive"), ("rp.spark", "streaming"),
            ("rp.sql('select 1')", "streaming"), ("rp.job('x')", "streaming"), ("rp.live()", "lab"),
            ("rp.explore()", "lab"), ("rp.canvas()", "lab"), ("rp.promote()", "lab"), ("rp.jobs()", "lab"),
            ("rp.new_job('x')", "notebooks"), ("rp.load_ipython_extension(None)", "lab"),
            ("import retailpulse_kernel.api.app", "api"),
            ("from retailpulse_kernel.ground.credentials import resolve_secret as r; r('keyring:a/b')", "keyring"),
        ],
    )  # fmt: skip
    def test_a_line_says_which_to_install(self, run: Run, line: str, extra: str) -> None:
        done = run("python", "-c", f"import retailpulse_kernel as rp; {line}")
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("retailpulse_kernel.ground.errors.MissingExtra:")
        assert f"pip install 'retailpulse-kernel[{extra}]'" in last


class TestWithServers:
    def test_reads_the_figures(self, run: Run, bench: Workbench, environment: dict[str, str]) -> None:
        done = run("retailpulse", "figures", "--json", "--by", "category", **environment)
        assert done.returncode == 0, done.stderr
        rows = {row["category"]: row for row in json.loads(done.stdout)}
        assert Decimal(rows["books"]["revenue"]) == Decimal("0.3")
        code = "import retailpulse_kernel as rp; print(rp.figures(last='1h').to_json(default_handler=str))"
        done = run("python", "-c", code, **environment)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == json.loads(bench.figures(last="1h").to_json(default_handler=str))

    def test_reads_the_topic(self, run: Run, environment: dict[str, str]) -> None:
        code = "import retailpulse_kernel as rp; print(sorted(rp.kafka.tail(last='1h')['user_id']))"
        done = run("python", "-c", code, **environment)
        assert (done.stdout.strip(), done.returncode) == ("['u0', 'u1', 'u2']", 0), done.stderr

    def test_says_of_each_server_how_it_is(self, run: Run, environment: dict[str, str]) -> None:
        done = run("retailpulse", "status", "--json", **environment)
        servers = {server["name"]: server for server in json.loads(done.stdout)}
        assert servers["kafka"]["healthy"] and servers["cassandra"]["healthy"], done.stdout
        assert "extra 'hbase'" in servers["hbase-thrift"]["detail"]
        assert "extra 'hive'" in servers["hiveserver2"]["detail"]
        assert (done.returncode, done.stderr) == (1, "")

    def test_says_that_there_are_no_figures_yet(self, run: Run, environment: dict[str, str]) -> None:
        done = run("retailpulse", "figures", **environment | {"RETAILPULSE_NAMESPACE": f"ct_none_{os.getpid()}"})
        assert done.returncode == 2
        assert "There are no figures in the namespace" in done.stderr
