"""One set of real servers for the whole session, and no test that touches the developer's own.

`make test` has two workers that share the servers. `make test-long` runs the tests marked ``long``, ``browser`` or
``faults`` in one process, since many of them kill servers. While you write tests, start servers once and reuse them:

    export RETAILPULSE_TEST_HOME=/somewhere RETAILPULSE_PORT_OFFSET=20000
    RETAILPULSE_HOME=$RETAILPULSE_TEST_HOME retailpulse up
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout
from hypothesis import settings as hypothesis_settings
from rich.console import Console

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine import artifacts
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stores.connection import close_all
from retailpulse_kernel.workbench.default import use_workbench

REUSED_HOME = os.environ.get("RETAILPULSE_TEST_HOME")
# Always the same folder: what a killed session left in it is found and ended by the next one.
TEST_HOME = Path(REUSED_HOME or Path(tempfile.gettempdir()) / f"retailpulse-test-{getpass.getuser()}").absolute()
TEST_PORT_OFFSET = "20000"
#: Held by the session whose workers may start the test servers.
LOCK = FileLock(f"{TEST_HOME}.lock")
#: Tells the workers that their session has the lock.
OWNED = "RETAILPULSE_TEST_OWNED"

# An example's time says how busy the machine is, and nothing of the code.
hypothesis_settings.register_profile("untimed", hypothesis_settings(), deadline=None)
hypothesis_settings.load_profile("untimed")


def pytest_configure() -> None:
    """Point everything, subprocesses included, at the test's home: nothing here may touch the user's."""
    os.environ["RETAILPULSE_HOME"] = str(TEST_HOME)
    # Airflow makes files as soon as it is imported.
    os.environ["AIRFLOW_HOME"] = str(TEST_HOME / "airflow")
    if not REUSED_HOME:
        os.environ["RETAILPULSE_PORT_OFFSET"] = TEST_PORT_OFFSET
    if os.environ.get("RETAILPULSE_LONG") != "1":
        # Java processes of the tests live for a minute or two, most of which the second compiler would take.
        os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    # Some tests import gRPC before the package, which would say so itself (stores/spark/__init__.py).
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    for name in ("RETAILPULSE_PROFILE", "RETAILPULSE_NAMESPACE", "RETAILPULSE_PIPELINES"):
        os.environ.pop(name, None)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Claim the test servers for this process and its workers, and end what a killed session left."""
    if REUSED_HOME or is_worker(session.config) or session.config.option.collectonly:
        return
    os.environ.pop(OWNED, None)
    with contextlib.suppress(Timeout):  # told by the first test that needs the servers
        LOCK.acquire(timeout=0)
        os.environ[OWNED] = "1"
        _end_and_delete(Settings.load())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the test servers and delete their data, whatever the tests did."""
    close_all()
    if LOCK.is_locked:
        _end_and_delete(Settings.load())
        LOCK.release()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Download the servers before the first test: that may take longer than a test is allowed to."""
    needs_servers = any("stack" in getattr(item, "fixturenames", ()) for item in session.items)
    if needs_servers and not session.config.option.collectonly:
        console = Console(stderr=True)
        with artifacts.download_progress(console) as progress:
            artifacts.ensure(Settings.load(), progress=progress)


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of several that share a session's tests."""
    return hasattr(config, "workerinput")


@pytest.fixture
def use_bench() -> Iterator[Callable[[Any], None]]:
    """Makes a workbench the default one until the test ends."""
    yield use_workbench
    use_workbench(None)


@pytest.fixture(scope="session")
def stack() -> Settings:
    """The real servers, all of them, started once; the settings that lead to them.

    The session stops them and deletes their data at its end. Give each test a namespace of its own.
    """
    settings = Settings.load()
    if not REUSED_HOME and OWNED not in os.environ:
        pytest.fail(
            "Another test session uses the test servers. Wait for it, or set RETAILPULSE_TEST_HOME.", pytrace=False
        )
    supervision.up(settings, console=Console(stderr=True))
    return settings


def _end_and_delete(settings: Settings) -> None:
    supervision.down(settings)
    shutil.rmtree(settings.home, ignore_errors=True)
