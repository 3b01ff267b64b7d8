"""The watched stack: a real job, the monitor, and Prometheus and Alertmanager where they are installed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SOCK_DGRAM
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.feed.replay import send
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.daemon import Supervisor
from retailpulse_kernel.machine.strays import tree
from retailpulse_kernel.monitoring import setup as observing
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.observers import OBSERVERS, port_of
from retailpulse_kernel.stack.services import SERVICES
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.telemetry.definitions import METRICS
from tests.jobs import JobProcess, consumed, totals, wait_until
from tests.panels import every_panel

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.skipif(
        not (shutil.which("prometheus") and shutil.which("prometheus-alertmanager")),
        reason="prometheus and prometheus-alertmanager are not installed",
    ),
]

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("api", "monitor", "alertmanager", "prometheus")


@dataclass
class Webhook:
    """A receiver of alerts."""

    port: int
    posts: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def find(self, status: str, alert: str, namespace: str) -> float | None:
        """When the first post came that says so."""
        for moment, post in self.posts:
            for found in post["alerts"]:
                labels = found["labels"]
                if (found["status"], labels["alertname"], labels.get("namespace")) == (status, alert, namespace):
                    return moment
        return None


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.posts.append((time.time(), json.loads(content)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    receiver = Webhook(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield receiver
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def shop(stack: Settings) -> Iterator[Settings]:
    settings = Settings.load(home=stack.home, namespace=f"ct_watched_{os.getpid()}")
    ensure_topics(settings)
    yield settings
    drop(settings)


@pytest.fixture(scope="module")
def watched(shop: Settings, webhook: Webhook) -> Iterator[Settings]:
    """Observers, configured as a user would, who only wants to hear of it sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_ALERT_HOLD", "0.05")
        patch.setenv("RETAILPULSE_ALERT_WEBHOOK", f"http://127.0.0.1:{webhook.port}/")
        _, names = observing.split(NAMES)
        observing.up(shop, names, console=Console(stderr=True))
    yield shop
    for name in names:
        supervision.stop_program(shop, name)


@pytest.fixture(scope="module")
def events() -> Generator:
    return Generator(rate=200, seconds=10, seed=7, duplicates=0.05, late=0.05, bad=0.05)


@pytest.fixture(scope="module")
def job(watched: Settings, events: Generator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[JobProcess]]:
    """The job "metrics" on a stream that has a bit of everything; a test may put another run into the list."""
    runs = [JobProcess(watched, "metrics", tmp_path_factory.mktemp("watched") / "metrics.log")]
    done = send(watched, events.messages(), paced=False)
    try:
        wait_until(lambda: consumed(watched, "metrics") == done.sent, "the job's taking of all events")
        yield runs
    finally:
        runs[-1].kill()


