"""The watched stack: a real job, the monitor, and Prometheus and Alertmanager where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from retailpulse_kernel.generator import Generator
from retailpulse_kernel.namespaces import drop
from retailpulse_kernel.replay import send
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stack import observing, supervision
from retailpulse_kernel.stack.observers import OBSERVERS, port_of
from retailpulse_kernel.topics import ensure_topics
from tests.jobs import JobProcess, consumed, wait_until

pytestmark = [
    pytest.mark.integration,
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
def job(watched: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[JobProcess]]:
    """The job "metrics" on a stream that has a bit of everything; a test may put another run into the list."""
    runs = [JobProcess(watched, "metrics", tmp_path_factory.mktemp("watched") / "metrics.log")]
    done = send(
        watched, Generator(rate=200, seconds=10, seed=7, duplicates=0.05, late=0.05, bad=0.05).messages(), paced=False
    )
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
