"""The topics that a job reads: each use of `Events.df` is a stream of its own, with a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import milliseconds
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.formats.options import options_of
from retailpulse_kernel.stores.frames import checked_limit
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.writer import drain_file
from retailpulse_kernel.streaming.intake.frames import deduplicated, read_again, read_range, read_topic
from retailpulse_kernel.streaming.intake.judging import Intake
from retailpulse_kernel.streaming.intake.rejects import RejectTopics
from retailpulse_kernel.streaming.intake.repeating import steps_file
from retailpulse_kernel.streaming.intake.shapes import column_types
from retailpulse_kernel.streaming.query.expectations import Expectations
from retailpulse_kernel.streaming.query.outputs import Reader

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from retailpulse_kernel.streaming.query.streams import Events
    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["Topics", "told"]


class Topics:
    """What a job reads.

    Parameters
    ----------
    job : Job
        Whose topics.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        #: The streams that the notebook has asked for so far, by their numbers.
        self.readers: list[Reader] = []
        self.expectations = Expectations(job)

    def frame(self, events: Events) -> DataFrame:
        """Every accepted event as a streaming DataFrame, for a query of its own; a bounded one where a batch is run.

        Parameters
        ----------
        events : Events
            Their conditions, watermark and horizon are applied.
        """
        # A query of rows begins with its ids in the workers' index wherever that can be.
        local = self._job.settings.profile.spark.master.startswith("local") and "://" not in self._job.checkpoints
        columns = tuple(column_types(events.contract))
        _, rows = self.stream(events, columns, keep_late=False, indexed=local, as_events=True)
        return rows

    def stream(
        self, events: Events, columns: Sequence[str], *, keep_late: bool, indexed: bool, as_events: bool = False
    ) -> tuple[Reader, DataFrame]:
        """A topic's events as a stream, each once, and the reader that it is.

        Parameters
        ----------
        events : Events
            Of the job.
        columns : sequence of str
            What is read of each.
        keep_late : bool
            Whether late ones are in it, too, flagged.
        indexed : bool
            Whether the workers' index tells which ids are known, in place of Spark's state.
        as_events : bool
            Whether the columns are those of an event, with Spark's watermark.
        """
        job = self._job
        refuses = self.expectations.refuses(events.topic)
        # What this job alone refuses is in no other job's dead letters.
        publishes = events.publish_rejects or bool(refuses)
        reader = Reader(len(self.readers), events.topic, events.unique_by, publishes, milliseconds(events.watermark))
        self.readers.append(reader)
        intake = Intake(
            tuple(columns),
            job.source_namespace.topic(events.topic),
            delay_ms=milliseconds(events.watermark),
            keep_late=keep_late,
            rejects=self.rejects if publishes else None,
            labels={"job": job.name},
            unique_by=events.unique_by,
            horizon_ms=milliseconds(events.dedup_horizon) if indexed else None,
            **told(job.settings, events.contract),
            refuses=refuses,
            only_refused=not events.publish_rejects,
        )
        if job.context.batch:
            # In a batch nobody else finds the duplicates, and what was rejected is in its topic already.
            once = replace(intake, rejects=None, horizon_ms=milliseconds(events.dedup_horizon))
            steps = steps_file(job.context.batch, reader.number)
            messages = read_again(job.spark, job.settings, once, steps)
        else:
            messages = read_topic(
                job.spark,
                job.settings,
                intake,
                epochs=job.checkpoints,
                reader=reader.number,
                bounded=job.mode == "available_now",
                tells=as_events,
                leader=job.context.leader,
                drain=drain_file(job.settings, job.name),
                given=job.test_epochs,
            )
        unique = deduplicated(
            messages,
            watermark=events.watermark,
            horizon=events.dedup_horizon,
            reader=reader.number,
            as_events=as_events,
            expected=[one.condition for one in self.expectations.watched(events.topic)],
        )
        return reader, events.of(unique)

    @property
    def rejects(self) -> RejectTopics:
        """Where bad and late messages go."""
        namespace = self._job.settings.namespace
        client: tuple[tuple[str, Any], ...] = tuple(sorted(client_config(self._job.settings).items()))
        return RejectTopics(client, bad=namespace.dlq_topic, late=namespace.late_topic)

    def sample(self, events: Events, limit: int | None) -> DataFrame:
        """The newest events of a topic, as a bounded DataFrame of the Connect server, or where none is, the job.

        While a notebook's tests run, there are none: they need no topic.

        Parameters
        ----------
        events : Events
            Their conditions are applied.
        limit : int or None
            At most this many messages are read, as many of each partition; None is all.

        Raises
        ------
        UsageError
            There is no such topic, or the limit is not a number of rows.
        """
        from retailpulse_kernel.stores.spark.store import SparkStore

        job = self._job
        if job.context.is_tested:
            return events.given(())
        topic = job.source_namespace.topic(events.topic)
        offsets = KafkaStore(job.settings).offsets(topic)
        newest = offsets
        if (most := checked_limit(limit)) is not None:
            share = max(1, most // max(1, len(offsets)))
            newest = {partition: (max(begin, end - share), end) for partition, (begin, end) in offsets.items()}
        total, taken = (sum(end - begin for begin, end in spans.values()) for spans in (offsets, newest))
        if taken < total:
            say(f"Made from the newest {taken:,} of {total:,} messages in {topic}.")
        contract = events.contract
        intake = Intake(
            tuple(column_types(contract)),
            topic,
            unique_by=events.unique_by,
            **told(job.settings, contract),
            refuses=self.expectations.refuses(events.topic),
        )
        rows = read_range(SparkStore(job.settings).shared() or job.spark, job.settings, intake, newest)
        return events.of(rows.where("dedup_key IS NOT NULL").dropDuplicates(["dedup_key"]))


def told(settings: Settings, contract: Contract) -> dict[str, Any]:
    """What Spark's workers are told of a topic's contract, as arguments of `Intake`.

    Nothing of a contract that reads as the shipped one.

    Parameters
    ----------
    settings : Settings
        How to reach what opens the messages.
    contract : Contract
        That of the topic.
    """
    is_shipped = contract.is_plain and contract.format == shipped().format
    return {"contract": None if is_shipped else contract.plain(), "options": options_of(settings, contract)}
