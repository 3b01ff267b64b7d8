"""A real supervisord with small programs under it: no server needed."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from retailpulse_kernel.ground.errors import RequirementError, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.daemon import Supervisor, log_path, tail
from retailpulse_kernel.machine.strays import HOME_VARIABLE, of_home
from retailpulse_kernel.stack import start, supervision
from retailpulse_kernel.stack.services import SERVICES

FOREVER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]


pytestmark = pytest.mark.integration


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    settings = Settings.load(home=tmp_path / getattr(request, "param", "home"))
    yield settings
    supervision.down(settings)
    assert of_home(settings.home) == []


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state(settings: Settings, name: str) -> supervision.ServiceStatus:
    return next(entry for entry in supervision.status(settings) if entry.name == name)


def begin(settings: Settings, name: str) -> psutil.Process:
    """Start a program that runs for ever, and wait until it does: a signal to a process in the making is lost."""
    supervision.start_program(settings, name, FOREVER)
    until(lambda: "here" in tail(settings, name))
    return psutil.Process(state(settings, name).pid)


def run_as(settings: Settings, name: str) -> Supervisor:
    """Let a program that answers nobody run as a service does."""
    supervisor = Supervisor(settings)
    supervisor.start()
    supervisor.add(name, FOREVER)
    supervisor.start_program(name)
    until(lambda: supervisor.processes()[name]["statename"] == "RUNNING")
    return supervisor


@pytest.mark.parametrize("name", ["spark-connect", "kafka"])
def test_a_server_that_does_not_answer_yet_is_starting(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load(home=settings.home, port_offset=21_000)
    run_as(settings, name)
    entry = state(settings, name)
    assert (entry.state, entry.healthy) == ("starting", False)
    assert re.fullmatch(r"does not answer yet, \d+ s after its start", entry.detail)
    monkeypatch.setitem(SERVICES, name, replace(SERVICES[name], start_seconds=1))
    entry = state(settings, name)
    assert (entry.state, entry.healthy) == ("running", False)
    assert "after its start" not in entry.detail, "a start that takes too long is told by its cause"


def test_a_log_says_what_a_start_waits_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, said = run_as(settings, "kafka"), io.StringIO()
    monkeypatch.setattr(start, "_LINE_SECONDS", 0.05)
    monkeypatch.setattr(start, "check", lambda *_: None if "waiting" in said.getvalue() else "no answer")
    start.Start(settings, supervisor, [SERVICES["kafka"]], Console(file=said, width=120)).run()
    first, *_, healthy, last = said.getvalue().splitlines()
    assert first == "  waiting for kafka (0 s)"
    assert re.match(r"  kafka .* healthy  already up", healthy) and last.startswith("all healthy after")


# The second is so deep that a unix socket in it could not be bound.
@pytest.mark.parametrize("settings", ["home", f"{100 * 'x'}/home"], indirect=True)
def test_runs_a_program_and_restarts_it(settings: Settings) -> None:
    first = begin(settings, "ticker").pid
    assert supervision.programs(settings) == ["ticker"]
    until(lambda: state(settings, "ticker").healthy)
    entry = state(settings, "ticker")
    assert entry.memory_mb is not None
    assert 1 < entry.memory_mb < 200
    os.kill(first, signal.SIGKILL)
    until(lambda: tail(settings, "ticker").count("here") == 2)
    assert state(settings, "ticker").pid not in (None, first)


def test_the_same_program_is_left_alone_and_another_replaces_it(settings: Settings) -> None:
    first = begin(settings, "ticker")
    assert begin(settings, "ticker") == first
    supervision.start_program(settings, "ticker", FOREVER, env={"A": "1"})
    until(lambda: tail(settings, "ticker").count("here") == 2)
    assert state(settings, "ticker").pid not in (None, first.pid)
    assert not first.is_running()


def test_arguments_environment_and_folder_arrive_unchanged(settings: Settings, tmp_path: Path) -> None:
    awkward = "50% ; # 'single' \"double\" $HOME \\ \n end"
    shown = "import os, sys; print(repr([sys.argv[1], os.environ['AWKWARD'], os.getcwd()]))"
    supervision.start_program(
        settings,
        "echo",
        [sys.executable, "-c", shown, awkward],
        env={"AWKWARD": awkward},
        cwd=tmp_path,
        autorestart=False,
    )
    until(lambda: tail(settings, "echo"))
    assert tail(settings, "echo") == repr([awkward, awkward, str(tmp_path)])
    until(lambda: state(settings, "echo").state == "exited")
    assert not state(settings, "echo").healthy


def test_stop_ends_a_program_with_its_children_and_keeps_its_log(settings: Settings) -> None:
    parent = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    supervision.start_program(settings, "parent", [sys.executable, "-c", parent])
    until(lambda: tail(settings, "parent"))
    child = psutil.Process(int(tail(settings, "parent")))
    supervision.stop_program(settings, "parent")
    until(lambda: not child.is_running())
    assert supervision.programs(settings) == []
    assert log_path(settings, "parent").exists()
    with pytest.raises(UnknownName, match="no program 'parent'"):
        supervision.stop_program(settings, "parent")


def test_a_program_can_be_started_again_after_it_ended(settings: Settings) -> None:
    short = [sys.executable, "-c", "print('once')"]
    for runs in (1, 2):
        supervision.start_program(settings, "short", short, autorestart=False)
        until(lambda runs=runs: tail(settings, "short").count("once") == runs)
        until(lambda: state(settings, "short").state == "exited")


def test_orphans_of_a_killed_supervisor_are_found_and_ended(settings: Settings) -> None:
    orphan = begin(settings, "ticker")
    killed = psutil.Process(Supervisor(settings).pid())
    killed.kill()
    killed.wait(10)
    assert orphan.is_running()
    assert orphan in Supervisor(settings).strays()
    begin(settings, "other")
    assert not orphan.is_running()
    assert supervision.programs(settings) == ["other"]


def test_down_ends_orphans_too(settings: Settings) -> None:
    orphan = begin(settings, "ticker")
    killed = psutil.Process(Supervisor(settings).pid())
    killed.kill()
    killed.wait(10)
    supervision.down(settings)
    assert not orphan.is_running()


def test_down_spares_the_processes_of_other_homes(settings: Settings, tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"], env={**os.environ, HOME_VARIABLE: str(tmp_path / "elsewhere")})
    try:
        begin(settings, "ticker")
        supervision.down(settings)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("name", ["two words", "100%", "semi;colon", 'quo"te'])
def test_a_home_that_configuration_files_can_not_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequirementError, match="must not contain") as caught:
        supervision.start_program(Settings.load(home=tmp_path / name), "ticker", FOREVER)
    assert "RETAILPULSE_HOME" in str(caught.value)


def test_wipe_deletes_the_home_and_nothing_else(settings: Settings) -> None:
    begin(settings, "ticker")
    beside = settings.home.parent / "beside"
    beside.touch()
    supervision.down(settings, wipe=True)
    assert not settings.home.exists()
    assert beside.exists()
    supervision.down(settings, wipe=True)  # nothing left to do


def test_wipe_refuses_a_folder_of_someone_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="does not look like a folder of RetailPulse"):
        supervision.down(Settings.load(home=tmp_path), wipe=True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "a/b"])
def test_names_that_can_not_be(tmp_path: Path, name: str) -> None:
    settings = Settings.load(home=tmp_path / "home")
    with pytest.raises(UsageError, match="can't be a program's name"):
        supervision.start_program(settings, name, FOREVER)
    assert Supervisor(settings).pid() is None


def test_a_program_can_not_take_a_service_s_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'kafka' is the name of a service"):
        supervision.start_program(Settings.load(home=tmp_path), "kafka", FOREVER)


def test_up_manages_only_the_local_profile(tmp_path: Path) -> None:
    profile = tmp_path / "far.toml"
    profile.write_text('name = "far"\n')
    with pytest.raises(UsageError, match="profile 'far' are not managed here"):
        supervision.up(Settings.load(home=tmp_path, profile=str(profile)), console=Console(file=io.StringIO()))


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path)
    assert tail(settings, "kafka") == ""
    log_path(settings, "kafka").parent.mkdir()
    log_path(settings, "kafka").write_text("".join(f"line {number} {'x' * 2000}\n" for number in range(1000)))
    assert [line.split()[1] for line in tail(settings, "kafka", 3).splitlines()] == ["997", "998", "999"]
    assert tail(settings, "kafka", 0) == ""
