"""Files and made-up events on their way into a real Kafka."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from typer.testing import CliRunner

from retailpulse_kernel.cli import app
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.feed.replay import Replay, replay, send
from retailpulse_kernel.ground.errors import RetailPulseError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import EventError, parse_event
from retailpulse_kernel.stack.doctor import diagnose
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.producer import Sender
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import (
    clock_warning,
    delete_topics,
    ensure_topics,
    timestamp_types,
    topic_states,
)
from tests.jobs import stamp
from tests.proxy import Proxy

pytestmark = pytest.mark.integration

SAMPLE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "rees46_2019-10-01.csv"


@dataclass
class Received:
    partition: int
    offset: int
    arrival_ms: int
    key: bytes
    value: bytes


@pytest.fixture
def settings(stack: Settings) -> Iterator[Settings]:
    """A namespace of its own on the running Kafka."""
    settings = Settings.load(namespace=f"feedtest_{os.getpid()}_{time.time_ns() % 10**9}")
    try:
        ensure_topics(settings)
        yield settings
    finally:
        delete_topics(settings)


def received(settings: Settings) -> list[Received]:
    """Everything in the events' topic."""
    topic = settings.namespace.events_topic
    (state,) = topic_states(settings, [topic])
    consumer = Consumer(client_config(settings) | {"group.id": "test", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in state.end])
    found: list[Received] = []
    try:
        deadline = time.monotonic() + 30
        while len(found) < state.messages and time.monotonic() < deadline:
            for m in consumer.consume(10_000, timeout=1):
                assert m.error() is None
                found.append(Received(m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value() or b""))
    finally:
        consumer.close()
    assert len(found) == state.messages
    return found


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_topics_are_made_once_and_as_they_must_be(settings: Settings) -> None:
    assert ensure_topics(settings) == [], "the fixture has made them"
    states = {state.name: state for state in topic_states(settings)}
    assert set(states) == set(settings.namespace.topics)
    assert all(state.exists and state.messages == 0 for state in states.values())
    assert states[settings.namespace.events_topic].partitions == 4
    assert states[settings.namespace.progress_topic].partitions == 1
    admin = AdminClient(client_config(settings))
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in settings.namespace.topics]
    configs = {r.name: future.result(10) for r, future in admin.describe_configs(resources).items()}
    for name in settings.namespace.topics[:3]:
        assert configs[name]["message.timestamp.type"].value == "LogAppendTime"
        assert configs[name]["max.message.bytes"].value == str(2 * 1024 * 1024)
    assert configs[settings.namespace.progress_topic]["cleanup.policy"].value == "compact"


def test_topics_on_the_command_line(settings: Settings) -> None:
    name = settings.namespace.name
    delete_topics(settings)
    listed = json.loads(run("topics", "--namespace", name, "--json"))
    assert [topic["exists"] for topic in listed] == [False] * 4
    made = json.loads(run("topics", "--namespace", name, "--create", "--partitions", "3", "--json"))
    assert [topic["created"] for topic in made] == [True] * 4
    assert [topic["partitions"] for topic in made] == [3, 3, 3, 1]
    assert settings.namespace.dlq_topic in run("topics", "--namespace", name)


