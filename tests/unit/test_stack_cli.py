"""The stack's commands, as far as they need no server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retailpulse_kernel.cli import app, main
from retailpulse_kernel.cli.stack import _complete_log, _complete_service
from retailpulse_kernel.stack.services import SERVICES

SERVERS = [name for name, service in SERVICES.items() if not service.beside]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETAILPULSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RETAILPULSE_PORT_OFFSET", "21000")
    return tmp_path / "home"


def run(*arguments: str, answer: str = ""):
    return CliRunner().invoke(app, list(arguments), input=answer)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and what was said, as a user of the terminal sees them."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0), " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["doctor", "up", "down", "status", "logs"])
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_an_unknown_service(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = fails(capsys, "up", "casandra")
    assert code == 2
    assert said.startswith("error: There is no service 'casandra'. Did you mean 'cassandra'? Known: ")
    assert fails(capsys, "logs", "nosuch")[0] == 2


def test_an_unknown_profile(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = fails(capsys, "status", "--profile", "nosuch")
    assert code == 2
    assert "There is no profile 'nosuch'" in said


def test_up_with_servers_of_another_profile(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    profile = tmp_path / "far.toml"
    profile.write_text('name = "far"\n')
    code, said = fails(capsys, "up", "--profile", str(profile))
    assert code == 2
    assert "The servers of the profile 'far' are not managed here." in said
    assert "--profile local" in said


def test_down_with_servers_of_another_profile(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    profile = tmp_path / "far.toml"
    profile.write_text('name = "far"\n')
    assert fails(capsys, "down", "--wipe", "--yes", "--profile", str(profile))[0] == 2


def test_status_asks_the_servers_of_another_profile(tmp_path: Path) -> None:
    profile = tmp_path / "far.toml"
    port = 2  # nobody listens there
    profile.write_text(
        f'name = "far"\n[kafka]\nbootstrap = "127.0.0.1:{port}"\n[cassandra]\nport = {port}\n[hbase]\nport = {port}\n'
        f'[hive]\nport = {port}\nmetastore = "thrift://127.0.0.1:{port}"\n'
    )
    result = run("status", "--json", "--profile", str(profile))
    assert result.exit_code == 1
    entries = json.loads(result.output)
    assert {entry["name"] for entry in entries} == set(SERVERS) - {"hbase"}
    assert {entry["state"] for entry in entries} == {"external"}
    assert not any(entry["healthy"] for entry in entries)
    assert all(entry["detail"] for entry in entries)


def test_status_of_nothing(home: Path) -> None:
    result = run("status", "--json")
    assert result.exit_code == 1
    entries = {entry["name"]: entry for entry in json.loads(result.output)}
    assert list(entries) == SERVERS, "Airflow is one only where it was started"
    assert entries["kafka"] == {
        "name": "kafka",
        "state": "stopped",
        "pid": None,
        "uptime_s": None,
        "memory_mb": None,
        "address": "127.0.0.1:30092",
        "healthy": False,
        "detail": "not started",
        "answer_s": None,
    }
    assert not home.exists()
    assert "hiveserver2" in run("status").output


def test_doctor_reports_json_and_a_table() -> None:
    result = run("doctor", "--json")
    checks = json.loads(result.output)
    assert {"java", "memory", "disk", "ports"} <= {check["name"] for check in checks}
    assert (result.exit_code == 1) == any(check["verdict"] == "problem" for check in checks)
    assert "Java" in run("doctor").output


def test_down_of_nothing(home: Path) -> None:
    assert run("down").exit_code == 0
    assert not home.exists()


def test_down_wipe_asks_first(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    assert run("down", "--wipe", answer="n\n").exit_code == 1
    assert home.exists()
    result = run("down", "--wipe", answer="y\n")
    assert result.exit_code == 0
    assert str(home) in result.output
    assert not home.exists()


def test_logs_shows_the_last_lines(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "kafka.log").write_text("".join(f"{number}\n" for number in range(100)))
    (home / "logs" / "job-metrics.log").write_text("a job\n")
    assert run("logs", "kafka", "-n", "2").output == "98\n99\n"
    assert run("logs", "job-metrics").output == "a job\n"
    assert run("logs", "cassandra").output == ""


def test_completion_knows_services_and_logs(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "job-metrics.log").touch()
    assert _complete_service("hb") == ["hbase", "hbase-thrift"]
    assert _complete_log("") == sorted([*SERVICES, "job-metrics"])


def test_a_bounded_demo_needs_no_airflow(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = fails(capsys, "demo", "--once", "--airflow", "--input", "events.jsonl")
    assert code == 2 and "Airflow runs jobs that go on." in said


def test_down_deletes_everything_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = fails(capsys, "down", "airflow", "--wipe", "--yes")
    assert code == 2 and "Data is deleted as a whole." in said
    assert "There is no service 'airflw'" in fails(capsys, "down", "airflw")[1]
