"""How a job runs: start its queries, watch them, wait for stores that are down, stop all at one boundary."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import filelock
import tenacity

from retailpulse_kernel.ground.errors import JobError, RetailPulseError, StoreUnavailable, cause_line
from retailpulse_kernel.ground.retrying import passes
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import clock_warning
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Ledger, untaken
from retailpulse_kernel.streaming.checkpoint.epochs import open_epoch
from retailpulse_kernel.streaming.checkpoint.log import LoggedBatch, committed_batch, newest_batch
from retailpulse_kernel.streaming.checkpoint.outputs import forget_outputs
from retailpulse_kernel.streaming.checkpoint.writer import drain_file, write_drain, writer_lock
from retailpulse_kernel.streaming.intake.data_loss import DataLossCheck
from retailpulse_kernel.streaming.plan.data import read_plan, write_plan
from retailpulse_kernel.streaming.plan.finding import other_writer
from retailpulse_kernel.streaming.query.outputs import Output
from retailpulse_kernel.streaming.run.assembly import outputs_of, sinks_of
from retailpulse_kernel.streaming.run.failing import failing_function, function_failed, spark_ended, told_cause
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.streaming.run.queries import POLL_SECONDS, OutputQuery
from retailpulse_kernel.streaming.run.report import Report, shown
from retailpulse_kernel.telemetry.jobs import JobMetrics
from retailpulse_kernel.telemetry.recording import recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from retailpulse_kernel.streaming.reference.refreshing import TableState
    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["Runner"]

_DRAIN_SECONDS = 60.0
_START_SECONDS = 30.0
_SHOW_SECONDS = 2.0
#: How often in a row a query is started again that Spark itself ended for what passes.
_RESTARTS = 5


class _Stopped(Exception):
    """The run was asked to stop while it waited for a store."""


class Runner:
    """One run of a job."""

    def __init__(self, job: Job) -> None:
        job.require_output()
        self._job = job
        self._epoch = open_epoch(job.checkpoints)
        self._drain = drain_file(job.settings, job.name)
        self._report = Report(job.name, job.settings.namespace.name, self._epoch.number)
        self._ledger = Ledger(job.settings)
        self._kafka = KafkaStore(job.settings)
        self._data_loss = DataLossCheck(job, self._epoch)
        self._references = job.references.of_run(self._epoch.path, self._told)
        self._queries: list[OutputQuery] = []
        self._counting = threading.Lock()  # each query's batches are written by a thread of its own
        self._deadline = time.monotonic() + job.run_for.total_seconds() if job.run_for else None

    def run(self) -> Report:
        """Run to the end; the report says how it went.

        Raises
        ------
        JobError
            Another job writes one of the tables, a query failed for a reason that waiting does not mend, or Spark's
            Java process has ended.
        FunctionFailed
            A Python function of the job fails on the same messages again.
        """
        with self._only_writer(), self._measured(), shown(self._report) as show:
            try:
                self._require_compatible_plan()
                self._require_own_tables()
                for topic in self._job.topics:
                    self.patiently(lambda topic=topic: self._kafka.require(topic))
                for sink in sinks_of(self._job):
                    self.patiently(sink.create)
                self.patiently(self._data_loss.check)
                self.patiently(self._references.begin)
                # Only now, as no other run changes the epoch's window state any more.
                outputs = outputs_of(self._job, self._epoch)
                self._start_epoch(outputs)
                self._queries = [*self._queries_of(outputs)]
                with self._references.followed():
                    self._run_queries(show)
            except (_Stopped, KeyboardInterrupt):
                self._stop_queries()
                self._report.state = "stopped"
            except BaseException as error:
                ended = spark_ended(error)
                if ended is None:
                    self._stop_queries()
                self._report.state = f"failed: {ended or error}"
                self._report.fail(ended or error)
                if ended is not None:
                    raise ended from error
                raise
            self._report.lag = self._left()
        return self._report

    # -- the queries ------------------------------------------------------------------------

    def _run_queries(self, show: Any) -> None:
        """Run the queries until all have ended; one that failed for what passes is started again."""
        if self._job.mode == "available_now":
            self._aim()
        for query in self._queries:
            self._begin(query)
        self._report.state = "running"
        shown, running = 0.0, list(self._queries)
        while running:
            if self._stop_asked() or self._has_caught_up():
                self._stop_queries()
                break
            for query in [query for query in running if query.has_ended]:
                error = query.error
                if error is not None and not self._stop_asked() and self._may_restart(query, error):
                    self._begin(query)
                else:
                    running.remove(query)
            if (first := self._queries[0].query) is not None:
                self._metrics.follow(first)
            if time.monotonic() - shown > _SHOW_SECONDS:
                self._report.lag = max((query.lag for query in running), default=0)
                show()
                shown = time.monotonic()
        self._report.state = "stopped" if self._stop_asked() else "finished"

    def _queries_of(self, outputs: list[Output]) -> Iterator[OutputQuery]:
        """The queries; a topic's expectations are counted by the first that reads it."""
        judged: set[str] = set()
        for number, output in enumerate(outputs):
            topics = {reader.topic for reader in output.readers} - judged
            judged |= topics
            yield OutputQuery(self._job, output, self._epoch, self, further=number > 0, judges=topics)

    def _begin(self, query: OutputQuery) -> None:
        """Start a query. Several start one after another: Spark waits ten seconds for a source's own process."""
        query.start()
        if len(self._queries) > 1:
            end = time.monotonic() + _START_SECONDS
            _wait(lambda: self._stop_asked() or not query.is_starting, end)

    def _aim(self) -> None:
        """Let all queries of a bounded run end at the same offsets: at what the topics hold now."""
        ends = {}
        for topic in self._job.topics:
            bounds = self.patiently(lambda topic=topic: self._kafka.offsets(topic))
            ends[topic] = {str(partition): end for partition, (_, end) in bounds.items()}
        write_drain(self._drain, ends)

    def _require_compatible_plan(self) -> None:
        """Refuse to go on from a state of other figures, which Spark would take for these."""
        from retailpulse_kernel.streaming.run.changes import Effect, again, compare

        before = read_plan(self._epoch.path)
        if before is None or newest_batch(self._epoch.path) is None:
            return
        plan = plan_of(self._job)
        reasons = [d.reason for d in compare(before, plan) if d.effect >= Effect.EPOCH]
        reasons += again(self._epoch.path, plan)
        if reasons:
            raise JobError(
                f"The job {self._job.name!r} can't go on from its checkpoint: {reasons[0]}.",
                remedy=f"{self._job.new_epoch_remedy} Or promote the notebook.",
            )

    def _require_own_tables(self) -> None:
        """Refuse a table of rows that another job keeps, before anything of it is changed."""
        taken = other_writer(self._job.settings, plan_of(self._job))
        if taken is not None:
            table, other = taken
            earlier = f"`retailpulse retire {other} --keep-tables{self._job.settings.namespace.option}`"
            raise JobError(
                f"The table {table!r} is written by the job {other!r}: each would replace the other's rows.",
                remedy=f"Give the table of {self._job.name!r} another name. If this job was renamed, let go of the "
                f"earlier one: {earlier}.",
            )

    def _start_epoch(self, outputs: list[Output]) -> None:
        """Let the sinks discard what a new epoch will write again, and forget the queries that are no more."""
        done = committed_batch(self._epoch.path)
        begin = {t: {p: first for p, (first, _) in self._kafka.offsets(t).items()} for t in self._job.topics}
        starts = {topic: {str(p): first for p, first in firsts.items()} for topic, firsts in begin.items()}
        self._report.begin = done.offsets if done else starts
        if newest_batch(self._epoch.path) is None:
            for output in outputs:
                self.patiently(lambda output=output: output.sink.start_epoch(self._epoch, begin[self._job.topic]))
        forget_outputs(self._epoch.path, {output.name for output in outputs})
        write_plan(self._epoch.path, plan_of(self._job))
        self.patiently(self._warn_of_producer_time)

    def _warn_of_producer_time(self) -> None:
        """Tell of a topic whose messages carry their producer's time."""
        if warning := clock_warning(self._job.settings.within(self._job.source_namespace.name), self._job.topics):
            self._report.producer_time = True
            print(f"{time.strftime('%H:%M:%S')} {self._job.name}: {' '.join(warning)}", flush=True)

    def _may_restart(self, query: OutputQuery, error: Exception) -> bool:
        """Wait when Kafka is what failed, or what opens its messages; anything else is the job's own failure."""
        if isinstance(query.failure, _Stopped):
            raise query.failure
        cause = query.failure or error
        # What a worker raised arrives as the text of its traceback.
        from_worker = StoreUnavailable.__name__ in str(cause)
        try:
            self._kafka.ping()
            reachable = True
        except StoreUnavailable:
            reachable = False
        if not reachable:
            self.patiently(self._kafka.ping)
        # A reader says only that offsets are not there: what became of the topic is looked at here.
        went_on = self.patiently(self._data_loss.check)
        if went_on or not reachable or from_worker or isinstance(cause, StoreUnavailable):
            if from_worker and reachable:  # what opens the messages waited for another server
                self._waits(cause_line(cause))
            return True
        if isinstance(cause, RetailPulseError):
            raise cause
        function, said = failing_function(cause), told_cause(self._job, query.output.name, cause)
        if function is not None and query.restarts:
            # Spark's own words would quote the value all the same.
            hides = said != cause_line(cause)
            raise function_failed(self._job, query, function, cause) from (None if hides else error)
        if function is not None or (passes(cause) and query.restarts < _RESTARTS):
            query.restarts += 1
            print(f"{time.strftime('%H:%M:%S')} {self._job.name} starts its query again: {said}", flush=True)
            return True
        raise JobError(
            f"The job {self._job.name!r} failed: {said.rstrip('.')}.",
            remedy="The topic still holds every message that the job has not taken: started again, it resumes from "
            "its checkpoint and nothing is lost.",
        ) from error

    # -- for the queries --------------------------------------------------------------------

    def lost(self, batch: LoggedBatch, output: str) -> int:
        """How many messages of a batch were gone before it.

        Parameters
        ----------
        batch : LoggedBatch
            The batch.
        output : str
            The output whose query has it.
        """
        return self._data_loss.lost(batch, output)

    def done(self, account: Account) -> None:
        """Publish the account of a batch that is written, and count it.

        Parameters
        ----------
        account : Account
            What became of its messages.
        """
        self.patiently(lambda: self._ledger.write(account))
        with self._counting:
            self._report.add(account)
            self._metrics.judge(account)
            if not account.further:
                self._metrics.add(account)

    def _told(self, state: TableState) -> None:
        """Show what has become of a reference table."""
        before = self._report.tables.get(state.name)
        self._report.tables[state.name] = state
        self._metrics.read_table(state)
        if state.error and (before is None or before.error != state.error):
            said = f"{self._job.name} goes on with version {state.version} of the reference table {state.name}"
            print(f"{time.strftime('%H:%M:%S')} {said}: {state.error}", flush=True)

    # -- waiting and stopping ---------------------------------------------------------------

    def patiently(self, action: Any) -> Any:
        """Do something as often as it takes for a store to come back.

        Parameters
        ----------
        action : callable
            Raises `StoreUnavailable` while the store is away.
        """

        def waiting(state: tenacity.RetryCallState) -> None:
            assert state.outcome is not None
            error = state.outcome.exception()
            self._metrics.retried(getattr(error, "store", ""))
            self._report.fail(error)
            self._waits(str(error))

        def pause(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if self._stop_asked():
                    raise _Stopped
                time.sleep(POLL_SECONDS)

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

    def _waits(self, why: str) -> None:
        """Say what the run waits for."""
        self._report.state = f"waiting: {why}"
        print(f"{time.strftime('%H:%M:%S')} {self._job.name} is waiting: {why}", flush=True)

    def _left(self) -> int | None:
        """Messages in the topics that not every query has taken; None where Kafka does not say."""
        done = committed_batch(self._epoch.path)
        taken = done.offsets if done else {}
        try:
            return sum(untaken(self._kafka.offsets(topic), taken.get(topic, {})) for topic in self._job.topics)
        except StoreUnavailable:
            return None

    def _stop_asked(self) -> bool:
        return self._job.context.stop_asked or (self._deadline is not None and time.monotonic() > self._deadline)

    def _has_caught_up(self) -> bool:
        """Whether the live job that is followed has stopped, and this one is where that is."""
        leader = self._job.context.leader
        if leader is None or not leader.has_stopped:
            return False
        ends: dict[str, dict[str, int]] = {}
        for topic in self._job.topics:
            bounds = {str(p): offsets for p, offsets in self._kafka.offsets(topic).items()}
            leader_ends = leader.ends(topic)
            # Of another topic there is nothing to compare with: all of it, then.
            known = {p: end for p, (_, end) in bounds.items()} if leader_ends is None else leader_ends
            ends[topic] = {p: end for p, end in known.items() if p in bounds and end > bounds[p][0]}
        return all(query.has_taken(ends) for query in self._queries)

    def _stop_queries(self) -> None:
        """Stop all queries at the same offsets; a batch that outlasts the limit is cut off and done again later."""
        active = [query for query in self._queries if query.is_active]
        if not active:
            return
        end = time.monotonic() + _DRAIN_SECONDS
        # Nothing new for any of them: then it is known how far the first of them has gone.
        write_drain(self._drain, {})
        _wait(lambda: not any(query.is_busy for query in active), end)
        ends: dict[str, dict[str, int]] = {}
        for logged in [query.logged for query in self._queries]:
            for topic, offsets in logged.offsets.items() if logged else ():
                known = ends.setdefault(topic, {})
                known |= {p: max(offset, known.get(p, offset)) for p, offset in offsets.items()}
        if len(self._queries) > 1:
            write_drain(self._drain, ends)
            _wait(lambda: all(query.has_taken(ends) or not query.is_active for query in active), end)
        _wait(lambda: not any(query.is_busy for query in active), end)
        for query in active:
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


def _wait(condition: Callable[[], bool], end: float) -> None:
    """Wait for a condition, until a moment of the monotonic clock at most."""
    while not condition() and time.monotonic() < end:
        time.sleep(POLL_SECONDS / 10)
