"""What a streaming job measures: by batch, from the account that it writes anyway and from Spark's own progress."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.telemetry.recording import Recorder

if TYPE_CHECKING:
    from pyspark.sql.streaming import StreamingQuery

    from retailpulse_kernel.streaming.checkpoint.accounts import Account
    from retailpulse_kernel.streaming.reference.refreshing import TableState

__all__ = ["JobMetrics"]

_STATUSES = ("accepted", "duplicate", "late", "bad")


class JobMetrics:
    """The metrics of one run of a job.

    Parameters
    ----------
    recorder : Recorder
        With the label ``job_name``.
    topic : str
        What the job reads.
    offsets : dict, optional
        How far it has read the topic: ``{topic: {partition: offset}}``.
    """

    def __init__(self, recorder: Recorder, topic: str, offsets: dict[str, dict[str, int]] | None) -> None:
        self._recorder, self._topic = recorder, topic
        self._written = self._followed = -1
        self._ahead_ms = 0
        recorder.tell(topic=topic)
        # A store that is not asked twice has no such series, and a rate of nothing is not a rate of zero.
        for status in _STATUSES:
            recorder.add("retailpulse_job_messages_total", 0, status=status)
        recorder.add("retailpulse_job_ahead_messages_total", 0)
        recorder.set("retailpulse_job_ahead_seconds", 0)
        if offsets:
            self._reached(offsets)

    def add(self, account: Account) -> None:
        """Take in a batch that has been written.

        Parameters
        ----------
        account : Account
            What became of each message of the batch.
        """
        for status in _STATUSES:
            self._recorder.add("retailpulse_job_messages_total", getattr(account, status), status=status)
        self._ahead_ms = max(self._ahead_ms, account.ahead_ms)
        self._recorder.add("retailpulse_job_ahead_messages_total", account.ahead)
        self._recorder.set("retailpulse_job_ahead_seconds", self._ahead_ms / 1000)
        self._recorder.add("retailpulse_job_rows_total", account.rows)
        self._recorder.set("retailpulse_job_last_batch_timestamp_seconds", account.finished_ms / 1000)
        if account.arrived_ms is not None:
            latency = (account.finished_ms - account.arrived_ms) / 1000
            self._recorder.observe("retailpulse_job_end_to_end_latency_seconds", max(0.0, latency))
        self._reached(account.offsets)
        self._written = account.batch

    def judge(self, account: Account) -> None:
        """Take in how many events of a written batch violated each expectation.

        Parameters
        ----------
        account : Account
            That of any output.
        """
        for name, (failed, _) in account.expectations.items():
            self._recorder.add("retailpulse_job_expectation_failures_total", failed, expectation=name)

    def follow(self, query: StreamingQuery) -> None:
        """Take in Spark's progress of the last batch, which is there soon after the batch was written.

        Parameters
        ----------
        query : StreamingQuery
            The running query.
        """
        # Asking the JVM costs a millisecond: only when there is something new.
        if self._followed >= self._written:
            return
        progress: Any = query.lastProgress
        if progress is None or progress.batchId <= self._followed:
            return
        self._followed = progress.batchId
        milliseconds = progress.durationMs.get("triggerExecution")
        if milliseconds is not None:
            self._recorder.observe("retailpulse_job_batch_duration_seconds", milliseconds / 1000)
        if states := list(progress.stateOperators):
            self._recorder.set("retailpulse_job_state_rows", sum(state.numRowsTotal for state in states))
            self._recorder.set("retailpulse_job_state_bytes", sum(state.memoryUsedBytes for state in states))
        if watermark := progress.eventTime.get("watermark"):
            moment = datetime.fromisoformat(watermark).timestamp()
            self._recorder.set("retailpulse_job_watermark_timestamp_seconds", moment)

    def retried(self, store: str) -> None:
        """Count a try that failed because a store did not answer.

        Parameters
        ----------
        store : str
            The store's name.
        """
        self._recorder.add("retailpulse_store_retries_total", store=store)

    def read_table(self, state: TableState) -> None:
        """Take in that a reference table was read, or could not be.

        Parameters
        ----------
        state : TableState
            What the run knows of the table.
        """
        self._recorder.set("retailpulse_job_reference_read_timestamp_seconds", state.read_ms / 1000, table=state.name)
        self._recorder.add("retailpulse_job_reference_failures_total", int(bool(state.error)), table=state.name)

    def _reached(self, offsets: dict[str, dict[str, int]]) -> None:
        # Of the topic whose end it is compared with: another output may read a second one.
        if self._topic in offsets:
            self._recorder.tell(offset=sum(offsets[self._topic].values()))
