"""The state of everything at a glance: servers with their versions, jobs with their lag."""

from __future__ import annotations

import html
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson

from retailpulse_kernel.ground.errors import RetailPulseError, UsageError
from retailpulse_kernel.ground.spans import moment_at
from retailpulse_kernel.stores.frames import to_frame
from retailpulse_kernel.streaming.checkpoint.accounts import Account

if TYPE_CHECKING:
    import pandas as pd

    from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["Status", "status_of"]

#: The artifact whose version is a server's, by its group in the lock.
_ARTIFACTS = {
    "kafka": ("kafka", "kafka_2.13"),
    "cassandra": ("cassandra", "cassandra-all"),
    "hbase": ("hbase", "hbase-server"),
    "hbase-thrift": ("hbase", "hbase-thrift"),
    "hive-metastore": ("hive", "hive-standalone-metastore-server"),
    "hiveserver2": ("hive", "hive-service"),
    "registry": ("registry", "apicurio-registry-app"),
}
#: Seconds of a job's newest batches from which its rate is taken.
_RATE_SECONDS = 60
_COUNTS = ("consumed", "accepted", "duplicate", "late", "bad")


@dataclass(frozen=True, repr=False)
class Status:
    """What `rp.status()` found; a notebook shows both tables.

    Attributes
    ----------
    servers : pandas.DataFrame
        name, state, healthy, version, address, memory_mb, uptime_s, detail.
    jobs : pandas.DataFrame
        job, epoch, batch, consumed, accepted, duplicate, late, bad, events_per_s (of the last minute), lag
        (messages of the topic that it has not taken yet), finished (when its last batch was, UTC).
    problem : str
        Why nothing is known of the jobs; empty otherwise.
    title : str
        Which profile and namespace.
    """

    servers: pd.DataFrame
    jobs: pd.DataFrame
    problem: str
    title: str

    def __repr__(self) -> str:
        jobs = self.problem or (self.jobs.to_string(index=False) if len(self.jobs) else "No job has run here yet.")
        return f"{self.title}\n\n{self.servers.to_string(index=False)}\n\n{jobs}"

    def _repr_html_(self) -> str:
        if self.problem or not len(self.jobs):
            jobs = f"<p>{html.escape(self.problem or 'No job has run here yet.')}</p>"
        else:
            jobs = self.jobs.to_html(index=False, border=0)
        return f"<p><b>{html.escape(self.title)}</b></p>{self.servers.to_html(index=False, border=0)}{jobs}"


def status_of(bench: Workbench) -> Status:
    """Ask every server something real, and read the jobs' accounts.

    Parameters
    ----------
    bench : Workbench
        Whose servers and namespace.
    """
    settings = bench.settings
    with ThreadPoolExecutor(2) as pool:
        servers = pool.submit(_servers, bench)
        jobs = pool.submit(_jobs, bench)
        problem = ""
        try:
            found = jobs.result()
        except RetailPulseError as error:
            found, problem = _job_frame({}, {}), f"Jobs: {error}"
        title = f"profile {settings.profile_name}, namespace {settings.namespace.name}"
        return Status(servers.result(), found, problem, title)


def _servers(bench: Workbench) -> pd.DataFrame:
    from retailpulse_kernel.stack import supervision

    rows = [
        (s.name, s.state, s.healthy, _version(bench, s.name) if s.healthy else "", s.address, s.memory_mb, s.uptime_s,
         s.detail)
        for s in supervision.status(bench.settings)
    ]  # fmt: skip
    names = ["name", "state", "healthy", "version", "address", "memory_mb", "uptime_s", "detail"]
    return to_frame(names, rows, {2: "boolean", 5: "float", 6: "float"})


def _version(bench: Workbench, service: str) -> str:
    """What a server says it is; where its protocol can't tell (Kafka, HBase), what was locked for this machine."""
    try:
        if service == "cassandra":
            return bench.cassandra.ping()
        if service == "hiveserver2":
            return bench.hive.ping()
    except RetailPulseError:
        return ""
    return _locked(service) if bench.settings.profile.name == "local" else ""


def _locked(service: str) -> str:
    from retailpulse_kernel.machine import artifacts

    if service == "spark-connect":
        return version("pyspark")
    if service not in _ARTIFACTS:
        return ""
    group, name = _ARTIFACTS[service]
    coordinates = (artifact.coordinate.split(":") for artifact in artifacts.artifacts([group]))
    return next((version for _, found, version, *_ in coordinates if found == name), "")


def _jobs(bench: Workbench) -> pd.DataFrame:
    try:
        messages = list(bench.kafka.messages("progress"))
        ends = {str(partition): end for partition, (_, end) in bench.kafka.offsets().items()}
    except UsageError:  # a namespace without topics has no jobs
        return _job_frame({}, {})
    by_job: dict[str, dict[str, Account]] = {}
    for message in messages:
        account = _account(message.value)
        if account is not None:  # a batch that was done again has the same key
            by_job.setdefault(account.job, {})[account.key] = account
    accounts = {job: list(found.values()) for job, found in by_job.items()}
    return _job_frame(accounts, ends, bench.settings.namespace.events_topic)


def _account(value: bytes | None) -> Account | None:
    """A record of the progress topic; None for a removed one, and for what someone else put there."""
    try:
        return Account(**orjson.loads(value)) if value else None
    except (TypeError, ValueError):
        return None


def _job_frame(by_job: Mapping[str, list[Account]], ends: Mapping[str, int], topic: str = "") -> pd.DataFrame:
    rows: list[list[Any]] = []
    for job, accounts in sorted(by_job.items()):
        newest = max(accounts, key=lambda account: (account.epoch, account.batch))
        of_epoch = [account for account in accounts if account.epoch == newest.epoch]
        taken: dict[str, int] = {}
        for account in sorted(of_epoch, key=lambda account: account.batch):
            taken |= account.offsets.get(topic, {})
        since = datetime.now(UTC).timestamp() * 1000 - _RATE_SECONDS * 1000
        recent = sum(account.consumed for account in of_epoch if account.finished_ms > since)
        rows.append(
            [
                job, newest.epoch, newest.batch,
                *(sum(getattr(account, name) for account in of_epoch) for name in _COUNTS),
                recent / _RATE_SECONDS,
                sum(max(end - taken.get(partition, 0), 0) for partition, end in ends.items()),
                moment_at(newest.finished_ms),
            ]
        )  # fmt: skip
    names = ["job", "epoch", "batch", *_COUNTS, "events_per_s", "lag", "finished"]
    counted = dict.fromkeys([*range(1, 3 + len(_COUNTS)), len(names) - 2], "integer")
    return to_frame(names, rows, {**counted, len(names) - 3: "float", len(names) - 1: "time"})  # type: ignore[dict-item]
