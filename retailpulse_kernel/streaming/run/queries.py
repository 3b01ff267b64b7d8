"""One query of a run: how it is started, and what becomes of each of its micro-batches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from retailpulse_kernel.ground.errors import CheckFailed
from retailpulse_kernel.ground.spans import milliseconds
from retailpulse_kernel.shop.personal import masked
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.clocks import read_clock
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.streaming.checkpoint.log import LoggedBatch, committed_batch, logged_batch, newest_batch
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from retailpulse_kernel.streaming.intake.judging import (
    ACCEPTED,
    AHEAD,
    BAD,
    FURTHER,
    LATE,
    OBSERVED_EXPECTED,
    OBSERVED_INTAKE,
    OBSERVED_UNIQUE,
)
from retailpulse_kernel.streaming.intake.refusing import REFUSED
from retailpulse_kernel.streaming.intake.remembered import ReaderNote, folder_of, tell_readers
from retailpulse_kernel.streaming.query.analysis import goes_by_clock
from retailpulse_kernel.streaming.query.outputs import Output, Reader, counted_once
from retailpulse_kernel.streaming.sinks.rows import RowSink

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["POLL_SECONDS", "OutputQuery", "observed", "require_expected", "start_query"]

POLL_SECONDS = 0.2
#: What Spark says of a query whose sources are not there yet.
_STARTING = ("Initializing", "Getting offsets")
#: The file system that Spark's own state needs: its snapshots are uploaded through Hadoop's checked local files.
_STATE_FILES = {"fs.file.impl": "org.apache.hadoop.fs.LocalFileSystem"}
#: Spark asks a state that waits for the clock again after each micro-batch, with or without messages. A query that
#: ends when all is taken would never end so.
_NO_EMPTY_BATCHES = {"spark.sql.streaming.noDataMicroBatches.enabled": "false"}


class _Run(Protocol):
    """What a query's batches need of the run that they are a part of; `runner.Runner` has it."""

    def patiently(self, action: Callable[[], Any]) -> Any: ...

    def lost(self, batch: LoggedBatch, output: str) -> int: ...

    def done(self, account: Account) -> None: ...


def start_query(
    job: Job, output: Output, epoch: Epoch, write: Callable[[DataFrame, int], None], *, bounded: bool | None = None
) -> StreamingQuery:
    """Start the query of an output.

    Parameters
    ----------
    job : Job
        Whose output.
    output : Output
        What is computed and written.
    epoch : Epoch
        Where the checkpoint is.
    write : callable
        Gets each micro-batch and its number.
    bounded : bool, optional
        Whether the query takes all that there is and ends, without a say in what is late; the job's mode when absent.
    """
    checkpoint, by_mode = checkpoint_of(epoch.path, output.name), job.mode == "available_now"
    tell_readers(checkpoint, dict(_notes(job, output, checkpoint, bounded=by_mode)))
    ends = by_mode if bounded is None else bounded
    settings = _STATE_FILES if output.name else {}
    if ends and goes_by_clock(output.frame):
        settings = settings | _NO_EMPTY_BATCHES
    with _set(job.spark, settings):
        writer = (
            output.frame.writeStream.queryName(f"{job.name}/{output.name}" if output.name else job.name)
            .outputMode(output.mode)
            .option("checkpointLocation", checkpoint)
            .foreachBatch(write)
        )
        if ends:
            return writer.trigger(availableNow=True).start()
        return writer.trigger(processingTime=f"{milliseconds(job.trigger)} milliseconds").start()


def _notes(job: Job, output: Output, checkpoint: str, *, bounded: bool) -> Iterator[tuple[int, ReaderNote]]:
    """What the run says of the query's readers."""
    began_ms = int(time.time() * 1000)
    done = committed_batch(checkpoint, alone=True) if bounded and output.name else None
    for place, reader in enumerate(output.readers):
        low_ms = None
        if done is not None:
            ends = done.offsets.get(job.source_namespace.topic(reader.topic), {})
            clocks = [read_clock(folder_of(checkpoint, place), int(p), end) for p, end in ends.items()]
            known = [clock.at_ms for clock in clocks if clock is not None]
            low_ms = min(known, default=None)
        yield reader.number, ReaderNote(place, reader.publishes, bounded, low_ms, output.closes, began_ms)


