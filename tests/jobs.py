"""What tests of the streaming jobs share: jobs here or in a process of their own, messages for them, their accounts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

import retailpulse_kernel
from retailpulse_kernel.demo.jobs import demo_jobs, job_command, job_notebook
from retailpulse_kernel.ground.settings import Namespace, Settings, environment
from retailpulse_kernel.notebooks.files import code_cells, read_notebook, with_parameters, without_tests
from retailpulse_kernel.notebooks.running import checked_parameters
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["JOBS", "JobProcess", "consumed", "killed", "produce", "run_here", "stamp", "totals", "wait_until"]


#: The demo's jobs: all that the project ships.
JOBS = demo_jobs()


def produce(
    settings: Settings, messages: list[tuple[str | bytes, bytes | None]], topic: str = Namespace.EVENTS
) -> None:
    producer = Producer({**client_config(settings), "enable.idempotence": True, "message.max.bytes": 2_000_000})
    for key, value in messages:
        producer.produce(settings.namespace.topic(topic), key=key, value=value)
        producer.poll(0)
    assert producer.flush(30) == 0


def run_here(settings: Settings, job: str | Path, **given: str) -> None:
    """Run the cells of a shipped job, or of a notebook, in this process, whose Spark stays warm for the next one.

    For tests of what a job computes. Those of how it is started use `run_notebook` or a `JobProcess`.
    """
    notebook = job if isinstance(job, Path) else job_notebook(job)
    content = with_parameters(without_tests(read_notebook(notebook)), checked_parameters(notebook, given))
    before = retailpulse_kernel.default_workbench()
    retailpulse_kernel.use_workbench(Workbench(namespace=settings.namespace_name))
    try:
        names: dict[str, object] = {}
        for source in code_cells(content):
            exec(compile(source, str(notebook), "exec"), names)
    finally:
        retailpulse_kernel.use_workbench(before)


def stamp(settings: Settings, topic: str, kind: str) -> None:
    """Say whose time a topic's messages carry: ``LogAppendTime`` or ``CreateTime``."""
    admin = AdminClient(client_config(settings))
    entry = ConfigEntry("message.timestamp.type", kind, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(60)


def totals(accounts: list[Account], job: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for account in accounts:
        if account.job == job:
            counts.update({n: getattr(account, n) for n in ("consumed", "accepted", "duplicate", "late", "bad")})
    return counts


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.5)


def consumed(settings: Settings, job: str) -> int:
    return totals(read_accounts(settings), job)["consumed"]


class JobProcess:
    """A job that runs continuously in a process of its own, as the supervisor runs it."""

    def __init__(self, settings: Settings, job: str, log: Path, **parameters: str) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            job_command(job, run="continuous", **parameters),
            env={**os.environ, **environment(settings)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def tree(self) -> list[psutil.Process]:
        return tree_of(self.process.pid)

    def kill(self) -> None:
        """End all of it at once, as a power cut would."""
        killed(self.process)
        self._log.close()


def tree_of(pid: int) -> list[psutil.Process]:
    """A process and all that it has started; empty once it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def killed(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it has started at once, as a power cut would."""
    tree = tree_of(process.pid)
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(tree, timeout=30)
    process.wait()