def ask(settings: Settings, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers to a query."""
    address = f"http://127.0.0.1:{port_of(settings, OBSERVERS['prometheus'])}/api/v1/query"
    answer = httpx.get(address, params={"query": expression}, trust_env=False).json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def value(settings: Settings, expression: str) -> float | None:
    found = ask(settings, expression)
    return float(found[0]["value"][1]) if found else None


PANELS = [
    pytest.param(panel["title"], target["expr"], id=f"{panel['id']}{target['refId']}")
    for panel in every_panel(json.loads((ROOT / "grafana" / "dashboards" / "pipeline-health.json").read_text()))
    for target in panel["targets"]
]
#: What there is nothing of until something goes wrong, or Airflow runs.
NOTHING_YET = {
    "Writes: retries a minute",
    "Promoted versions",
    "Airflow: runs an hour, by end",
    "Airflow: tasks and slots",
    "Airflow: signs of life a minute",
    "Airflow: length of runs, and their delay (p95)",
    "Airflow: failed tries an hour, and files it can't read",
    "Reference tables: age, by job",
    "Reference tables: failed readings an hour",
    "Expectations: events an hour that violated one",
}


@pytest.fixture(scope="module")
def measured(watched: Settings, job: list[JobProcess]) -> Settings:
    """The same, once Prometheus has seen all of it twice: a reconciliation and a reader of the API, too."""
    reconcile(watched)
    name = watched.namespace.name
    labels = f'{{namespace="{name}"}}'
    asked = f"retailpulse_api_request_duration_seconds_count{labels}"
    token = (watched.home / "secrets" / "api").read_text().strip()
    with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
        url = f"http://127.0.0.1:{port_of(watched, OBSERVERS['api'])}/api/v1/figures/orders"

        def seen() -> bool:
            assert client.get(url).status_code == 200
            # A rate needs two looks at the same series: what the API, a job, the monitor and a server count.
            rates = (
                f"rate({asked}[1m]) > 0",
                f"rate(retailpulse_job_batch_duration_seconds_count{labels}[1m])",
                f"rate(retailpulse_bad_messages_total{labels}[1m])",
                "rate(retailpulse_kafka_bytes_total[1m])",
            )
            return all(ask(watched, rate) for rate in rates)

        wait_until(seen, "Prometheus' second look", 120)
    return watched


@pytest.mark.parametrize(("title", "expression"), PANELS)
def test_each_panel_of_pipeline_health_is_answered(measured: Settings, title: str, expression: str) -> None:
    query = expression.replace("$namespace", measured.namespace.name).replace("$__rate_interval", "1m")
    assert "$" not in query
    if title not in NOTHING_YET:
        # A rate needs two looks in a minute, and a busy server misses one.
        wait_until(lambda: bool(ask(measured, query)), f"an answer to {query}", 120)
    for series in ask(measured, query):
        assert series["value"][1] != "NaN" or "latency" in title or "duration" in title or "cache" in title


def test_the_metrics_are_the_accounts_the_topic_and_the_truth(
    measured: Settings, events: Generator, job: list[JobProcess]
) -> None:
    name = measured.namespace.name
    counted = totals(read_accounts(measured), "metrics")
    of_job = f'retailpulse_job_messages_total{{namespace="{name}",job_name="metrics"}}'
    wait_until(lambda: value(measured, f"sum({of_job})") == counted["consumed"], "the last scrape", 60)
    by_status = {series["metric"]["status"]: float(series["value"][1]) for series in ask(measured, of_job)}
    assert by_status == {status: counted[status] for status in ("accepted", "duplicate", "late", "bad")}
    assert counted["bad"] == events.truth.bad.total() > 0

    def of(metric: str, label: str) -> dict[str, float]:
        found = ask(measured, f'{metric}{{namespace="{name}"}}')
        return {series["metric"][label]: float(series["value"][1]) for series in found}

    wait_until(
        lambda: of("retailpulse_bad_messages_total", "reason") == dict(events.truth.bad), "the count by reason", 30
    )
    assert of("retailpulse_topic_messages_total", "topic")["retail.events"] == counted["consumed"]
    assert of("retailpulse_producer_messages_total", "producer") == {"generate": counted["consumed"]}
    assert of("retailpulse_job_lag_messages", "job_name") == {"metrics": 0}
    assert of("retailpulse_reconcile_equal", "namespace") == {name: 1}
    up = {series["metric"]["service"]: series["value"][1] for series in ask(measured, "retailpulse_service_up")}
    assert {service: "1" for service in [*SERVICES, *NAMES] if service in up} == up
    assert {*NAMES, "kafka", "cassandra"} <= up.keys()


def test_what_is_exported_is_what_the_table_says(measured: Settings) -> None:
    address = f"http://127.0.0.1:{port_of(measured, OBSERVERS['monitor'])}/metrics"
    families = list(text_string_to_metric_families(httpx.get(address, trust_env=False).text))
    page = (ROOT / "docs" / "metrics.md").read_text()
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        metric = METRICS[name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert f"| `{name}` | {metric.kind} |" in page
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
    assert {"retailpulse_job_messages", "retailpulse_service_up", "retailpulse_api_requests"} <= {
        f.name for f in families
    }


def test_servers_tell_of_themselves_what_the_table_says(measured: Settings) -> None:
    found = {series["metric"]["__name__"] for series in ask(measured, '{__name__=~"retailpulse_.+",server!=""}')}
    assert found == {name for name, metric in METRICS.items() if metric.source.endswith("JVM")}
    assert {series["metric"]["server"] for series in ask(measured, 'up{server!=""} == 1')} == {
        "kafka", "cassandra", "hbase",
    }  # fmt: skip


def test_what_listens_is_what_the_table_of_sockets_says(measured: Settings, job: list[JobProcess]) -> None:
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (\d+) \|", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    told = {(program, int(port)) for program, port in rows}
    found = set()
    for name, info in Supervisor(measured).processes().items():
        family = tree(info["pid"]) if info["pid"] else []
        for address, port in listening(family):
            assert address == "127.0.0.1", (name, address, port)
        # The Python workers of Spark's server listen where there is room, as a job's do.
        for _, port in listening(family[:1] if name == "spark-connect" else family):
            if name in SERVICES or name in OBSERVERS:
                found.add((name, port - measured.port_offset))
    running = {name for name, _ in found}
    assert {
        *NAMES,
        *("kafka", "cassandra", "hbase", "hbase-thrift", "hive-metastore", "hiveserver2", "spark-connect"),
    } <= running
    assert found == {(name, port) for name, port in told if name in running}
    # A job's ports are anybody's guess, but on loopback.
    of_job = listening(job[-1].tree())
    assert of_job
    assert {address for address, _ in of_job} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """Where TCP connections are taken, and datagrams."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for socket in process.net_connections("inet"):
                if socket.status == "LISTEN" or (socket.type == SOCK_DGRAM and not socket.raddr):
                    found.add((socket.laddr.ip, socket.laddr.port))
    return found


def test_a_secret_is_its_owner_s_alone(measured: Settings) -> None:
    secrets = [*(measured.home / "secrets").iterdir(), *(measured.home / "alertmanager" / "conf").iterdir()]
    assert secrets
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    token = (measured.home / "secrets" / "api").read_text().strip()
    for log in (measured.home / "logs").glob("*.log"):
        assert token not in log.read_text(errors="replace"), log


def test_a_killed_job_is_told_to_the_webhook_and_a_new_one_is_too(
    watched: Settings, webhook: Webhook, job: list[JobProcess], tmp_path: Path
) -> None:
    name = watched.namespace.name
    up = f'retailpulse_process_up{{namespace="{name}",component="job"}}'
    wait_until(lambda: value(watched, up) == 1, "the job's being seen by Prometheus", 60)
    killed = time.time()
    job[-1].kill()
    wait_until(lambda: webhook.find("firing", "JobDown", name) is not None, "the alert", 90)
    started = time.time()
    job.append(JobProcess(watched, "metrics", tmp_path / "again.log"))
    wait_until(lambda: webhook.find("resolved", "JobDown", name) is not None, "its end", 120)
    fired, resolved = webhook.find("firing", "JobDown", name), webhook.find("resolved", "JobDown", name)
    assert fired is not None
    assert resolved is not None
    assert killed < fired < started < resolved
    print(f"killed; {fired - killed:.1f} s later the alert; started; {resolved - started:.1f} s later its end")
