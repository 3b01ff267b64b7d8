"""Errors that pass by themselves are waited for, others are final: every code of Kafka's client, each way in."""

from __future__ import annotations

import ast
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import InvalidRequest, OperationTimedOut, Unavailable
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec
from pyspark.errors import StreamingQueryException

import retailpulse_kernel
from retailpulse_kernel.ground.errors import RetailPulseError, StoreUnavailable
from retailpulse_kernel.ground.retrying import _KAFKA, Patience, passes
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.offsets import offsets_at, topic_bounds
from retailpulse_kernel.stores.kafka.seeking import finished_partitions

CODES = {
    name: code
    for name in dir(KafkaError)
    if name.upper() == name and isinstance(code := getattr(KafkaError, name), int) and not name.startswith("__")
}
#: Success, and the end of a partition, which is news and no error.
NEWS = {"NO_ERROR", "_PARTITION_EOF"}
PASSING = sorted(name for name in CODES.keys() - NEWS if passes(KafkaError(CODES[name])))
FINAL = sorted(CODES.keys() - NEWS - set(PASSING))


class Time:
    """A clock that only `pause` moves, and what was said meanwhile."""

    def __init__(self) -> None:
        self.now, self.said = 0.0, list[str]()

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def patience(self, seconds: float = 60.0) -> Patience:
        return Patience(seconds, self.said.append, self.pause, lambda: self.now)


class Broker:
    """Stands in for the admin client and for a consumer: its first answers are an error, the next ones are right."""

    def __init__(self, code: int, failures: int) -> None:
        self._error, self.left, self.requests = KafkaError(code), failures, 0

    def _fails(self) -> bool:
        self.requests += 1
        self.left -= 1
        return self.left >= 0

    def _answers(self, asked: Any, answer: Any) -> dict[Any, Future[Any]]:
        fails, answers = self._fails(), {}
        for one in asked:
            answers[one] = future = Future()
            if fails:
                future.set_exception(KafkaException(self._error))
            else:
                future.set_result(answer)
        return answers

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        # As the client does it: asked for all topics it raises, asked for one it answers with an error.
        fails = topic is not None and self._fails()
        found = SimpleNamespace(partitions={0: None}, error=self._error if fails else None)
        return SimpleNamespace(topics={topic or "t": found})

    def describe_topics(self, topics: Any, **_: Any) -> Any:
        return self._answers(["t"], SimpleNamespace(topic_id="an id"))

    def create_topics(self, topics: list[NewTopic], **_: Any) -> Any:
        return self._answers([topic.topic for topic in topics], None)

    def delete_topics(self, topics: list[str], **_: Any) -> Any:
        return self._answers(topics, None)

    def list_offsets(self, asked: dict[TopicPartition, OffsetSpec], **_: Any) -> Any:
        return self._answers(asked, SimpleNamespace(offset=7))

    def incremental_alter_configs(self, resources: list[Any]) -> Any:
        return self._answers(resources, None)

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        return 3, 7

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> list[Any]:
        error = self._error if self._fails() else None
        return [SimpleNamespace(partition=p.partition, offset=-1 if error else 5, error=error) for p in places]


