"""How a store is found: shipped, installed, or registered by this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import ProfileError, UnknownName, UsageError
from retailpulse_kernel.ground.profiles import described_profile
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores import base, registry
from retailpulse_kernel.stores.base import EventArchive, FigureStore, Local, RowStore
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hive.store import HiveStore
from tests.sqlite_store import SqliteStore

CAPABILITIES = [
    getattr(base, name) for name in ("EventArchive", "Expiring", "ExpiringRows", "FigureStore", "Local", "RowStore")
]


def with_profile(folder: Path, text: str = "") -> Settings:
    profile = folder / "local.toml"
    profile.write_text(text)
    return Settings.load(home=folder / "home", profile=str(profile), namespace="shop")


def install(folder: Path, name: str, module: str) -> Path:
    """What an installed package with a store leaves on the path."""
    about = folder / f"{name}_store-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-store\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[retailpulse.stores]\n{name} = {module}\n")
    return folder


@pytest.fixture(autouse=True)
def _only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cassandra", "hbase", "hive", "kafka"):  # a module that is imported once registers once
        registry.can(name, FigureStore)
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def test_opening_a_store_imports_no_driver() -> None:
    code = (
        "import sys\n"
        "from retailpulse_kernel.ground.settings import Settings\n"
        "from retailpulse_kernel.stores import registry\n"
        "settings = Settings.load()\n"
        "for name in registry.used(settings): registry.open_store(name, settings)\n"
        "registry.serving_store(settings), registry.event_archive(settings)\n"
        "print([m for m in ('cassandra', 'happybase', 'pyhive', 'pyspark', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_store_has_what_it_is_registered_with_and_nothing_else(tmp_path: Path) -> None:
    settings = with_profile(tmp_path, "[stores.sqlite]\n")
    registry.register("sqlite", SqliteStore, FigureStore, RowStore, Local)
    assert registry.used(settings) == ["cassandra", "hbase", "hive", "kafka", "sqlite"]
    for name in registry.used(settings):
        store = registry.open_store(name, settings)
        assert store.name == name
        found = {capability for capability in CAPABILITIES if isinstance(store, capability)}
        assert found == {capability for capability in CAPABILITIES if registry.can(name, capability)}
    assert registry.used(settings, FigureStore) == ["cassandra", "hbase", "sqlite"]
    assert registry.used(settings, FigureStore, Local) == ["sqlite"]
    assert registry.used(settings, EventArchive) == ["hive"]
    assert registry.used(settings, RowStore) == ["cassandra", "hbase", "hive", "kafka", "sqlite"]


def test_the_profile_says_what_serves(tmp_path: Path) -> None:
    settings = with_profile(tmp_path)
    assert isinstance(registry.serving_store(settings), CassandraStore)
    assert isinstance(registry.event_archive(settings), HiveStore)
    registry.register("sqlite", SqliteStore, FigureStore, RowStore, Local)
    settings = with_profile(tmp_path, '[serving]\nstore = "sqlite"\n')
    assert isinstance(registry.serving_store(settings), SqliteStore)
    settings = with_profile(tmp_path, '[serving]\nstore = "hive"\narchive = "hbase"\n')
    with pytest.raises(UnknownName, match=r"no store of figures 'hive'.*Known: cassandra, hbase"):
        registry.serving_store(settings)
    with pytest.raises(UnknownName, match=r"no archive of events 'hbase'.*Known: hive"):
        registry.event_archive(settings)


def test_a_store_that_the_profile_does_not_name_is_not_opened(tmp_path: Path) -> None:
    registry.register("sqlite", SqliteStore, FigureStore, RowStore, Local)
    with pytest.raises(ProfileError, match=r"does not use the store 'sqlite'. Add the table \[stores.sqlite\]"):
        registry.open_store("sqlite", with_profile(tmp_path))


def test_a_store_s_settings_are_free_and_its_secrets_references(tmp_path: Path) -> None:
    settings = with_profile(tmp_path, '[stores.shelf]\nfolder = "/x"\npassword = "env:NOWHERE"\n')
    assert settings.profile.stores["shelf"]["folder"] == "/x"
    assert described_profile(settings.profile)[-1] == (
        "  shelf      folder /x, password ********** from env:NOWHERE, which is not set"
    )
    with pytest.raises(ProfileError, match="password must be a reference") as caught:
        with_profile(tmp_path, '[stores.shelf]\npassword = "tulip"\n').profile  # noqa: B018
    assert "tulip" not in str(caught.value)


def test_an_installed_store_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_profile(tmp_path, "[stores.sqlite]\n[stores.empty]\n")
    del registry._registered["sqlite"]
    monkeypatch.delitem(sys.modules, "tests.sqlite_store")
    monkeypatch.syspath_prepend(install(tmp_path / "site", "sqlite", "tests.sqlite_store"))
    assert {"cassandra", "hbase", "hive", "kafka", "sqlite"} <= set(registry.names())
    assert registry.figure_store("sqlite", settings).name == "sqlite"
    install(tmp_path / "site", "empty", "string")
    with pytest.raises(UsageError, match="The module string is installed as the store 'empty', and does not register"):
        registry.open_store("empty", settings)


def test_a_wrong_name_is_told() -> None:
    with pytest.raises(UnknownName, match=r"no store 'casandra'\. Did you mean 'cassandra'"):
        registry.can("casandra", FigureStore)
    with pytest.raises(UsageError, match="'hive' is shipped"):
        registry.register("hive", SqliteStore, FigureStore)
    with pytest.raises(UsageError, match="'My Store' can't be the name of a store"):
        registry.register("My Store", SqliteStore, FigureStore)
