"""What the monitor looks at from outside: servers, topics, the machine, and how the shop is doing."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import psutil

from retailpulse_kernel.ground.retrying import passes
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.tables import GRAINS
from retailpulse_kernel.telemetry.values import Values

__all__ = ["BadMessages", "Business", "Servers", "Topics", "look_at_machine", "look_at_pipelines", "ratios"]

#: Weeks before this one whose same hour is the usual one.
_WEEKS = 4
_HOUR = timedelta(hours=1)
_READ_AT_ONCE = 10_000


def in_namespace(settings: Settings, namespace: str) -> Settings:
    """The same home and servers, another namespace.

    Parameters
    ----------
    settings : Settings
        Of any namespace.
    namespace : str
        The name of the other one.
    """
    return Settings.load(
        home=settings.home, cache=settings.cache, pipelines=settings.pipelines, profile=settings.profile_name,
        namespace=namespace, port_offset=settings.port_offset,
    )  # fmt: skip


def look_at_machine(settings: Settings, values: Values) -> None:
    """Space on the home's disk, and memory.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    values : Values
        Gets bytes.
    """
    disk, memory = shutil.disk_usage(settings.home), psutil.virtual_memory()
    values.set("retailpulse_disk_free_bytes", disk.free)
    values.set("retailpulse_disk_size_bytes", disk.total)
    values.set("retailpulse_memory_available_bytes", memory.available)
    values.set("retailpulse_memory_size_bytes", memory.total)


def look_at_pipelines(settings: Settings, values: Values) -> None:
    """Which version of each promoted job is the current one.

    Parameters
    ----------
    settings : Settings
        Says where promoted versions are.
    values : Values
        Gets a version for each pipeline.
    """
    from retailpulse_kernel.promotion.registry.registry import Registry

    registry = Registry(settings)
    for name in registry.names():
        values.set("retailpulse_pipeline_version", registry.current(name).version, pipeline=name)


class Servers:
    """The servers and supervised programs: whether they answer, their memory, how often they came back."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pids: dict[str, int] = {}
        self._restarts: dict[str, int] = {}

    def look(self, values: Values) -> None:
        """Ask every server that should run, all at once.

        Parameters
        ----------
        values : Values
            Gets of each server whether it answered, after how many seconds, and its memory in bytes.
        """
        from retailpulse_kernel.stack import supervision

        found = [s for s in supervision.status(self._settings) if s.state not in ("stopped", "exited")]
        values.clear("retailpulse_service_up", "retailpulse_service_memory_bytes")
        for status in found:
            if status.address:  # a job or a feed says of itself whether it is well
                values.set("retailpulse_service_up", status.healthy, service=status.name)
            if status.memory_mb is not None:
                values.set("retailpulse_service_memory_bytes", status.memory_mb * 1e6, service=status.name)
            if status.answer_s is not None:
                values.set("retailpulse_service_check_duration_seconds", status.answer_s, service=status.name)
            if status.pid is not None:
                before = self._pids.get(status.name, status.pid)
                self._restarts[status.name] = self._restarts.get(status.name, 0) + (status.pid != before)
                self._pids[status.name] = status.pid
                values.set("retailpulse_service_restarts_total", self._restarts[status.name], service=status.name)


class Topics:
    """How far the topics of the namespaces reach that something runs in."""

    def __init__(self, settings: Settings, namespaces: Callable[[], Iterable[str]]) -> None:
        self._settings, self._namespaces = settings, namespaces
        self.ends: dict[tuple[str, str], int] = {}

    def look(self, values: Values) -> None:
        """Ask Kafka for the ends of all partitions.

        Parameters
        ----------
        values : Values
            Gets the number of messages of each topic.
        """
        from retailpulse_kernel.stores.kafka.topics import topic_states

        for name in self._namespaces():
            settings = in_namespace(self._settings, name)
            for state in topic_states(settings):
                if state.exists:
                    end = sum(state.end.values())
                    self.ends[name, state.name] = end
                    values.set("retailpulse_topic_messages_total", end, namespace=name, topic=_short(name, state.name))


def _short(namespace: str, topic: str) -> str:
    return topic.removeprefix(f"{namespace}.")


