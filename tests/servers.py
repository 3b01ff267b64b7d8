"""A server of a test's own, beside the shared ones: as the local stack's, with another configuration."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from retailpulse_kernel.ground.errors import StoreUnavailable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stack import configuration
from retailpulse_kernel.stack.services import SERVICES

__all__ = ["refused_login", "server_of_its_own"]


@contextmanager
def server_of_its_own(
    settings: Settings, name: str, *, change: Callable[[], None], ready: Callable[[], object], seconds: float = 120
) -> Iterator[None]:
    """Run a server in a home of its own.

    Parameters
    ----------
    settings : Settings
        Its home and its ports.
    name : str
        Which service.
    change : callable
        Changes its configuration, which lies in the home by then.
    ready : callable
        Raises `StoreUnavailable` while the server is not up.
    seconds : float
        How long that may take.
    """
    service = SERVICES[name]
    command = configuration.command(settings, service)
    change()
    configuration.prepare(settings, service)
    with (settings.home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                ready()
                break
            except StoreUnavailable:
                running = process.poll() is None and time.monotonic() < deadline
                assert running, (settings.home / "log").read_text()[-2000:]
                time.sleep(0.2)
        yield
    finally:
        process.kill()  # an orderly end takes long, and nothing of it is kept
        process.wait()


def refused_login(call: Callable[[], object], user: str, secret: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Make sure that a call is refused for its login, says whose it was and shows no secret; what it said."""
    with pytest.raises(StoreUnavailable) as raised:
        call()
    said = str(raised.value)
    assert f"refuses the user '{user}'" in said.splitlines()[0], said
    out, err = capfd.readouterr()
    assert secret not in said + out + err
    return said