def test_topics_of_the_contract_are_listed_and_made(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.toml").write_text('[topics.web]\ntopic = "shop.web"\nformat = "ga4"\n')
    monkeypatch.setenv("RETAILPULSE_CONTRACT", str(tmp_path / "shop.toml"))
    name, web = settings.namespace.name, settings.namespace.topic("shop.web")
    listed = {one["topic"]: one for one in json.loads(run("topics", "--namespace", name, "--json"))}
    assert not listed[web]["exists"] and listed[web]["format"] == "ga4"
    made = {one["topic"]: one for one in json.loads(run("topics", "--namespace", name, "--create", "--json"))}
    assert made[web]["created"] and made[web]["partitions"] == 4
    assert timestamp_types(Settings.load(namespace=name), [web]) == {web: "LogAppendTime"}


def test_topics_with_the_producers_time_are_told_and_can_be_changed(settings: Settings) -> None:
    name, topic = settings.namespace.name, settings.namespace.events_topic
    assert set(timestamp_types(settings).values()) == {"LogAppendTime"}
    assert clock_warning(settings) is None
    stamp(settings, topic, "CreateTime")
    assert timestamp_types(settings, [topic, "absent"]) == {topic: "CreateTime"}
    (check,) = (check for check in diagnose(settings) if check.name == "clocks")
    assert (check.verdict, topic in check.detail) == ("warning", True)
    assert f"`retailpulse topics --broker-time --namespace {name}`" in check.remedy
    for expected in ([topic], []):
        listed = json.loads(run("topics", "--broker-time", "--namespace", name, "--json"))
        assert [one["topic"] for one in listed if one["broker_time_set"]] == expected
    assert clock_warning(settings) is None


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the real sample is not part of the project")
def test_a_real_file_arrives_whole_and_in_order(settings: Settings) -> None:
    summary = json.loads(
        run("replay", str(SAMPLE), "--format", "rees46", "--namespace", settings.namespace.name, "--json")
    )
    assert (summary["sent"], summary["rejected"], summary["stopped"]) == (8000, 0, False)
    assert (summary["first_event"], summary["last_event"]) == ("2019-10-01T00:00:00.000Z", "2019-10-01T02:33:41.000Z")
    messages = received(settings)
    events = [parse_event(message.value) for message in messages]
    assert len({event.event_id for event in events}) == 8000
    homes: dict[bytes, int] = {}
    rows: dict[bytes, int] = {}
    for message, event in sorted(zip(messages, events, strict=True), key=lambda pair: pair[0].offset):
        assert message.key == event.user_id.encode()
        assert homes.setdefault(message.key, message.partition) == message.partition
        row = int(event.event_id.split("-")[1])
        assert rows.get(message.key, 0) < row, "a user's events keep the order of the file"
        rows[message.key] = row
    assert len(set(homes.values())) == 4
    # What a flush is for: nobody's event arrives after one that is much newer has arrived elsewhere.
    newest = datetime(2000, 1, 1, tzinfo=UTC)
    arrivals = sorted(zip(messages, events, strict=True), key=lambda pair: pair[0].arrival_ms)
    by_time: dict[int, list[datetime]] = {}
    for message, event in arrivals:
        by_time.setdefault(message.arrival_ms, []).append(event.event_time)
    for times in by_time.values():
        assert newest - min(times) <= timedelta(minutes=10)
        newest = max(newest, *times)


def test_bad_rows_go_to_the_rejects_file(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = next(Generator(rate=1, seconds=1).messages()).value
    file = tmp_path / "mixed.jsonl"
    file.write_bytes(b"\n".join([good, b"nonsense", good.replace(b"view", b"teleport"), good, b"\xff"]))
    output = run("replay", "mixed.jsonl", "-f", "retailpulse", "--namespace", settings.namespace.name)
    rejects = [json.loads(line) for line in (tmp_path / "mixed.jsonl.rejects.jsonl").read_text().splitlines()]
    expected = [(2, "not_json"), (5, "not_utf8")]
    if b"view" in good:
        expected.insert(1, (3, "unknown:event_type"))
    assert [(reject["line"], reject["reason"]) for reject in rejects] == expected
    assert rejects[0]["raw"] == "nonsense"
    assert f"{len(expected)} rows rejected" in output and "mixed.jsonl.rejects.jsonl" in output
    assert len(received(settings)) == 5 - len(expected)


def test_unknown_fields_arrive(settings: Settings, tmp_path: Path) -> None:
    line = next(Generator(rate=1, seconds=1).messages()).value[:-1] + b', "campaign": {"name": "spring"}}'
    file = tmp_path / "events.jsonl"
    file.write_bytes(line)
    replay(settings, file, "retailpulse")
    assert [message.value for message in received(settings)] == [line]


def test_a_made_up_stream_is_what_its_truth_says(settings: Settings, tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    knobs = ["--rate", "2000", "--seconds", "3", "--seed", "9", "--duplicates", "0.05", "--bad", "0.05"]
    name = settings.namespace.name
    summary = json.loads(run("generate", *knobs, "--truth", str(truth), "--namespace", name, "--json"))
    found = json.loads(truth.read_text())
    messages = received(settings)
    assert summary["sent"] == found["sent"] == len(messages) == 6000
    assert 2.5 < summary["seconds"] < 10, "it is sent as it happens"
    seen: set[str] = set()
    bad: dict[str, int] = {}
    duplicates = 0
    for message in sorted(messages, key=lambda message: message.offset):
        try:
            event = parse_event(message.value, arrival_ms=message.arrival_ms)
        except EventError as error:
            bad[error.reason] = bad.get(error.reason, 0) + 1
            continue
        duplicates += event.event_id in seen
        seen.add(event.event_id)
    assert (len(seen), duplicates, bad) == (found["accepted"], found["duplicates"], found["bad_by_reason"])


def test_a_speed_of_ten_keeps_a_tenth_of_the_gaps(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    start = datetime(2026, 1, 1, tzinfo=UTC)
    file.write_bytes(b"\n".join(m.value for m in Generator(rate=20, seconds=20, start=start).messages()))
    done = replay(settings, file, "retailpulse", speed=10)
    assert done.sent == 400
    assert 1.7 < done.seconds < 17


def test_a_stop_ends_with_everything_sent_acknowledged(settings: Settings) -> None:
    begin = time.monotonic()
    generator = Generator(rate=500, seconds=None)
    done = send(settings, generator.messages(), stop=lambda: time.monotonic() > begin + 1)
    assert done.stopped
    assert done.sent == generator.truth.sent == len(received(settings))


def test_ctrl_c_ends_with_the_summary(settings: Settings, tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    arguments = ["generate", "--rate", "300", "--seconds", "0", "--json", "--truth", str(truth)]
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from retailpulse_kernel.cli import main; main()"),
            *(*arguments, "--namespace", settings.namespace.name),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 30
        while topic_states(settings)[0].messages < 300 and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    summary = json.loads(output)
    assert summary["stopped"]
    assert summary["sent"] == json.loads(truth.read_text())["sent"] == topic_states(settings)[0].messages


def test_reports_tell_how_far_it_is(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    start = datetime(2026, 1, 1, tzinfo=UTC)
    file.write_bytes(b"\n".join(m.value for m in Generator(rate=2000, seconds=20, start=start).messages()))
    told: list[tuple[int, float]] = []

    def report(done: Replay, fraction: float) -> None:
        told.append((done.sent, fraction))

    done = replay(settings, file, "retailpulse", report=report)
    assert done.sent == 40_000
    assert told == sorted(told)
    assert all(0 <= fraction <= 1 for _, fraction in told)


def test_a_topic_that_is_missing_has_a_remedy(settings: Settings, tmp_path: Path) -> None:
    delete_topics(settings)
    with pytest.raises(UsageError, match="topics --create"):
        send(settings, Generator(rate=1, seconds=1).messages())


def test_a_message_that_kafka_refuses_is_an_error(settings: Settings) -> None:
    with pytest.raises(RetailPulseError, match=r"refuses this: .*large"), Sender(settings) as sender:
        sender.send(b"u", b"x" * (3 * 1024 * 1024))


@pytest.mark.parametrize("command", ["topics", "tail", "replay"])
def test_a_command_goes_on_when_its_first_connections_are_dropped(
    settings: Settings, command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    host, _, port = settings.profile.kafka.bootstrap.rpartition(":")
    proxy = Proxy((host, int(port)), drop=6)
    profile = tmp_path / "dropping.toml"
    profile.write_text(f'[kafka]\nbootstrap = "127.0.0.1:{proxy.port}"\n')
    through = Settings.load(profile=str(profile), namespace=settings.namespace.name)
    try:
        if command == "topics":
            assert [state.messages for state in topic_states(through)] == [0, 0, 0, 0]
        elif command == "tail":
            assert len(KafkaStore(through).tail()) == 0
        else:
            assert send(through, Generator(rate=5, seconds=1).messages()).sent == 5
    finally:
        proxy.stop()
    assert proxy.drop <= 0, "the command met the fault"
    assert "does not answer" not in capfd.readouterr().err