class Listing(Broker):
    """One whose list of topics fails."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        if self._fails():
            raise KafkaException(self._error)
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions={0: None, 1: None})})


#: Every way in which Kafka is asked something, and what it answers.
ASKED: dict[str, tuple[Callable[[Any, Patience], Any], Any]] = {
    "topics": (lambda broker, patience: admin(broker, patience).topics(), {"t": 2}),
    "topic_id": (lambda broker, patience: admin(broker, patience).topic_id("t"), "an id"),
    "create": (lambda broker, patience: admin(broker, patience).create([NewTopic("t", 1)]), ["t"]),
    "delete": (lambda broker, patience: admin(broker, patience).delete(["t"]), None),
    "offsets": (
        lambda broker, patience: admin(broker, patience).offsets([("t", 0)], OffsetSpec.latest()),
        {("t", 0): 7},
    ),
    "configure": (lambda broker, patience: admin(broker, patience).configure(["a resource"]), None),  # type: ignore[list-item]
    "topic_bounds": (lambda broker, patience: topic_bounds(broker, "t", patience), {0: (3, 7)}),
    "offsets_at": (lambda broker, patience: offsets_at(broker, "t", [0], 0, patience), {0: 5}),
}


def broker_for(way: str) -> type[Broker]:
    return Listing if way == "topics" else Broker


def admin(broker: Any, patience: Patience) -> Admin:
    return Admin(Settings(), broker, patience=patience)


@pytest.mark.parametrize("failures", [1, 10])
@pytest.mark.parametrize("way", ASKED)
def test_every_error_that_passes_is_waited_for(way: str, failures: int) -> None:
    ask, answer = ASKED[way]
    for name in PASSING:
        time, broker = Time(), broker_for(way)(CODES[name], failures)
        assert ask(broker, time.patience()) == answer, name
        gone = way == "delete" and name in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION")
        assert broker.requests == (1 if gone else failures + 1), name
        assert time.now < 60


@pytest.mark.parametrize("way", ASKED)
def test_every_final_error_ends_at_once_with_its_words(way: str) -> None:
    ask, _ = ASKED[way]
    for name in FINAL:
        if (way, name) == ("create", "TOPIC_ALREADY_EXISTS"):
            continue
        time, broker = Time(), broker_for(way)(CODES[name], 1)
        with pytest.raises((RetailPulseError, KafkaException)) as caught:
            ask(broker, time.patience())
        assert (time.now, broker.requests) == (0, 1), name
        assert not isinstance(caught.value, StoreUnavailable), f"{name}: a job would wait for it without end"
        if isinstance(caught.value, RetailPulseError):
            assert name in caught.value.message and caught.value.remedy


@pytest.mark.parametrize("way", ASKED)
def test_an_error_that_stays_ends_when_the_time_is_over_and_says_so_meanwhile(way: str) -> None:
    ask, _ = ASKED[way]
    time, broker = Time(), broker_for(way)(KafkaError.UNKNOWN_LEADER_EPOCH, 10_000)
    with pytest.raises((StoreUnavailable, KafkaException), match="Leader epoch is newer than broker epoch"):
        ask(broker, time.patience(seconds=40))
    assert 40 <= time.now < 42
    assert len(time.said) == 3
    assert time.said[0].startswith("Kafka is not ready: Broker: Leader epoch is newer than broker epoch; trying for")
    seconds = [int(line.rpartition("another ")[2].removesuffix(" s.")) for line in time.said]
    assert 35 <= seconds[0] <= 37 and seconds == sorted(seconds, reverse=True)


def test_a_reader_goes_on_behind_errors_that_pass_and_ends_with_final_ones() -> None:
    def heard(code: int) -> Any:
        return SimpleNamespace(error=lambda: KafkaError(code), partition=lambda: 3)

    assert finished_partitions([heard(KafkaError._PARTITION_EOF)]) == ({3}, None)
    for name in PASSING:
        finished, passing = finished_partitions([heard(CODES[name])])
        assert finished == set() and passing is not None and passing.name() == name
    for name in FINAL:
        with pytest.raises(KafkaException):
            finished_partitions([heard(CODES[name])])


def test_a_short_wait_says_nothing() -> None:
    time = Time()
    ASKED["offsets"][0](Broker(KafkaError.NOT_LEADER_FOR_PARTITION, 3), time.patience())
    assert time.said == []


def test_the_rule_knows_the_clients_names() -> None:
    assert CODES.keys() >= _KAFKA, "a name that the client does not have guards nothing"
    assert {"UNKNOWN_LEADER_EPOCH", "FENCED_LEADER_EPOCH", "NOT_COORDINATOR", "_TRANSPORT"} <= set(PASSING)
    assert {"TOPIC_AUTHORIZATION_FAILED", "OFFSET_OUT_OF_RANGE", "_AUTO_OFFSET_RESET", "_AUTHENTICATION"} <= set(FINAL)


def test_the_clients_own_flags_come_first() -> None:
    assert passes(KafkaError(KafkaError.TOPIC_EXCEPTION, "again", retriable=True))
    assert not passes(KafkaError(KafkaError.NOT_COORDINATOR, "never", fatal=True))


def test_the_rule_knows_cassandras_errors() -> None:
    assert passes(OperationTimedOut()) and passes(Unavailable("one replica", consistency=1))
    assert not passes(InvalidRequest("no such column")) and not passes(ValueError("OperationTimedOut"))


def test_the_rule_knows_that_spark_gives_a_worker_ten_seconds() -> None:
    said = "[STREAM_FAILED] Query [id = 1] terminated with exception: {}"
    assert passes(StreamingQueryException(said.format("Python worker failed to connect back")))
    assert not passes(StreamingQueryException(said.format("Cannot find column a")))


#: What waits for an answer of Kafka's; messages are sent and taken by the client itself, which tries again.
REQUESTS = {
    "AdminClient", "create_topics", "delete_topics", "describe_configs", "describe_topics", "get_watermark_offsets",
    "incremental_alter_configs", "list_offsets", "list_topics", "offsets_for_times",
}  # fmt: skip


def test_every_request_to_kafka_goes_by_the_rule() -> None:
    package = Path(retailpulse_kernel.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute | ast.Name):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                if name in REQUESTS and isinstance(node.ctx, ast.Load):
                    found.add(path.relative_to(package).as_posix())
    rooms = {"stores/kafka/admin.py", "stores/kafka/config.py", "stores/kafka/offsets.py"}
    assert found - rooms == {"stores/kafka/store.py"}, "delete_topics there is the function of `topics`"
    assert rooms < found
