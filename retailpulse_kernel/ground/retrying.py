"""Which errors pass by themselves, and how long they are waited for: one rule for the calls to every server.

>>> Patience(seconds=40).ask("Kafka", lambda: "an answer")
'an answer'
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import tenacity

__all__ = ["PATIENCE", "Patience", "passes"]

PATIENCE: Final = 60.0
"""Seconds that a command waits for an error to pass."""

#: Seconds before a person is told why there is no answer yet, and between two such words.
_QUIET, _AGAIN = 3.0, 15.0
#: Seconds between two tries: the first, and the longest.
_SHORT, _LONG = 0.05, 1.0

#: Kafka's errors, by the client's names. Those of brokers are the ones that https://kafka.apache.org/protocol calls
#: retriable; the client's own flag is set for transactions alone.
_KAFKA = frozenset({
    "INVALID_MSG", "UNKNOWN_TOPIC_OR_PART", "LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "REQUEST_TIMED_OUT",
    "REPLICA_NOT_AVAILABLE", "NETWORK_EXCEPTION", "COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR", "NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "NOT_CONTROLLER",
    "CONCURRENT_TRANSACTIONS", "KAFKA_STORAGE_ERROR", "FETCH_SESSION_ID_NOT_FOUND", "INVALID_FETCH_SESSION_EPOCH",
    "LISTENER_NOT_FOUND", "FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "OFFSET_NOT_AVAILABLE",
    "PREFERRED_LEADER_NOT_AVAILABLE", "ELIGIBLE_LEADERS_NOT_AVAILABLE", "UNSTABLE_OFFSET_COMMIT",
    "THROTTLING_QUOTA_EXCEEDED", "UNKNOWN_TOPIC_ID", "INCONSISTENT_TOPIC_ID", "SHARE_SESSION_NOT_FOUND",
    "INVALID_SHARE_SESSION_EPOCH", "SHARE_SESSION_LIMIT_REACHED",
    # Not called retriable there, since the client acts on them: it asks for the cluster's state anew, or joins again.
    "BROKER_NOT_AVAILABLE", "REASSIGNMENT_IN_PROGRESS", "REBALANCE_IN_PROGRESS", "STALE_BROKER_EPOCH",
    "REBOOTSTRAP_REQUIRED",
    # The client's own: a connection that was lost, metadata that it does not have yet, a queue that is full.
    "_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_MSG_TIMED_OUT", "_UNKNOWN_PARTITION",
    "_UNKNOWN_TOPIC", "_NOENT", "_WAIT_COORD", "_WAIT_CACHE", "_RETRY", "_NODE_UPDATE", "_IN_PROGRESS",
    "_PREV_IN_PROGRESS", "_QUEUE_FULL", "_ISR_INSUFF", "_OUTDATED", "_UNKNOWN_BROKER", "_DESTROY_BROKER", "_INTR",
})  # fmt: skip

#: Cassandra's errors, by the driver's names: a node that is busy, starts, or does not answer in time. The driver itself
#: asks another node, or once more; with one node there is no other. What is written is written under a version, so that
#: doing it again changes nothing.
_CASSANDRA = frozenset({
    "OperationTimedOut", "Unavailable", "ReadTimeout", "WriteTimeout", "OverloadedErrorMessage",
    "IsBootstrappingErrorMessage",
})  # fmt: skip

#: What Spark says where the machine is so busy that a Python worker has not started within the ten seconds it gets.
_SPARK = "Python worker failed to connect back"

T = TypeVar("T")


def passes(error: Any) -> bool:
    """Whether an error of a server's client passes by itself.

    Parameters
    ----------
    error : Exception or confluent_kafka.KafkaError
        HBase's and Hive's servers wait by themselves for what passes; what their clients report is final.
    """
    cause = error.args[0] if type(error).__name__ == "KafkaException" and error.args else error
    if type(cause).__name__ == "KafkaError":
        return not cause.fatal() and (cause.retriable() or cause.name() in _KAFKA)
    if type(cause).__module__.startswith("pyspark."):
        return _SPARK in str(cause)
    return any(kind.__module__.startswith("cassandra") and kind.__name__ in _CASSANDRA for kind in type(cause).__mro__)


def _on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Patience:
    """How long, and how, a command waits for an error to pass.

    Attributes
    ----------
    seconds : float
        How long.
    say : callable
        Told after some seconds why there is no answer yet; prints to stderr.
    pause, clock : callable
        `time.sleep` and `time.monotonic`, or what stands for them.
    """

    seconds: float = PATIENCE
    say: Callable[[str], None] = _on_stderr
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def ask(self, server: str, call: Callable[[], T], *, passing: Callable[[BaseException], bool] = passes) -> T:
        """What a call returns; it is made again as long as its errors pass by themselves.

        Parameters
        ----------
        server : str
            Its name for people.
        call : callable
            Makes one request; doing it twice must be as good as once.
        passing : callable
            Whether an error passes.

        Raises
        ------
        Exception
            The last error, once the time is over; one that does not pass at once.
        """
        began = self.clock()
        said = began + _QUIET - _AGAIN

        def waiting(state: tenacity.RetryCallState) -> None:
            nonlocal said
            now = self.clock()
            if now - said >= _AGAIN:
                said = now
                assert state.outcome is not None
                left = max(0.0, began + self.seconds - now)
                self.say(
                    f"{server} is not ready: {_words(state.outcome.exception())}; trying for another {left:.0f} s."
                )

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(passing),
            wait=tenacity.wait_exponential(multiplier=_SHORT, max=_LONG),
            stop=lambda _: self.clock() - began >= self.seconds,
            before_sleep=waiting,
            sleep=self.pause,
            reraise=True,
        )
        return retrying(call)


def _words(error: Any) -> str:
    cause = error.args[0] if error.args and hasattr(error.args[0], "str") else error
    return (cause.str() if hasattr(cause, "str") else str(cause)).rstrip(".")
