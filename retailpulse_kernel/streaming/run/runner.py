"""How a job runs: start the query, watch it, wait for stores that are down, stop in order."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import filelock
import tenacity

from retailpulse_kernel.ground.errors import JobError, RetailPulseError, StoreUnavailable, cause_line
from retailpulse_kernel.ground.retrying import passes
from retailpulse_kernel.ground.spans import milliseconds
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import clock_warning
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Ledger, untaken
from retailpulse_kernel.streaming.checkpoint.epochs import committed_batch, logged_batch, newest_batch, open_epoch
from retailpulse_kernel.streaming.checkpoint.writer import drain_file, writer_lock
from retailpulse_kernel.streaming.intake.data_loss import DataLossCheck
from retailpulse_kernel.streaming.intake.judging import ACCEPTED, AHEAD, BAD, LATE, OBSERVED_INTAKE, OBSERVED_UNIQUE
from retailpulse_kernel.streaming.plan.data import read_plan, write_plan
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.streaming.run.report import Report, shown
from retailpulse_kernel.telemetry.jobs import JobMetrics
from retailpulse_kernel.telemetry.recording import recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame
    from pyspark.sql.streaming import StreamingQuery

    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["Runner"]

_DRAIN_SECONDS = 60.0
_POLL_SECONDS = 0.2
_SHOW_SECONDS = 2.0
#: How often in a row a query is started again that Spark itself ended for what passes.
_RESTARTS = 5


class _Stopped(Exception):
    """The run was asked to stop while it waited for a store."""


class Runner:
    """One run of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._sink = job.sink()
        self._epoch = open_epoch(job.checkpoints)
        self._drain = drain_file(job.settings, job.name)
        self._report = Report(job.name, job.settings.namespace.name, self._epoch.number)
        self._ledger = Ledger(job.settings)
        self._kafka = KafkaStore(job.settings)
        self._data_loss = DataLossCheck(job, self._epoch)
        self._query: StreamingQuery | None = None
        self._failure: BaseException | None = None
        self._restarts = 0
        self._deadline = time.monotonic() + job.run_for.total_seconds() if job.run_for else None

    def run(self) -> Report:
        """Run to the end; the report says how it went.

        Raises
        ------
        JobError
            The query failed for a reason that waiting does not mend.
        """
        with self._only_writer(), self._measured(), shown(self._report) as show:
            try:
                self._require_compatible_plan()
                # Only now, as no other run changes the epoch's window state any more.
                self._sink = self._job.sink(self._epoch)
                self._patiently(lambda: self._kafka.require(self._job.topic))
                self._patiently(self._sink.create)
                self._patiently(self._data_loss.check)
                self._start_epoch()
                while self._run_query(show):
                    pass
            except (_Stopped, KeyboardInterrupt):
                self._stop_query()
                self._report.state = "stopped"
            except BaseException as error:
                self._stop_query()
                self._report.state = f"failed: {error}"
                self._report.fail(error)
                raise
            self._report.lag = self._left()
        return self._report

    # -- the query --------------------------------------------------------------------------

    def _run_query(self, show: Any) -> bool:
        """Run the query until it ends; True when it should be started again."""
        self._failure = None
        self._report.state = "running"
        query = self._query = self._start()
        shown = 0.0
        while not _ended(query):
            if self._stop_asked() or self._has_caught_up():
                self._stop_query()
                break
            self._metrics.follow(query)
            if time.monotonic() - shown > _SHOW_SECONDS:
                self._report.lag = _lag(query)
                show()
                shown = time.monotonic()
        error = query.exception()
        if error is None or self._stop_asked():
            self._report.state = "stopped" if self._stop_asked() else "finished"
            return False
        return self._recover(error)

    def _require_compatible_plan(self) -> None:
        """Refuse to go on from a state of other figures, which Spark would take for these."""
        from retailpulse_kernel.streaming.run.changes import Effect, compare

        before = read_plan(self._epoch.path)
        if before is None or newest_batch(self._epoch.path) is None:
            return
        reasons = [d.reason for d in compare(before, plan_of(self._job)) if d.effect is Effect.EPOCH]
        if reasons:
            raise JobError(
                f"The job {self._job.name!r} can't go on from its checkpoint: {reasons[0]}.",
                remedy=f"{self._job.new_epoch_remedy} Or promote the notebook.",
            )

    def _start_epoch(self) -> None:
        """Let the sink discard what a new epoch will write again; only while the epoch has no batch."""
        begin = {partition: first for partition, (first, _) in self._kafka.offsets(self._job.topic).items()}
        done = committed_batch(self._epoch.path)
        self._report.begin = done.offsets if done else {self._job.topic: {str(p): o for p, o in begin.items()}}
        if newest_batch(self._epoch.path) is None:
            self._patiently(lambda: self._sink.start_epoch(self._epoch, begin))
        write_plan(self._epoch.path, plan_of(self._job))
        self._patiently(self._warn_of_producer_time)

    def _warn_of_producer_time(self) -> None:
        """Tell of a topic whose messages carry their producer's time."""
        if warning := clock_warning(self._job.settings.within(self._job.source_namespace.name), [self._job.topic]):
            self._report.producer_time = True
            print(f"{time.strftime('%H:%M:%S')} {self._job.name}: {' '.join(warning)}", flush=True)

    def _start(self) -> StreamingQuery:
        job = self._job
        writer = (
            job.result(self._epoch)
            .writeStream.queryName(job.name)
            .outputMode("update")
            .option("checkpointLocation", self._epoch.path)
            .foreachBatch(self._write_batch)
        )
        if job.mode == "available_now":
            return writer.trigger(availableNow=True).start()
        return writer.trigger(processingTime=f"{int(job.trigger.total_seconds() * 1000)} milliseconds").start()

    def _recover(self, error: Exception) -> bool:
        """Wait when Kafka is what failed; anything else is the job's own failure."""
        if isinstance(self._failure, _Stopped):
            raise self._failure
        cause = self._failure or error
        # What a worker raised arrives as the text of its traceback.
        from_worker = StoreUnavailable.__name__ in str(cause)
        try:
            self._kafka.ping()
            reachable = True
        except StoreUnavailable:
            reachable = False
        if not reachable:
            self._patiently(self._kafka.ping)
        # A reader says only that offsets are not there: what became of the topic is looked at here.
        went_on = self._patiently(self._data_loss.check)
        if went_on or not reachable or from_worker or isinstance(cause, StoreUnavailable):
            return True
        if isinstance(cause, RetailPulseError):
            raise cause
        if passes(cause) and self._restarts < _RESTARTS:
            self._restarts += 1
            print(
                f"{time.strftime('%H:%M:%S')} {self._job.name} starts its query again: {cause_line(cause)}", flush=True
            )
            return True
        raise JobError(
            f"The job {self._job.name!r} failed: {cause_line(cause).rstrip('.')}.",
            remedy="The topic still holds every message that the job has not taken: started again, it resumes from "
            "its checkpoint and nothing is lost.",
        ) from error

    def _write_batch(self, frame: DataFrame, batch_id: int) -> None:
        """Write one micro-batch and its account; Spark commits the batch when this returns."""
        started_ms = int(time.time() * 1000)
        try:
            rows = self._patiently(self._sink.compute(frame, epoch=self._epoch, batch=batch_id))
            account = self._account(batch_id, rows, started_ms)
            if account is not None:
                self._patiently(lambda: self._ledger.write(account))
                self._report.add(account)
                self._restarts = 0
                self._metrics.add(account)
        except BaseException as error:
            self._failure = error  # what Spark hands on is only its text
            raise

    def _account(self, batch_id: int, rows: int, started_ms: int) -> Account | None:
        """The batch's account; None for a batch without messages, which Spark runs to free state."""
        observed = self._observed()
        intake, unique = observed.get(OBSERVED_INTAKE, {}), observed.get(OBSERVED_UNIQUE, {})
        read = {status: intake.get(status) or 0 for status in (ACCEPTED, LATE, BAD)}
        accepted = unique.get(ACCEPTED) or 0
        consumed = sum(read.values())
        logged = logged_batch(self._epoch.path, batch_id)
        lost = 0 if logged is None else self._data_loss.lost(logged)
        if not (consumed or lost) or logged is None:
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
            arrived_ms=intake.get("arrived_ms"),
            bounded=self._job.mode == "available_now",
            delay_ms=milliseconds(self._job.watermark),
            start_ms=self._epoch.start_ms,
            ahead=intake.get(AHEAD) or 0,
            ahead_ms=intake.get("ahead_ms") or 0,
            held=True,
            lost=lost,
        )

    def _observed(self) -> dict[str, dict[str, int]]:
        """The counts that the running batch observed.

        Spark hands them to listeners only after the commit, which is too late for an account
        that must not be lost; the query's own execution has them as soon as they are computed.
        """
        assert self._query is not None
        metrics = self._query._jsq.streamingQuery().lastExecution().observedMetrics()
        found: dict[str, dict[str, int]] = {}
        names = metrics.keySet().iterator()
        while names.hasNext():
            name = names.next()
            row = metrics.apply(name)
            fields = row.schema().fieldNames()
            found[name] = {field: row.get(i) for i, field in enumerate(fields)}
        return found

    # -- waiting and stopping ---------------------------------------------------------------

    def _patiently(self, action: Any) -> Any:
        """Do something as often as it takes for a store to come back."""

        def waiting(state: tenacity.RetryCallState) -> None:
            assert state.outcome is not None
            self._metrics.retried(getattr(state.outcome.exception(), "store", ""))
            self._report.state = f"waiting: {state.outcome.exception()}"
            self._report.fail(state.outcome.exception())
            print(f"{time.strftime('%H:%M:%S')} {self._job.name} is waiting: {state.outcome.exception()}", flush=True)

        def pause(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if self._stop_asked():
                    raise _Stopped
                time.sleep(_POLL_SECONDS)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            wait=tenacity.wait_exponential(multiplier=0.5, max=5),
            before_sleep=waiting,
            sleep=pause,
            reraise=True,
        )
        result = retrying(action)
        self._report.state = "running"
        return result

    def _left(self) -> int | None:
        """Messages in the topic that no batch has taken; None where Kafka does not say."""
        done = committed_batch(self._epoch.path)
        try:
            bounds = self._kafka.offsets(self._job.topic)
        except StoreUnavailable:
            return None
        return untaken(bounds, done.offsets.get(self._job.topic, {}) if done else {})

    def _stop_asked(self) -> bool:
        return self._job.context.stop_asked or (self._deadline is not None and time.monotonic() > self._deadline)

    def _has_caught_up(self) -> bool:
        """Whether the live job that is followed has stopped, and this one is where that is."""
        leader, topic = self._job.context.leader, self._job.topic
        if leader is None or not leader.has_stopped:
            return False
        done = committed_batch(self._epoch.path)
        taken = done.offsets.get(topic, {}) if done else {}
        bounds = {str(p): offsets for p, offsets in self._kafka.offsets(topic).items()}
        leader_ends = leader.ends(topic)
        # Of another topic there is nothing to compare with: all of it, then.
        ends = {p: end for p, (_, end) in bounds.items()} if leader_ends is None else leader_ends
        return all(taken.get(p, bounds[p][0]) >= end for p, end in ends.items() if p in bounds)

    def _stop_query(self) -> None:
        """Stop between two batches; a batch that outlasts the limit is cut off and done again later."""
        query = self._query
        if query is None or not query.isActive:
            return
        self._drain.touch()
        end = time.monotonic() + _DRAIN_SECONDS
        while query.isActive and query.status["isTriggerActive"] and time.monotonic() < end:
            time.sleep(_POLL_SECONDS / 10)
        query.stop()

    @contextmanager
    def _measured(self) -> Iterator[None]:
        """Leave the run's metrics for the monitor."""
        job, batch = self._job, newest_batch(self._epoch.path)
        with recording(job.settings, "job", job.name, job_name=job.name) as recorder:
            self._metrics = JobMetrics(recorder, job.topic, batch.offsets if batch else None)
            yield

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Keep a second run of the same job off its checkpoint."""
        job = self._job
        lock = writer_lock(job.settings, job.name)
        try:
            # A run that was just killed needs a moment to let go.
            lock.acquire(timeout=30)
        except filelock.Timeout:
            raise JobError(
                f"The job {job.name!r} runs already in the namespace {job.settings.namespace.name!r}.",
                remedy="Stop that run first, or use another namespace.",
            ) from None
        try:
            self._drain.unlink(missing_ok=True)
            yield
        finally:
            self._drain.unlink(missing_ok=True)
            lock.release()


def _ended(query: StreamingQuery) -> bool:
    """Whether the query ends within a moment, be it by a failure, which `exception` then has."""
    from pyspark.errors import StreamingQueryException

    try:
        return bool(query.awaitTermination(_POLL_SECONDS))  # type: ignore[arg-type]
    except StreamingQueryException:
        return True


def _lag(query: StreamingQuery) -> int:
    """Messages behind the topic's end, from the query's last progress."""
    progress = query.lastProgress
    lag = 0
    for source in progress.sources if progress else ():
        taken, latest = (json.loads(text or "null") or {} for text in (source.endOffset, source.latestOffset))
        for topic, ends in latest.items():
            lag += sum(end - taken.get(topic, {}).get(partition, 0) for partition, end in ends.items())
    return lag
