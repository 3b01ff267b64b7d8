"""What the doctor says of a machine that lacks something."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import RequirementError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stack.doctor import Check, diagnose, require
from retailpulse_kernel.stack.services import SERVICES


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", cache=tmp_path / "cache", port_offset=21_000)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_looks_at_everything(settings: Settings) -> None:
    checks = by_name(diagnose(settings))
    names = ["machine", "java", "memory", "disk", "home", "ports", "artifacts", "python", "strays", "clocks"]
    assert list(checks) == names
    assert checks["java"].verdict == "ok"
    assert checks["ports"].verdict == "ok"
    assert checks["strays"].verdict == "ok"
    assert (checks["clocks"].verdict, "Kafka does not answer" in checks["clocks"].detail) == ("ok", True)
    assert checks["artifacts"].verdict == "warning"  # an empty cache
    assert all(check.remedy for check in checks.values() if check.verdict != "ok")
    assert not settings.home.exists()  # looking changes nothing


def test_names_who_holds_a_port(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 9092 + settings.port_offset)):
        check = by_name(diagnose(settings))["ports"]
        assert check.verdict == "problem"
        assert "Port 30092, which kafka needs, is taken by " in check.detail
        assert f"(process {os.getpid()})" in check.detail
        with pytest.raises(RequirementError, match="Port 30092") as caught:
            require(settings, [SERVICES["kafka"]])
        assert caught.value.exit_code == 2
        require(settings, [SERVICES["cassandra"]])  # which needs other ports


def test_all_that_is_missing_is_said_at_once(tmp_path: Path, settings: Settings) -> None:
    greedy = replace(SERVICES["kafka"], memory_mb=10_000_000)
    spaced = Settings.load(home=tmp_path / "two words", port_offset=settings.port_offset)
    with (
        socket.create_server(("127.0.0.1", 9092 + settings.port_offset)),
        pytest.raises(RequirementError, match="3 things are missing to start") as caught,
    ):
        require(spaced, [greedy])
    said = str(caught.value)
    assert "MB of memory are free, the services to start need about 10000000 MB." in said
    assert "must not contain ' '" in said
    assert "Port 30092" in said


def test_a_disk_that_is_too_small(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retailpulse_kernel.stack.doctor._DISK_MB", 10**9)
    with pytest.raises(RequirementError, match=r"MB of disk are free at .* Free some space"):
        require(settings, [SERVICES["kafka"]])


def test_no_java(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_java() -> None:
        raise RequirementError("No Java was found.", remedy="Install one.")

    monkeypatch.setattr("retailpulse_kernel.stack.doctor.find_java", find_java)
    with pytest.raises(RequirementError, match=r"No Java was found\. Install one\."):
        require(settings, [SERVICES["kafka"]])


def test_nothing_to_start_needs_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retailpulse_kernel.stack.doctor._DISK_MB", 10**9)
    require(settings, [])


def test_python_packages_that_differ(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["rich<1", "no-such-package", "psutil"]\n')
    monkeypatch.setattr("retailpulse_kernel.stack.doctor.project_root", lambda: tmp_path)
    check = by_name(diagnose(settings))["python"]
    assert check.verdict == "problem"
    assert check.detail.startswith("rich is ")
    assert "no-such-package is missing" in check.detail
    assert "psutil" not in check.detail
