"""A test of a job: given messages go through the job's own queries, and what these write is compared.

The DataFrames are those that the notebook has made. Their streams read the messages that the test leaves in a folder of
its own, in place of the topics; see `intake.given`. So neither Kafka nor a store is needed, and none is written.
"""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.errors import (
    CheckFailed,
    EventError,
    JobError,
    TestFailed,
    UnknownName,
    UsageError,
    cause_line,
)
from retailpulse_kernel.ground.spans import moment_of, ms_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.rows import object_rows
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, new_epoch
from retailpulse_kernel.streaming.intake.given import GivenMessage, GivenMessages, given_message
from retailpulse_kernel.streaming.intake.judging import LATE, OBSERVED_INTAKE
from retailpulse_kernel.streaming.query.outputs import Output, as_of_output, counted_once
from retailpulse_kernel.streaming.reference.versions import Versions
from retailpulse_kernel.streaming.run.assembly import outputs_of
from retailpulse_kernel.streaming.run.differing import differences
from retailpulse_kernel.streaming.run.given_tables import of_type, rows_of, with_day
from retailpulse_kernel.streaming.run.queries import observed, require_expected, start_query
from retailpulse_kernel.streaming.sinks.memory import MemoryTable, MemoryTarget
from retailpulse_kernel.streaming.sinks.rows import RowSink

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["Passed", "test_job"]


@dataclass(frozen=True)
class Passed:
    """A test that has passed.

    Attributes
    ----------
    name : str
        The test.
    rows : dict of str to int
        How many rows of each table were as expected.
    late : int
        How many events were late, as expected.
    """

    name: str
    rows: dict[str, int]
    late: int = 0

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} row{'' if count == 1 else 's'} of {name}" for name, count in self.rows.items())
        return f"test {self.name!r}: {counts}{f', {self.late:,} late' if self.late else ''}, ok"


def test_job(
    job: Job,
    name: str,
    *,
    given: Any,
    expected: Any,
    references: Mapping[str, Any],
    at: datetime | str | None,
    late: int | None = None,
) -> Passed:
    """Compare what a job makes of given messages with what is expected; see `Job.test`.

    Parameters
    ----------
    job : Job
        The job, whose notebook has said what it writes.
    name : str
        The test's name.
    given : object
        A table of events, or such tables by topic.
    expected : object
        A table of rows, or such tables by name.
    references : mapping of str
        Tables of rows by the names of reference tables.
    at : datetime or str, optional
        The present of the test.
    late : int, optional
        How many events are late by the order in which they are given; no order makes one late when absent.

    Raises
    ------
    TestFailed
        The rows are others, or other events are late.
    CheckFailed
        An event violates an expectation that stops the job.
    UsageError
        The test names a table, a topic or a column that the job does not have.
    JobError
        A query failed.
    """
    job.require_output()
    present = moment_of(at)
    wanted = _by_table(job, expected, present)
    messages = _messages(job, given, present)
    tested = copy.copy(job)
    # The notebook's parameters may say another mode. The order of the events matters in a continuous run alone.
    tested.mode = "available_now" if late is None else "continuous"
    with _epoch(job) as epoch:
        for topic, of_topic in messages.items():
            of_topic.leave(job.test_epochs, topic)
        tables, found_late = _written(tested, epoch, wanted, references)
    said = []
    if late is not None and late != found_late:
        said.append(f"late events: {late:,} expected, {found_late:,} found")
    closing = {output.table.name for output in job.writes.rows if output.closes}
    for table, rows in wanted.items():
        kept = tables[table]
        if lines := differences(_comparable(table, rows, kept), kept.rows, kept.key):
            said += [f"{table}: {len(rows):,} expected, {len(kept.rows):,} found", *(f"  {ln}" for ln in lines)]
            if table in closing and len(kept.rows) < len(rows):
                said.append(
                    "  A row that is not final at the test's present, less the watermark, is not written: see at=."
                )
    if said:
        raise TestFailed(name, said)
    return Passed(name, {table: len(rows) for table, rows in wanted.items()}, late or 0)