@contextmanager
def _set(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Settings of the session for a query: Spark copies them when it starts one."""
    for name, value in settings.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name in settings:
            spark.conf.unset(name)


class OutputQuery:
    """The query of an output, and its micro-batches.

    Parameters
    ----------
    job : Job
        Whose output.
    output : Output
        What is computed and written.
    epoch : Epoch
        Where the checkpoint is.
    run : Runner
        The run.
    further : bool
        Whether another output counts the job's messages.
    judges : collection of str
        The topics, by their names within the namespace, whose expectations this query counts.
    """

    def __init__(
        self, job: Job, output: Output, epoch: Epoch, run: _Run, *, further: bool, judges: Collection[str]
    ) -> None:
        self._job, self._epoch, self._run, self._further = job, epoch, run, further
        self._judges = frozenset(judges)
        self.output = output
        self.query: StreamingQuery | None = None
        #: What a batch raised: what Spark hands on is only its text.
        self.failure: BaseException | None = None
        self.restarts = 0

    @property
    def checkpoint(self) -> str:
        """Where Spark keeps the query's progress."""
        return checkpoint_of(self._epoch.path, self.output.name)

    def start(self) -> None:
        """Start the query, again after it has failed."""
        self.failure = None
        self.query = start_query(self._job, self.output, self._epoch, self._write)

    @property
    def is_starting(self) -> bool:
        """Whether the programs that plan the query's batches are still on their way."""
        return self.is_active and str(self.query.status["message"]).startswith(_STARTING)  # type: ignore[union-attr]

    @property
    def is_active(self) -> bool:
        """Whether the query runs."""
        return self.query is not None and self.query.isActive

    @property
    def is_busy(self) -> bool:
        """Whether a micro-batch is under way."""
        return self.query is not None and self.query.isActive and bool(self.query.status["isTriggerActive"])

    @property
    def has_ended(self) -> bool:
        """Whether the query ends within a moment, be it by a failure, which `error` then has."""
        from pyspark.errors import StreamingQueryException

        assert self.query is not None
        try:
            return bool(self.query.awaitTermination(POLL_SECONDS))  # type: ignore[arg-type]
        except StreamingQueryException:
            return True

    @property
    def error(self) -> Exception | None:
        """Why the query failed."""
        return None if self.query is None else self.query.exception()

    def stop(self) -> None:
        """End the query, in the middle of a batch if need be."""
        if self.query is not None and self.query.isActive:
            self.query.stop()

    def has_taken(self, ends: dict[str, dict[str, int]]) -> bool:
        """Whether the query has committed all messages before some offsets, of the topics that it reads.

        Parameters
        ----------
        ends : dict
            The offset after the last message of each partition, by topic.
        """
        done = committed_batch(self.checkpoint, alone=True)
        taken = {} if done is None else done.offsets
        return all(
            taken.get(topic, {}).get(partition, 0) >= end
            for reader in self.output.readers
            for topic in [self._topic(reader)]
            for partition, end in ends.get(topic, {}).items()
        )

    @property
    def logged(self) -> LoggedBatch | None:
        """The newest batch that the query has begun."""
        return newest_batch(self.checkpoint, alone=True)

    @property
    def lag(self) -> int:
        """Messages behind the ends of the topics, from the query's last progress."""
        progress = None if self.query is None else self.query.lastProgress
        lag = 0
        for source in progress.sources if progress else ():
            taken, latest = (json.loads(text or "null") or {} for text in (source.endOffset, source.latestOffset))
            for topic, ends in latest.items():
                lag += sum(end - taken.get(topic, {}).get(partition, 0) for partition, end in ends.items())
        return lag

    def _topic(self, reader: Reader) -> str:
        return self._job.source_namespace.topic(reader.topic)

    def _write(self, frame: DataFrame, batch_id: int) -> None:
        """Write one micro-batch and its account; Spark commits the batch when this returns."""
        started_ms = int(time.time() * 1000)
        try:
            write = self.output.sink.compute(frame, epoch=self._epoch, batch=batch_id)
            assert self.query is not None
            require_expected(self._job, self.output, observed(self.query))
            rows = self._run.patiently(write)
            account = self._account(batch_id, rows, started_ms)
            if account is not None:
                self._run.done(account)
                self.restarts = 0
        except BaseException as error:
            self.failure = error
            raise

    def _account(self, batch_id: int, rows: int, started_ms: int) -> Account | None:
        """The batch's account; None for a batch without messages, which Spark runs to free state."""
        assert self.query is not None
        found, counted = observed(self.query), counted_once(self.output.readers)
        intakes = [found.get(f"{OBSERVED_INTAKE}_{reader.number}", {}) for reader in counted]
        uniques = [found.get(f"{OBSERVED_UNIQUE}_{reader.number}", {}) for reader in counted]
        read = {name: sum(one.get(name) or 0 for one in intakes) for name in (ACCEPTED, LATE, BAD, AHEAD, FURTHER)}
        accepted = sum(one.get(ACCEPTED) or 0 for one in uniques)
        consumed = read[ACCEPTED] + read[LATE] + read[BAD] - read[FURTHER]
        logged = logged_batch(self.checkpoint, batch_id)
        lost = 0 if logged is None else self._run.lost(logged, self.output.name)
        sink = self.output.sink
        null_keys, failed = (sink.null_keys, sink.failed_rows) if isinstance(sink, RowSink) else (0, 0)
        if not (consumed or lost or rows or null_keys or failed) or logged is None:
            return None
        return Account(
            job=self._job.name,
            epoch=self._epoch.number,
            batch=batch_id,
            offsets=logged.offsets,
            consumed=consumed,
            accepted=accepted,
            duplicate=read[ACCEPTED] - accepted,
            late=read[LATE],
            bad=read[BAD],
            rows=rows,
            watermark_ms=logged.watermark_ms,
            started_ms=started_ms,
            finished_ms=int(time.time() * 1000),
            arrived_ms=min((at for one in intakes if (at := one.get("arrived_ms")) is not None), default=None),
            bounded=self._job.mode == "available_now",
            delay_ms=self.output.readers[0].watermark_ms,
            start_ms=self._epoch.start_ms,
            ahead=read[AHEAD],
            ahead_ms=max((one.get("ahead_ms") or 0 for one in intakes), default=0),
            held=True,
            lost=lost,
            output=self.output.name,
            further=self._further,
            null_keys=null_keys,
            failed_rows=failed,
            further_events=read[FURTHER],
            expectations=self._judged(counted, found),
        )

    def _judged(self, readers: Collection[Reader], found: Mapping[str, Mapping[str, Any]]) -> dict[str, list[int]]:
        """Of each expectation, the events that violated it, and those that were judged."""
        judged: dict[str, list[int]] = {}
        for reader in (reader for reader in readers if reader.topic in self._judges):
            intake = found.get(f"{OBSERVED_INTAKE}_{reader.number}", {})
            unique = found.get(f"{OBSERVED_UNIQUE}_{reader.number}", {}).get(ACCEPTED) or 0
            expected = found.get(f"{OBSERVED_EXPECTED}_{reader.number}", {})
            expectations = self._job.reading.expectations
            refusing = expectations.of(reader.topic, "reject")
            refused = [intake.get(f"{REFUSED}{number}") or 0 for number in range(len(refusing))]
            timely = (intake.get(ACCEPTED) or 0) + sum(refused)
            judged |= {one.name: [n, timely] for one, n in zip(refusing, refused, strict=True)}
            for number, one in enumerate(expectations.watched(reader.topic)):
                judged[one.name] = [expected.get(f"failed_{number}") or 0, unique]
        return judged


def observed(query: StreamingQuery) -> dict[str, dict[str, Any]]:
    """The counts that the running batch of a query observed.

    Spark hands them to listeners only after the commit, which is too late for an account that must not be lost; the
    query's own execution has them as soon as they are computed.

    Parameters
    ----------
    query : StreamingQuery
        The query, within its batch.
    """
    metrics = query._jsq.streamingQuery().lastExecution().observedMetrics()
    found: dict[str, dict[str, Any]] = {}
    names = metrics.keySet().iterator()
    while names.hasNext():
        name = names.next()
        row = metrics.apply(name)
        fields = row.schema().fieldNames()
        found[name] = {field: row.get(i) for i, field in enumerate(fields)}
    return found


def require_expected(job: Job, output: Output, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Make sure that no event of a micro-batch violates an expectation that stops the job.

    Parameters
    ----------
    job : Job
        Whose expectations.
    output : Output
        The output of the query that has the batch.
    found : mapping
        What the batch has observed; see `observed`.

    Raises
    ------
    CheckFailed
        One does: started again, the job would find the same event.
    """
    for reader in output.readers:
        expected = found.get(f"{OBSERVED_EXPECTED}_{reader.number}", {})
        for number, one in enumerate(job.reading.expectations.watched(reader.topic)):
            failed = expected.get(f"failed_{number}") or 0
            if one.otherwise == "stop" and failed:
                (example,) = masked({"event_id": expected[f"example_{number}"]}, job.shop).values()
                events = f"{failed:,} events of {reader.topic} violate" if failed > 1 else "an event violates"
                raise CheckFailed(
                    f"The job {job.name!r} stops before it writes: {events} the expectation {one.name!r} "
                    f"({one.condition}), such as the event {example!r}.",
                    remedy="Nothing of the micro-batch was written. Correct the events' producer, or change the "
                    "expectation: with otherwise='reject' such events go to the dead-letter topic.",
                )
