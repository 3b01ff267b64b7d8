"""Writing a range of windows again, beside the live job, from Kafka or from the archive.

A backfill reads no further than the job's last batch, judges as the job did, and writes only
windows that lie wholly in its range. Closed windows get a version of the present, which no older
write beats; a window that the job may still change gets the version of the job's last batch, so
that what the job writes later stays.

What a backfill does with late events is noted: corrections add those to a window that the newest backfill of the window
has left out (docs/adr/0032).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.spans import milliseconds, moment_at, require_minutes
from retailpulse_kernel.shop.tables import Grain, Row
from retailpulse_kernel.stores.figure_rows import version_of
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.registry import event_archive
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.checkpoint.batches import JobBatches, newest_epochs
from retailpulse_kernel.streaming.checkpoint.corrections import Backfilled, add_backfilled
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.checkpoint.lateness import judged, read_places
from retailpulse_kernel.streaming.checkpoint.log import newest_batch
from retailpulse_kernel.streaming.intake.frames import read_range
from retailpulse_kernel.streaming.intake.judging import Intake
from retailpulse_kernel.streaming.plan.finding import archiver
from retailpulse_kernel.streaming.query.topics import told
from retailpulse_kernel.streaming.run.report import Report
from retailpulse_kernel.streaming.sinks.figures import FigureSink
from retailpulse_kernel.streaming.state.aggregation import aggregate, rows_by_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from retailpulse_kernel.stores.hive.archive import Archive
    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["backfill"]


def backfill(job: Job, sink: FigureSink) -> Report:
    """Write the windows of the job's range again.

    Parameters
    ----------
    job : Job
        Its `since`, `until`, `source` and `late` say what is read.
    sink : FigureSink
        The job's, whose stores get the windows.

    Raises
    ------
    UsageError
        The range does not begin or end on a whole minute, Kafka no longer holds its beginning, or the archive does not
        hold such events.
    """
    require_minutes(job.since, job.until)
    sink.create()
    done = newest_epochs(read_accounts(job.settings), job.topic).get(job.name)
    rows = _archived(job, sink, done) if job.source == "archive" else _retained(job, sink, done)
    _note(job, done)
    if job.since is not None:
        rows = rows.where(rows.event_time >= job.since)
    if job.until is not None:
        rows = rows.where(rows.event_time < job.until)
    report = Report(job.name, job.settings.namespace.name, done.epoch if done else 0, state="backfilling")
    result = aggregate(rows, sink.tables).toArrow()
    versions = _Versions(job, done)
    for (table, grain), found in rows_by_table(result, sink.tables).items():
        for version, part in versions.split(_whole(found.to_pylist(), grain, job.since, job.until), grain).items():
            dict(sink.writes)[table].write(table, grain, part, version=version)
            report.totals["rows"] += len(part)
    report.state = "finished"
    return report


def _note(job: Job, done: JobBatches | None) -> None:
    """Say what the backfill does with late events, before it writes."""
    if done is None:
        return
    ends, keeping = done.ends, archiver(job.settings)
    if job.source == "archive" and keeping is not None:
        archived = newest_epochs(read_accounts(job.settings), job.topic)
        reached = archived[keeping.job].ends if keeping.job in archived else {}
        ends = {partition: min(end, reached.get(partition, 0)) for partition, end in ends.items()}
    noted = Backfilled(done.epoch, job.since, job.until, job.late == "include", ends)
    add_backfilled(job.checkpoints, noted)


def _whole(rows: Sequence[Row], grain: Grain, since: datetime | None, until: datetime | None) -> list[Row]:
    """Rows whose window lies wholly in the range: a part of a window would replace all of it."""
    return [
        row
        for row in rows
        if (since is None or row[grain.name] >= since) and (until is None or grain.end(row[grain.name]) <= until)
    ]


class _Versions:
    """The version that each window is written with."""

    def __init__(self, job: Job, done: JobBatches | None) -> None:
        self._now = int(time.time() * 1000)
        self._open = self._now
        self._closed_until: datetime | None = None
        epoch = find_epoch(job.checkpoints)
        if done is None or epoch is None or not done.batches:
            return  # no job will write these windows again
        newest = newest_batch(epoch.path)
        watermark_ms = newest.watermark_ms if newest else 0
        self._closed_until = moment_at(watermark_ms)
        self._open = version_of(epoch.start_ms, done.batches[-1].account.batch)

    def split(self, rows: Sequence[Row], grain: Grain) -> Mapping[int, list[Row]]:
        """Rows by version."""
        found: dict[int, list[Row]] = {}
        for row in rows:
            closed = self._closed_until is None or grain.end(row[grain.name]) <= self._closed_until
            found.setdefault(self._now if closed else self._open, []).append(row)
        return found


def _retained(job: Job, sink: FigureSink, done: JobBatches | None) -> DataFrame:
    """The job's messages from Kafka, judged and deduplicated as the job did it."""
    bounds = KafkaStore(job.settings).offsets(job.topic)
    ranges = {p: (begin, min(end, done.ends.get(p, 0)) if done else end) for p, (begin, end) in bounds.items()}
    if any(begin for begin, _ in bounds.values()) and job.since is None:
        raise UsageError("Kafka no longer holds the topic's beginning.", remedy="Give --since, or source='archive'.")
    unordered: dict[str, list[tuple[int, int]]] = {}
    for batch in done.batches if done else ():
        if batch.account.bounded:
            for partition, span in batch.spans.items():
                unordered.setdefault(str(partition), []).append(span)
    intake = Intake(
        tuple(job.columns(sink.tables)),
        job.topic,
        delay_ms=None if job.late == "include" else milliseconds(job.watermark),
        unordered={partition: _merged(spans) for partition, spans in unordered.items()},
        unique_by=job.unique_by,
        **told(job.settings, job.contract),
        refuses=job.reading.expectations.refuses(job.topic_name),
    )
    rows = read_range(job.spark, job.settings, intake, ranges).where("dedup_key IS NOT NULL")
    return job.filtered(rows.dropDuplicates(["dedup_key"]))


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _archived(job: Job, sink: FigureSink, done: JobBatches | None) -> DataFrame:
    """The archive's events, as far as the job has come in the topic."""
    from pyspark.sql import functions as F

    if not job.contract.holds_events:
        raise UsageError(
            f"The archive holds standard events, and those of {job.topic_name!r} have fields of their own.",
            remedy="Use source='kafka'.",
        )
    archive = event_archive(job.settings).archive
    files = [str(file) for hour in archive.partitions(job.since, job.until) for file in archive.files(hour)]
    if not files:
        raise UsageError(
            "The archive holds nothing of this range.", remedy="Run the job that archives, or source='kafka'."
        )
    rows = job.spark.read.parquet(*files)
    if job.late == "exclude":
        rows = rows.where("NOT late") if done is None else _without_late(job, rows, archive, done)
    if done is not None:
        taken = (f"(kafka_partition = {p} AND kafka_offset < {end})" for p, end in done.ends.items())
        rows = rows.where(" OR ".join(taken))
    rows = job.reading.expectations.kept(job.topic_name, rows)
    rows = rows.withColumn("dedup_key", F.coalesce(job.unique_by, "event_id")).dropDuplicates(["dedup_key"])
    return job.filtered(rows.select(*job.columns(sink.tables)))


def _without_late(job: Job, rows: DataFrame, archive: Archive, done: JobBatches) -> DataFrame:
    """Without the events that the job itself has called late: the archive's column goes by another watermark."""
    from pyspark.sql import functions as F

    places = read_places(archive, job.since)
    late = judged(places, done, done.ends).late
    columns = (places.partitions, places.offsets, places.times_ms)
    found = list(zip(*(column[late].tolist() for column in columns), strict=True))
    known = job.spark.createDataFrame(found, "late_partition int, late_offset bigint, late_ms bigint")
    same = (
        (F.col("kafka_partition") == F.col("late_partition"))
        & (F.col("kafka_offset") == F.col("late_offset"))
        & (F.unix_millis("event_time") == F.col("late_ms"))
    )
    return rows.join(F.broadcast(known), same, "left_anti")
