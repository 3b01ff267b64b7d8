"""A Cassandra that wants a login: that of a profile is taken by reference, a wrong one is told and not shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import ProfileError, StoreUnavailable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.figures import EVENTS
from retailpulse_kernel.shop.tables import FigureTable, grain_of
from retailpulse_kernel.workbench.workbench import Workbench
from tests.servers import refused_login, server_of_its_own

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(300)]

#: What Cassandra makes when it starts for the first time.
USER, PASSWORD = "cassandra", "cassandra"
WRONG = "stone-under-snow"


@pytest.fixture(scope="module")
def port(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a Cassandra of its own listens: as the local stack's, but it asks who is there."""
    home = tmp_path_factory.mktemp("cassandra")
    settings = Settings.load(home=home, port_offset=stack.port_offset + 500)

    def change() -> None:
        (path,) = home.rglob("cassandra.yaml")
        path.write_text(path.read_text().replace("AllowAllAuthenticator", "PasswordAuthenticator"))
        (arguments,) = home.rglob("cassandra.args")
        # It waits ten seconds for other nodes before it makes its first user.
        arguments.write_text('"-Dcassandra.superuser_setup_delay_ms=0"\n' + arguments.read_text())

    made = settings.profile.cassandra.port
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_CASSANDRA_PASSWORD", PASSWORD)
        with server_of_its_own(settings, "cassandra", change=change, ready=workbench(made, home).cassandra.ping):
            yield made


def workbench(port: int, folder: Path, *lines: str) -> Workbench:
    """A workbench whose profile logs in by reference."""
    profile = folder / "login.toml"
    given = lines or (f'username = "{USER}"', 'password = "env:TEST_CASSANDRA_PASSWORD"')
    profile.write_text("\n".join(["[cassandra]", f"port = {port}", *given]))
    return Workbench(str(profile), "ct_login")


@pytest.fixture
def bench(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    monkeypatch.setenv("TEST_CASSANDRA_PASSWORD", PASSWORD)
    made = workbench(port, tmp_path)
    yield made
    made.cassandra.close()


def test_a_login_reads_and_writes(bench: Workbench) -> None:
    table = FigureTable("visits", (EVENTS,), ("currency",), (grain_of("1 day"),))
    (day,) = table.every
    start = datetime(2026, 1, 2, tzinfo=UTC)
    bench.cassandra.create(table)
    bench.cassandra.write(table, day, [{"day": start, "currency": "EUR", "events": 3}], version=1)
    assert bench.cassandra.read(table, day) == [{"day": start, "currency": "EUR", "events": 3}]
    assert f"password='{PASSWORD}'" not in repr(bench.settings.profile)


def test_a_wrong_password_is_told_and_not_shown(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEST_CASSANDRA_PASSWORD", WRONG)
    refused_login(bench.cassandra.ping, USER, WRONG, capfd)


def test_the_right_password_helps_at_once(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CASSANDRA_PASSWORD", WRONG)
    with pytest.raises(StoreUnavailable):
        bench.cassandra.ping()
    monkeypatch.setenv("TEST_CASSANDRA_PASSWORD", PASSWORD)
    assert bench.cassandra.ping()


def test_no_login_is_told(port: int, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="refuses the user None: it asks for a login"):
        workbench(port, tmp_path, 'hosts = ["127.0.0.1"]').cassandra.ping()


def test_a_password_that_is_nowhere(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_CASSANDRA_PASSWORD")
    with pytest.raises(ProfileError, match="TEST_CASSANDRA_PASSWORD"):
        bench.cassandra.ping()
