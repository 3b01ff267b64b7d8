"""What a job expects of the events of its topics, and what becomes of those that are otherwise."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.types import sql_type
from retailpulse_kernel.shop.measuring.conditions import condition_of
from retailpulse_kernel.streaming.query.analysis import analysed
from retailpulse_kernel.streaming.query.outputs import require_repeatable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["Expectation", "Expectations", "Otherwise"]

Otherwise = Literal["count", "reject", "stop"]

#: The longest name: it is a label of metrics.
_LONGEST = 80


@dataclass(frozen=True)
class Expectation:
    """What is expected of each event.

    Attributes
    ----------
    name : str
        In words, such as ``price is positive``.
    condition : str
        In Spark SQL. An event for which it is NULL meets it.
    otherwise : {"count", "reject", "stop"}
        What becomes of an event that violates it.
    """

    name: str
    condition: str
    otherwise: Otherwise = "count"


class Expectations:
    """The expectations of a job, by the topics that it reads.

    Parameters
    ----------
    job : Job
        Whose.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._of: defaultdict[str, list[Expectation]] = defaultdict(list)

    def add(self, topic: str, expectation: Expectation) -> None:
        """Expect something of the events of a topic; the same once more changes nothing.

        Parameters
        ----------
        topic : str
            The topic's name within the namespace.
        expectation : Expectation
            What.

        Raises
        ------
        UsageError
            The condition can't be evaluated, the name is taken, or the topic has been read.
        """
        if expectation in self._of[topic]:
            return
        self._check(topic, expectation)
        self._of[topic].append(expectation)

    def of(self, topic: str, *otherwise: Otherwise) -> tuple[Expectation, ...]:
        """The expectations of a topic.

        Parameters
        ----------
        topic : str
            The topic's name within the namespace.
        *otherwise : {"count", "reject", "stop"}
            Only those with one of these; all when absent.
        """
        return tuple(one for one in self._of.get(topic, ()) if not otherwise or one.otherwise in otherwise)

    def watched(self, topic: str) -> tuple[Expectation, ...]:
        """The expectations whose violations are counted among the events that go on, in the order of these counts.

        Parameters
        ----------
        topic : str
            The topic's name within the namespace.
        """
        return self.of(topic, "count", "stop")

    @property
    def all(self) -> list[tuple[str, Expectation]]:
        """Every expectation, with its topic."""
        return [(topic, one) for topic, of_topic in self._of.items() for one in of_topic]

    def refuses(self, topic: str) -> tuple[tuple[str, str], ...]:
        """The name and condition of each expectation by which events are refused; see `Intake.refuses`.

        Parameters
        ----------
        topic : str
            The topic's name within the namespace.
        """
        return tuple((one.name, one.condition) for one in self.of(topic, "reject"))

    def kept(self, topic: str, rows: DataFrame) -> DataFrame:
        """Those rows of a bounded DataFrame that no expectation refuses.

        Parameters
        ----------
        topic : str
            The topic's name within the namespace.
        rows : DataFrame
            With the columns of an event.
        """
        for _, condition in self.refuses(topic):
            rows = rows.where(f"({condition}) IS NOT FALSE")
        return rows

    def _check(self, topic: str, expectation: Expectation) -> None:
        name, otherwise = expectation.name, expectation.otherwise
        if otherwise not in get_args(Otherwise):
            raise UsageError(
                f"The expectation {name!r} can't {otherwise!r}.", remedy="Use otherwise='count', 'reject' or 'stop'."
            )
        if not name.strip() or len(name) > _LONGEST or not name.isprintable():
            raise UsageError(
                f"{name!r} can't be the name of an expectation.", remedy=f"Use some words, at most {_LONGEST} letters."
            )
        if any(known.name == name for _, known in self.all):
            raise UsageError(f"The job has another expectation {name!r}.", remedy="Give each a name of its own.")
        if any(reader.topic == topic for reader in self._job.reading.readers):
            raise UsageError(
                f"The expectation {name!r} comes too late: the topic {topic!r} has a DataFrame without it already.",
                remedy="Call events.expect(...) before events.df.",
            )
        self._check_condition(expectation, self._job.shop.of_topic(topic))

    def _check_condition(self, expectation: Expectation, contract: Contract) -> None:
        """Refuse a condition that can't be evaluated where it has to be."""
        try:
            condition_of(expectation.condition, contract)
        except UsageError as error:
            if expectation.otherwise == "reject":
                raise UsageError(
                    f"{error.message.rstrip('.')}; so it can't refuse events before they are taken.",
                    remedy=f"{error.remedy} Or leave the events out with .where(...), and count them here.",
                ) from error
            self._check_in_spark(expectation, contract)

    def _check_in_spark(self, expectation: Expectation, contract: Contract) -> None:
        schema = ", ".join(f"`{field.name}` {sql_type(field.type)}" for field in contract.columns)
        events: Any = self._job.spark.createDataFrame([], schema)
        try:
            chosen = events.where(expectation.condition)
            found = analysed(chosen)
        except Exception as error:
            raise UsageError(
                f"Spark can't evaluate the condition {expectation.condition!r}: {str(error).splitlines()[0]}",
                remedy="Write a condition of Spark SQL on the columns of an event.",
            ) from error
        require_repeatable(found, f"the expectation {expectation.name!r}")