class BadMessages:
    """The dead-letter topics, counted by reason: from their beginning, so that a new monitor counts the same."""

    def __init__(self, settings: Settings, namespaces: Callable[[], Iterable[str]]) -> None:
        self._settings, self._namespaces = settings, namespaces
        self._consumers: dict[str, Any] = {}

    def look(self, values: Values) -> None:
        """Count what has come since the last look.

        Parameters
        ----------
        values : Values
            Gets counts by reason.
        """
        from retailpulse_kernel.stores.kafka.config import failure

        for name in self._namespaces():
            consumer = self._consumers.get(name) or self._follow(name)
            while consumer is not None and (messages := consumer.consume(_READ_AT_ONCE, timeout=0.2)):
                for message in messages:
                    if (error := message.error()) is not None and not passes(error):
                        raise failure(self._settings, error)
                    if error is None and (content := message.value()):
                        reason = orjson.loads(content)["reason"]
                        values.add("retailpulse_bad_messages_total", namespace=name, reason=reason)

    def _follow(self, namespace: str) -> Any:
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        from retailpulse_kernel.stores.kafka.config import client_config
        from retailpulse_kernel.stores.kafka.topics import topic_states

        settings = in_namespace(self._settings, namespace)
        topic = settings.namespace.dlq_topic
        state = next(s for s in topic_states(settings) if s.name == topic)
        if not state.exists:
            return None
        consumer = Consumer({**client_config(settings), "group.id": "retailpulse-monitor", "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in state.end])
        self._consumers[namespace] = consumer
        return consumer


class Business:
    """Revenue of the last complete hour beside the same hour's usual."""

    def __init__(self, settings: Settings, namespaces: Callable[[], Iterable[str]]) -> None:
        self._settings, self._namespaces = settings, namespaces
        self._stores: dict[str, Any] = {}
        self._pool = ThreadPoolExecutor(2)

    def look(self, values: Values) -> None:
        """Read five hours of each namespace from the store that serves them, and divide exactly.

        Parameters
        ----------
        values : Values
            Gets each currency's ratio of an hour's revenue to earlier weeks.
        """
        from retailpulse_kernel.catalogue.completeness import served_until
        from retailpulse_kernel.stores.registry import serving_store

        values.clear("retailpulse_revenue_to_usual_ratio")
        for name in self._namespaces():
            settings = in_namespace(self._settings, name)
            store = self._stores.setdefault(name, serving_store(settings))
            # An hour that the job has not taken in yet is no bad hour.
            end = GRAINS["hour"].start(served_until(settings))
            weeks = [self._revenue(store, week, end) for week in range(_WEEKS + 1)]
            for currency, ratio in ratios(weeks[0], weeks[1:]).items():
                values.set("retailpulse_revenue_to_usual_ratio", float(ratio), namespace=name, currency=currency)

    def _revenue(self, store: Any, week: int, end: datetime) -> dict[str, Decimal]:
        from retailpulse_kernel.answers.request import asked
        from retailpulse_kernel.answers.rows import figure_rows

        question = asked(
            since=(end - _HOUR).isoformat(), until=end.isoformat(), by="currency", shift=f"{7 * week}d", now=end
        )
        return {row["currency"]: Decimal(row["decimal"]) for row in figure_rows(store, self._pool, "revenue", question)}


def ratios(now: dict[str, Decimal], before: list[dict[str, Decimal]]) -> dict[str, Decimal]:
    """An hour's revenue over the median of the same hour's before, by currency; weeks without any do not count.

    >>> ratios({"USD": Decimal(30)}, [{"USD": Decimal(50)}, {"USD": Decimal(70)}, {}])
    {'USD': Decimal('0.5')}

    Parameters
    ----------
    now : dict
        Revenue of an hour, by currency.
    before : list of dict
        Revenue of the same hour in earlier weeks, by currency.
    """
    usual = {
        currency: statistics.median(week[currency] for week in before if currency in week)
        for currency in {c for week in before for c in week}
    }
    return {currency: now.get(currency, Decimal(0)) / amount for currency, amount in usual.items() if amount > 0}