def _by_table(job: Job, expected: Any, present: datetime | None) -> dict[str, list[dict[str, Any]]]:
    """The expected rows of each table; times of a day are those of the test's."""
    known = _tables(job)
    if not isinstance(expected, Mapping):
        if len(known) > 1:
            raise UsageError(
                f"The job {job.name!r} writes {len(known)} tables: {', '.join(known)}.",
                remedy=f"Say of which the rows are expected: expected={{{known[0]!r}: ...}}.",
            )
        expected = {known[0]: expected}
    if not expected:
        raise UsageError("The test expects nothing.", remedy=f"Add a table: expected={{{known[0]!r}: ...}}.")
    for table in expected:
        if table not in known:
            raise UnknownName("table", table, known, of=f"the job {job.name!r}")
    day = None if present is None else present.date()
    return {
        table: [{column: with_day(cell, day) for column, cell in row.items()} for row in rows_of(rows)]
        for table, rows in expected.items()
    }


def _tables(job: Job) -> list[str]:
    """What the job writes, by the names in the stores."""
    names = [stream.table.physical(grain) for stream, _ in job.writes.figures for grain in stream.table.every]
    names += ["events"] if job.writes.archive else []
    return [*names, *(output.table.name for output in job.writes.rows)]


def _messages(job: Job, given: Any, present: datetime | None) -> dict[str, GivenMessages]:
    """The messages of each topic that the job reads, by its full name."""
    topics = {job.topic_name: job.topic} | {
        reader.topic: job.source_namespace.topic(reader.topic)
        for output in job.writes.rows
        for reader in output.readers
    }
    if not isinstance(given, Mapping):
        if len(topics) > 1:
            raise UsageError(
                f"The job {job.name!r} reads {len(topics)} topics: {', '.join(topics)}.",
                remedy=f"Say to which the events belong: given={{{job.topic_name!r}: ...}}.",
            )
        given = {job.topic_name: given}
    for topic in given:
        if topic not in topics:
            raise UnknownName("topic", topic, topics, of=f"the job {job.name!r}")
    made = {topic: _made(job.shop.of_topic(topic), given.get(topic, ()), present) for topic in topics}
    times = [_time_ms(job.shop.of_topic(topic), message) for topic, messages in made.items() for message in messages]
    at_ms = ms_of(present) if present is not None else max(times, default=0)
    return {
        topics[topic]: GivenMessages(
            [message.value.decode() for message in messages],
            [at_ms if message.arrival_ms is None else message.arrival_ms for message in messages],
            at_ms,
        )
        for topic, messages in made.items()
    }


def _time_ms(contract: Contract, message: GivenMessage) -> int:
    """When the event of a message was; 0 where that is the broker's time, and the test does not say it."""
    if not (contract.holds_events or contract.time):
        return message.arrival_ms or 0
    try:
        event = reader_of(contract).parse(message.value, arrival_ms=message.arrival_ms, place=message.place)
    except EventError as error:
        raise UsageError(f"An event of the test is not valid: {error}.", remedy="Correct the given table.") from error
    return ms_of(event.event_time)


def _made(contract: Contract, table: Any, present: datetime | None) -> list[GivenMessage]:
    fields = {"event_time": "timestamp", **contract.types}
    day = None if present is None else present.date()

    def cell(name: str, value: Any) -> Any:
        kind = fields.get(name, "string")
        return of_type(kind, with_day(value, day) if kind == "timestamp" else value)

    return [
        given_message(number, {name: cell(name, value) for name, value in row.items()}, contract)
        for number, row in enumerate(rows_of(table), 1)
    ]


@contextmanager
def _epoch(job: Job) -> Iterator[Epoch]:
    """An epoch of the test's own; afterwards the job is as it was."""
    readers = len(job.reading.readers)
    Path(job.test_epochs).mkdir(mode=0o700)
    try:
        # With a number of its own: the workers remember files of the test before, by their paths.
        yield new_epoch(job.test_epochs, after=job.tests)
    finally:
        job.tests += 1
        del job.reading.readers[readers:]
        shutil.rmtree(job.test_epochs, ignore_errors=True)


