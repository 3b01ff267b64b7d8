"""What tests of the streaming jobs share: a job in a process of its own, messages for it, its accounts."""

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

from retailpulse_kernel.demo import job_command
from retailpulse_kernel.running import environment
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.kafka_config import client_config
from retailpulse_kernel.streaming.accounts import Account, read_accounts

__all__ = ["JobProcess", "consumed", "produce", "totals", "wait_until"]


def produce(settings: Settings, messages: list[tuple[str | bytes, bytes | None]]) -> None:
    producer = Producer({**client_config(settings), "enable.idempotence": True, "message.max.bytes": 2_000_000})
    for key, value in messages:
        producer.produce(settings.namespace.events_topic, key=key, value=value)
        producer.poll(0)
    assert producer.flush(30) == 0


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

    def __init__(self, settings: Settings, job: str, log: Path) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            job_command(job, run="continuous"),
            env={**os.environ, **environment(settings)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """End all of it at once, as a power cut would."""
        tree = self.tree()
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(tree, timeout=30)
        self.process.wait()
        self._log.close()
