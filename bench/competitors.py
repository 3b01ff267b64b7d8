"""What a user would write instead: the same topic and the same figures by other engines, in their own environment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from rich import box
from rich.console import RenderableType
from rich.table import Table

from bench.feed import Feed
from bench.lab import Lab
from bench.results import Timeline
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.kafka.config import client_config

__all__ = ["COMPETITORS", "Competitor", "as_table", "run", "verdict"]

_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "requirements-competitors.txt"


@dataclass(frozen=True)
class Competitor:
    """One way to write the metrics job without RetailPulse.

    Attributes
    ----------
    title : str
        For the table.
    program : str
        The file in ``bench/competing``.
    settings : str
        How it is run.
    lacks : str
        What it can't do that the metrics job does.
    options : dict
        More for its task.
    """

    title: str
    program: str
    settings: str
    lacks: str
    options: Mapping[str, Any] = field(default_factory=dict)


_NOTHING_DURABLE = "no dedup across restarts, no exactly-once, no durable state, one store, no account of bad and late"

COMPETITORS = {
    "polars": Competitor(
        "confluent-kafka 2.12.2 + polars 2.1.0, a plain loop", "polars_loop.py", "defaults", _NOTHING_DURABLE,
        {"tuned": False},
    ),
    "polars-tuned": Competitor(
        "the same, tuned", "polars_loop.py", "queued.min.messages=1000000, fetch.queue.backoff.ms=10",
        _NOTHING_DURABLE, {"tuned": True},
    ),
    "bytewax": Competitor(
        "Bytewax 0.21.1", "bytewax_flow.py", "1 worker, batches of 10,000, the same tuning, no recovery store",
        "as run: state in memory; with its recovery store at-least-once; one store, no account of bad and late",
    ),
    "pathway": Competitor(
        "Pathway 0.33.0", "pathway_flow.py", "2 threads, commit every second, no persistence",
        "as run: state in memory; no decimal type; one store, no account of bad and late",
    ),
    "quix": Competitor(
        "Quix Streams 3.28.0", "quix_app.py", "RocksDB, changelog topics, rekeyed by a topic, at-least-once",
        "ids never forgotten; sinks at-least-once; one store, no account of bad and late",
    ),
}  # fmt: skip


def run(lab: Lab, feed: Feed, name: str) -> Timeline:
    """Measure one in a fresh process, and say whether its result is right.

    Raises
    ------
    RetailPulseError
        Its environment can't be built, or it failed.
    """
    competitor = COMPETITORS[name]
    python = _environment(lab)
    settings = lab.namespace("versus")
    cassandra = settings.profile.cassandra
    task = {
        "bootstrap": settings.profile.kafka.bootstrap,
        "topic": feed.topic,
        "hosts": cassandra.hosts,
        "port": cassandra.port,
        "keyspace": settings.namespace.keyspace,
        **competitor.options,
    }
    command = [str(python), str(_HERE / "competing" / competitor.program), json.dumps(task)]
    child = lab.start(command, name=name, env={"PATHWAY_THREADS": "2"})
    try:
        with lab.ended(child):
            marks = child.result(timeout=120 + feed.messages / 1_000)["marks"]
        found = _verdict(settings, feed)
    finally:
        _delete_own_topics(settings)
        lab.forget("versus")
    # They have no compiler to warm up: their first mark is when they begin to read.
    return Timeline(child.started, [(count, moment) for count, moment in marks], note=found)


def _verdict(settings: Settings, feed: Feed) -> str:
    """Whether what stands in Cassandra is what the topic truly holds."""
    store = CassandraStore(settings)
    found = store.query("select sum(events) as events, sum(revenue) as revenue, sum(orders) as orders from figures")
    store.close()
    return verdict(found.iloc[0].to_dict(), feed.truth)


def verdict(found: Mapping[str, Any], truth: Mapping[str, Any]) -> str:
    """Compare sums with the truth, with or without late events.

    >>> none = {"currencies": {}}
    >>> truth = {"accepted": 9, "late": 1, "figures": none, "figures_with_late": none}
    >>> verdict({"events": 11, "revenue": 0, "orders": 0}, truth)
    'result WRONG (events +1)'
    """
    with_late = _sums(truth["accepted"] + truth["late"], truth["figures_with_late"])
    if found == with_late:
        return "result right"
    if found == _sums(truth["accepted"], truth["figures"]):
        return "result right, late events left out"
    wrong = {name: found[name] - value for name, value in with_late.items() if found[name] != value}
    return f"result WRONG ({', '.join(f'{name} {by:+}' for name, by in wrong.items())})"


def _sums(events: int, figures: Mapping[str, Any]) -> dict[str, Any]:
    currencies = figures["currencies"].values()
    return {
        "events": events,
        "revenue": sum((Decimal(currency["revenue"]) for currency in currencies), Decimal(0)),
        "orders": sum(currency["orders"] for currency in currencies),
    }


def as_table(names: Sequence[str]) -> RenderableType:
    """How the competitors are run, and what they can't do."""
    table = Table(box=box.SIMPLE_HEAD, title="The others", title_justify="left")
    for title in ("", "settings", "lacks"):
        table.add_column(title)
    for name in names:
        competitor = COMPETITORS[name]
        table.add_row(competitor.title, competitor.settings, competitor.lacks)
    return table


def _environment(lab: Lab) -> Path:
    """The Python of the competitors' environment; built when it is missing or its lock has changed."""
    folder = lab.folder / "competitors"
    python = folder / "bin" / "python"
    mark = folder / "lock.sha256"
    wanted = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()
    if mark.is_file() and mark.read_text() == wanted:
        return python
    lab.say("building the competitors' environment")
    shutil.rmtree(folder, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(_REQUIREMENTS)],
    ):
        done = subprocess.run([uv, *arguments], env=_uv_variables(), capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["uv said nothing"]
            raise RetailPulseError(f"The competitors' environment can't be built: {said[-1].strip()}")
    mark.write_text(wanted)
    return python


def _uv_variables() -> dict[str, str]:
    """The environment for uv, which reads no pip configuration, where a mirror is usually set up."""
    variables = dict(os.environ)
    if "UV_DEFAULT_INDEX" not in variables:
        command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        index = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if index:
            variables["UV_DEFAULT_INDEX"] = index
    return variables


def _delete_own_topics(settings: Settings) -> None:
    """Remove the changelog and repartition topics that an engine has made for its state."""
    admin = AdminClient(client_config(settings))
    mark = f"__{settings.namespace.name}-"
    own = [name for name in admin.list_topics(timeout=10).topics if mark in name]
    for future in (admin.delete_topics(own, operation_timeout=10) if own else {}).values():
        try:
            future.result(timeout=10)
        except KafkaException:
            continue  # another one's cleaning up was faster