def _written(
    job: Job, epoch: Epoch, wanted: Mapping[str, Sequence[Any]], references: Mapping[str, Any]
) -> tuple[dict[str, MemoryTable], int]:
    """What the queries of the wanted tables write, and how many events are late for them."""
    rows = {output.table.name: output for output in job.writes.rows}
    names = {rows[table].name if table in rows else "" for table in wanted}
    _put_references(job, epoch, [output.name for output in rows.values() if output.name in names], references)
    target, late = MemoryTarget(), dict[str, int]()
    for output in outputs_of(job, epoch, into=target):
        if output.name in names:
            late |= _run(job, output, epoch, target)
    keys = {table: output.table.key for table, output in rows.items()}
    tables = {table: target.tables.get(table) or MemoryTable(keys.get(table, ())) for table in wanted}
    return tables, sum(late.values())


def _put_references(job: Job, epoch: Epoch, outputs: Sequence[str], references: Mapping[str, Any]) -> None:
    """Make the given rows the version of each reference table that the outputs join."""
    known = {table.name: table for table in job.references.joined}
    for name in references:
        if name not in known:
            raise UnknownName("reference table", name, known, of=f"the job {job.name!r}")
    for output in job.writes.rows:
        for table in output.references if output.name in outputs else ():
            if table.name not in references:
                raise UsageError(
                    f"The test gives no rows for the reference table {table.name!r}, which {output.name} joins.",
                    remedy=f"Add them: references={{{table.name!r}: ...}}.",
                )
            kinds = dict(table.columns)
            given = [
                {name: of_type(kinds.get(name, "string"), cell) for name, cell in row.items()}
                for row in rows_of(references[table.name])
            ]
            if unknown := [name for row in given for name in row if name not in kinds]:
                raise UnknownName("column", unknown[0], kinds, of=f"the reference table {table.name!r}")
            Versions(epoch.path, table).put(object_rows(table, given), now_ms=epoch.start_ms)


def _run(job: Job, output: Output, epoch: Epoch, target: MemoryTarget) -> dict[str, int]:
    """Run a query over the given messages, to its end; how many events of each topic are late for it."""
    quiet = replace(output, readers=tuple(as_of_output(reader, publishes=False) for reader in output.readers))

    stopped: list[CheckFailed] = []  # what Spark hands on is only its text
    late = Counter[str]()

    def write(frame: DataFrame, batch: int) -> None:
        try:
            done = quiet.sink.compute(frame, epoch=epoch, batch=batch)
            found = observed(query)
            require_expected(job, quiet, found)
        except CheckFailed as error:
            stopped.append(error)
            raise
        for reader in counted_once(quiet.readers):
            late[reader.topic] += found.get(f"{OBSERVED_INTAKE}_{reader.number}", {}).get(LATE) or 0
        if quiet.mode == "complete" and isinstance(quiet.sink, RowSink):
            target.tables.pop(quiet.sink.table.name, None)
        done()

    query = start_query(job, quiet, epoch, write, bounded=True)
    try:
        query.awaitTermination()
    except Exception as error:
        if stopped:
            raise stopped[0] from error
        raise JobError(f"The query of {output.label} failed: {cause_line(error)}") from error
    finally:
        query.stop()
    return late


def _comparable(name: str, rows: Sequence[Mapping[str, Any]], kept: MemoryTable) -> Sequence[Mapping[str, Any]]:
    """The expected rows, where they have the table's columns."""
    if kept.rows:
        for column in (column for row in rows for column in row):
            if column not in kept.rows[0]:
                raise UnknownName("column", column, kept.rows[0], of=f"the table {name!r}")
    if len({tuple(row) for row in rows}) > 1:
        raise UsageError(f"The expected rows of {name} have different columns.", remedy="Name the same in each.")
    return rows
