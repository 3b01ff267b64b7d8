"""One set of real servers for the whole session, and no test that touches the developer's own.

While you write tests, start servers once and let every run reuse them:

    export RETAILPULSE_TEST_HOME=/somewhere RETAILPULSE_PORT_OFFSET=20000
    RETAILPULSE_HOME=$RETAILPULSE_TEST_HOME retailpulse up
"""

from __future__ import annotations

import getpass
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from hypothesis import settings as hypothesis_settings
from rich.console import Console

from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stack import artifacts, supervision

REUSED_HOME = os.environ.get("RETAILPULSE_TEST_HOME")
# Always the same folder: what a killed session left in it is found and ended by the next one.
TEST_HOME = Path(REUSED_HOME or Path(tempfile.gettempdir()) / f"retailpulse-test-{getpass.getuser()}").absolute()
TEST_PORT_OFFSET = "20000"
#: Minutes after which no other test begins, for where a run has to end in time on a machine of any speed.
MINUTES = float(os.environ.get("RETAILPULSE_TEST_MINUTES", "inf"))
BEGAN = time.monotonic()

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
    for name in ("RETAILPULSE_PROFILE", "RETAILPULSE_NAMESPACE", "RETAILPULSE_PIPELINES"):
        os.environ.pop(name, None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    minutes = (time.monotonic() - BEGAN) / 60
    if minutes > MINUTES:
        pytest.skip(f"after {minutes:.0f} min no other test begins (RETAILPULSE_TEST_MINUTES={MINUTES:g})")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Download the servers before the first test: that may take longer than a test is allowed to."""
    needs_servers = any("stack" in getattr(item, "fixturenames", ()) for item in session.items)
    if needs_servers and not session.config.option.collectonly:
        console = Console(stderr=True)
        with artifacts.download_progress(console) as progress:
            artifacts.ensure(Settings.load(), progress=progress)


@pytest.fixture(scope="session")
def stack() -> Iterator[Settings]:
    """The real servers, all of them, started once; the settings that lead to them.

    They are stopped and their data is deleted at the end, whatever the tests did. Give each test
    a namespace of its own.
    """
    if REUSED_HOME:
        settings = Settings.load()
        supervision.up(settings, console=Console(stderr=True))
        yield settings
        return
    lock = FileLock(f"{TEST_HOME}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pytest.exit("Another test session uses the test servers. Wait for it, or set RETAILPULSE_TEST_HOME.", 1)
    settings = Settings.load()
    try:
        _end_and_delete(settings)  # what a killed session left
        supervision.up(settings, console=Console(stderr=True))
        yield settings
    finally:
        _end_and_delete(settings)
        lock.release()


def _end_and_delete(settings: Settings) -> None:
    supervision.down(settings)
    shutil.rmtree(settings.home, ignore_errors=True)
