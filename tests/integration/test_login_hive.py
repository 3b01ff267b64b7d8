"""A HiveServer2 that wants a login: that of a profile is taken by reference, a refused one is told and not shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import ProfileError, StoreUnavailable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.workbench.workbench import Workbench
from tests.servers import refused_login, server_of_its_own

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(300)]

PASSWORD = "tulip-in-the-rain"
#: Who says whether a login is right: one that takes any, and a directory that is not there, so that none is.
TAKES_ANY = {
    "hive.server2.authentication": "CUSTOM",
    "hive.server2.custom.authentication.class": "org.apache.hive.service.auth.AnonymousAuthenticationProviderImpl",
}
TAKES_NONE = {
    "hive.server2.authentication": "LDAP",
    "hive.server2.authentication.ldap.url": "ldap://127.0.0.1:1",
}


@contextmanager
def hive(stack: Settings, home: Path, properties: dict[str, str], *, offset: int) -> Iterator[int]:
    """A HiveServer2 of its own beside the shared Metastore; where it listens."""
    settings = Settings.load(home=home, port_offset=stack.port_offset + offset)

    def change() -> None:
        (path,) = home.rglob("hive-site.xml")
        metastore = {"hive.metastore.uris": stack.profile.hive.metastore}
        more = "".join(
            f"<property><name>{name}</name><value>{value}</value></property>"
            for name, value in (properties | metastore).items()
        )
        # Of two properties with one name the last one holds.
        path.write_text(path.read_text().replace("</configuration>", f"{more}</configuration>"))

    port = settings.profile.hive.port
    with server_of_its_own(settings, "hiveserver2", change=change, ready=lambda: listening(port, home)):
        yield port


def listening(port: int, home: Path) -> None:
    """Raise until it says something about logins, whatever that is."""
    try:
        workbench(port, home, password="plain").hive.ping()
    except StoreUnavailable as error:
        if "refuses" not in str(error):
            raise


def workbench(port: int, folder: Path, *, auth: str = "LDAP", password: str = "env:TEST_HIVE_PASSWORD") -> Workbench:
    """A workbench whose profile logs in."""
    if password == "plain":
        (folder / "secret").write_text("any")
        (folder / "secret").chmod(0o600)
        password = f"file:{folder / 'secret'}"
    profile = folder / "login.toml"
    profile.write_text(f'[hive]\nport = {port}\nauth = "{auth}"\nusername = "ann"\npassword = "{password}"\n')
    return Workbench(str(profile), "ct_login")


@pytest.fixture(scope="module")
def open_port(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with hive(stack, tmp_path_factory.mktemp("open"), TAKES_ANY, offset=500) as port:
        yield port


def test_a_login_is_taken(open_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_HIVE_PASSWORD", PASSWORD)
    rp = workbench(open_port, tmp_path, auth="CUSTOM")
    assert rp.hive.ping()
    assert PASSWORD not in repr(rp) + repr(rp.settings.profile)
    rp.hive.close()
    monkeypatch.delenv("TEST_HIVE_PASSWORD")
    with pytest.raises(ProfileError, match="TEST_HIVE_PASSWORD"):
        workbench(open_port, tmp_path).hive.ping()


def test_a_login_is_asked_for(open_port: int, tmp_path: Path) -> None:
    profile = tmp_path / "no-login.toml"
    profile.write_text(f"[hive]\nport = {open_port}\n")
    with pytest.raises(StoreUnavailable) as raised:
        Workbench(str(profile), "ct_login").hive.ping()
    assert "where it asks for a login, set auth, username and password" in str(raised.value), raised.value


def test_a_login_that_is_refused_is_told_and_not_shown(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEST_HIVE_PASSWORD", PASSWORD)
    with hive(stack, tmp_path, TAKES_NONE, offset=600) as port:
        refused_login(workbench(port, tmp_path).hive.ping, "ann", PASSWORD, capfd)
