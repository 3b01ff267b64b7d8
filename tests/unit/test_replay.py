"""What a replay says before it needs a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retailpulse_kernel.cli import app, main
from retailpulse_kernel.feed.replay import Replay, _Pace, replay
from retailpulse_kernel.ground.addresses import KafkaAddress
from retailpulse_kernel.ground.errors import StoreUnavailable, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import parse_event
from retailpulse_kernel.stores.kafka.config import client_config, failure

# No one listens here: port 1 of loopback.
NOWHERE = """
name = "nowhere"
[kafka]
bootstrap = "127.0.0.1:1"
"""


@pytest.fixture
def nowhere(tmp_path: Path) -> Settings:
    path = tmp_path / "nowhere.toml"
    path.write_text(NOWHERE)
    return Settings.load(profile=str(path))


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text(
        '{"event_id":"1","event_type":"view","event_time":"2026-01-01T10:00:00Z","user_id":"u","session_id":"s",'
        '"product_id":"p"}\n'
    )
    return path


def test_a_wrong_file_or_format_is_known_without_a_server(nowhere: Settings, events: Path) -> None:
    with pytest.raises(UnknownName):
        replay(nowhere, events, "rees47")
    with pytest.raises(UsageError, match="does not exist"):
        replay(nowhere, events.parent / "none.csv", "rees46")
    with pytest.raises(UsageError, match="speed"):
        replay(nowhere, events, "retailpulse", speed=-1)


def test_a_server_that_does_not_answer_is_named(nowhere: Settings, events: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1 does not answer") as caught:
        replay(nowhere, events, "retailpulse")
    assert caught.value.store == "kafka"


def test_the_local_stack_has_a_remedy(nowhere: Settings) -> None:
    assert "retailpulse up" in str(failure(Settings(), "gone"))
    assert "retailpulse up" not in str(failure(nowhere, "gone"))


def test_credentials_come_from_the_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "open sesame")
    path = tmp_path / "shop.toml"
    path.write_text(
        '[kafka]\nbootstrap = "broker.example:9093"\nsecurity_protocol = "SASL_SSL"\nsasl_mechanism = "SCRAM-SHA-512"\n'
        'username = "shop"\npassword = "env:SHOP_PASSWORD"\nca_location = "/etc/ca.pem"\n'
    )
    config = client_config(Settings.load(profile=str(path)), client_id="test")
    assert config["bootstrap.servers"] == "broker.example:9093"
    assert config["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (config["sasl.username"], config["sasl.password"]) == ("shop", "open sesame")
    assert (config["ssl.ca.location"], config["client.id"]) == ("/etc/ca.pem", "test")
    assert "sasl.mechanism" not in client_config(Settings.load(profile="local"))
    assert KafkaAddress().bootstrap == "127.0.0.1:9092"


def test_the_pace_waits_until_it_is_time_or_someone_stops() -> None:
    pace = _Pace(lambda: False)
    assert pace.wait_until(0.3)
    assert pace.seconds >= 0.29
    assert not _Pace(lambda: True).wait_until(60)


def test_a_replay_as_json() -> None:
    done = Replay(sent=10, rejected=2, seconds=2.0)
    done.reasons.update({"not_json": 2})
    assert done.rate == 5
    assert done.as_dict() == {
        "sent": 10,
        "rejected": 2,
        "rejected_by_reason": {"not_json": 2},
        "rejects": None,
        "seconds": 2.0,
        "events_per_second": 5.0,
        "first_event": None,
        "last_event": None,
        "format": None,
        "changed": {},
        "ignored_columns": [],
        "stopped": False,
    }


# The command line


def test_generate_writes_lines_and_their_truth(tmp_path: Path) -> None:
    out, truth = tmp_path / "out.jsonl", tmp_path / "truth.json"
    arguments = ["generate", "--rate", "100", "--seconds", "10", "--seed", "5", "--start", "2026-01-01T10:00:00Z"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(out), "--truth", str(truth), "--json"])
    assert result.exit_code == 0, result.output
    lines = out.read_bytes().splitlines()
    assert json.loads(result.stdout)["sent"] == len(lines) == 1000
    found = json.loads(truth.read_text())
    assert (found["accepted"], found["seed"], found["start"]) == (1000, 5, "2026-01-01T10:00:00.000Z")
    assert {parse_event(line).currency for line in lines} == {"USD"}
    again = tmp_path / "again.jsonl"
    CliRunner().invoke(app, [*arguments, "--out", str(again)])
    assert again.read_bytes() == out.read_bytes()


def test_generate_in_several_currencies(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ["generate", "--rate", "1000", "--seconds", "2", "--currencies", "EUR=0.5,JPY=0.25"]
    assert CliRunner().invoke(app, [*arguments, "--out", str(out)]).exit_code == 0
    assert {parse_event(line).currency for line in out.read_bytes().splitlines()} == {"USD", "EUR", "JPY"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["replay", "none.csv", "--format", "rees46"], "does not exist"),
        (["replay", "EVENTS", "--format", "rees47"], "no format 'rees47'"),
        (["replay", "EVENTS", "--format", "rees46"], "no column"),
        (["generate", "--rate", "0"], "greater than 0"),
        (["generate", "--bad", "2"], "between 0 and 1"),
        (["generate", "--start", "noon"], "is not a time"),
        (["generate", "--start", "2026-01-01"], "time zone"),
        (["generate", "--currencies", "EUR"], "not a share"),
        (["generate", "--currencies", "EURO=0.1"], "not a share"),
        (["generate", "--currencies", "EUR=0.9,GBP=0.9"], "more than 1"),
        (["generate", "--out", "/nowhere/at/all", "--seconds", "1"], "can't be written"),
        (["generate", "--truth", "/nowhere/at/all"], "can't be written"),
        (["topics", "--namespace", "Not A Name"], "can't be a namespace"),
        (["topics", "--profile", "nosuch"], "no profile"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    arguments: list[str],
    says: str,
    events: Path,
    nowhere: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RETAILPULSE_PROFILE", nowhere.profile_name)  # no mistake of these may reach a server
    with pytest.raises(SystemExit) as caught:
        main([str(events) if argument == "EVENTS" else argument for argument in arguments])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("error:") and "Traceback" not in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["generate", "replay", "topics"])
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    for option in ("--profile", "--namespace", "--json"):
        assert option in result.output
