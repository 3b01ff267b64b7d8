"""A job of five queries that was killed and stopped on the way: several files look at what it has written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jupytext
import nbformat
import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.checkpoint.log import committed_batch
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from tests.jobs import killed, produce, wait_until
from tests.rows_jobs import CELLS, WRITES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def rows_notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The notebook of `tests.rows_jobs`; its own process imports what the tests share."""
    path = tmp_path_factory.mktemp("notebook") / "rows.ipynb"
    content = jupytext.reads(CELLS, fmt="py:percent")
    content.metadata["kernelspec"] = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    nbformat.write(content, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        yield path


@pytest.fixture(scope="session")
def killed_rows(stack: Settings, rows_notebook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The namespace of a job that was killed in the middle, stopped, and run to the end of the topic twice.

    In the continuous runs, the order of the topic makes some events late.
    """
    folder = tmp_path_factory.mktemp("rows")
    settings = Settings.load(namespace=f"t_rows_killed_{os.getpid()}", pipelines=folder / "pipelines")
    drop(settings)
    ensure_topics(settings)
    start, log = datetime.now(UTC) - timedelta(hours=2), folder / "log"
    produce(settings, messages(start, 1_000, seed=5, late=0.02))
    first = started(settings, rows_notebook, "continuous", log)
    try:
        every = "a batch of every output"
        until(lambda: all(accounts_of(settings, name) for name in WRITES), every, first, log)
        produce(settings, messages(start + timedelta(seconds=1_000), 1_000, seed=6, late=0.02))
        more = "a batch more of the first output"
        until(lambda: sum(a.consumed for a in accounts_of(settings, "windows")) > 1_020, more, first, log)
    finally:
        killed(first)
    stopped = started(settings, rows_notebook, "continuous", log)
    try:
        produce(settings, messages(start + timedelta(seconds=2_000), 1_000, seed=7, late=0.02))
        after = "batches after the kill"
        until(lambda: sum(a.consumed for a in accounts_of(settings, "baskets")) > 2_040, after, stopped, log)
        stopped.terminate()
        assert stopped.wait(120) in (0, 143, -15), log.read_text()[-3_000:]
    finally:
        killed(stopped)
    assert_one_boundary(settings)
    for number in range(2):
        produce(settings, messages(start + timedelta(seconds=3_000 + 500 * number), 500, seed=8 + number))
        assert started(settings, rows_notebook, "available_now", log).wait(240) == 0, log.read_text()[-3_000:]
    assert_one_boundary(settings)
    yield settings
    drop(settings)


def messages(start: datetime, seconds: int, *, seed: int, late: float = 0.0) -> list[tuple[str | bytes, bytes | None]]:
    generator = Generator(
        rate=1, seconds=seconds, seed=seed, start=start, users=300, duplicates=0.03, bad=0.01, late=late
    )
    return [(message.key, message.value) for message in generator.messages()]


def started(settings: Settings, notebook: Path, run: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "retailpulse_kernel.cli", "run", str(notebook), "-p", "run", run]
    with log.open("ab") as file:
        return subprocess.Popen(
            command, env={**os.environ, **environment(settings)}, stdout=file, stderr=file, start_new_session=True
        )


def until(condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for something that a process does; a process that has ended will not do it any more."""
    wait_until(lambda: condition() or process.poll() is not None, what)
    assert process.poll() is None, log.read_text()[-3_000:]


def accounts_of(settings: Settings, output: str) -> list[Account]:
    return [account for account in read_accounts(settings, further=True) if account.output == output]


def assert_one_boundary(settings: Settings) -> None:
    epoch = find_epoch(f"{settings.checkpoints}/rows")
    assert epoch is not None
    ends = [committed_batch(checkpoint_of(epoch.path, name)) for name in WRITES]
    assert len({str(end and end.offsets) for end in ends}) == 1, "all queries end at the same offsets"
