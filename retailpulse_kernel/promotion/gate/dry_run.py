"""The dry run: the notebook, as production runs it, on a sample of the live events in a shadow namespace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from retailpulse_kernel.ground.errors import EventError, JobError, RetailPulseError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.notebooks.files import read_notebook
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.promotion.gate.isolation import explained, run_apart
from retailpulse_kernel.promotion.registry.manifest import Step
from retailpulse_kernel.shop.formats.reading import topic_reader
from retailpulse_kernel.shop.lateness import PartitionClock
from retailpulse_kernel.shop.tables import FigureTable
from retailpulse_kernel.stores.base import EventArchive, FigureStore, RowStore
from retailpulse_kernel.stores.confinement import Refusal, refusals
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.registry import can, event_archive, figure_store, row_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.streaming.plan.data import Plan, RowsPlan, TablePlan
from retailpulse_kernel.streaming.run.context import RunContext
from retailpulse_kernel.streaming.run.report import met

__all__ = ["dry_run"]

#: Seconds that a notebook has for the sample.
_SECONDS = 3600


def dry_run(
    live: Settings,
    shadow: Settings,
    notebook: Path,
    given: Mapping[str, str],
    plan: Plan | None,
    *,
    copied: Mapping[str, int],
) -> Iterator[Step]:
    """Run a notebook in the shadow namespace, and check what the run left there.

    Parameters
    ----------
    live, shadow : Settings
        The live namespace, and the shadow namespace.
    notebook : Path
        The notebook.
    given : mapping of str to str
        The parameters that the notebook is run with.
    plan : Plan, optional
        The plan of the notebook's job; None for a notebook without a job.
    copied : mapping of str to int
        The number of messages in each of the shadow's topics that are read.

    Yields
    ------
    Step
        The steps of the gate, as they end.

    Raises
    ------
    UsageError
        The topic has no events.
    RetailPulseError
        A cell failed, or a server does not answer.
    """
    if plan is not None and not copied[plan.topic]:
        raise UsageError(
            f"The topic {live.namespace.topic(plan.topic)!r} holds no events for the dry run.",
            remedy="Feed some first: `retailpulse generate`.",
        )
    confined = shadow.confined()
    output = live.home / "runs" / shadow.namespace.name / "dry-run.ipynb"
    log = live.home / "logs" / "promote.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    request = msgspec.json.encode(Request(str(notebook), dict(given), str(output), live.namespace.name))
    before = len(refusals(confined))
    answer = run_apart(shadow, f"{__name__}:{perform.__name__}", request, timeout=_SECONDS, log=log)
    ran = msgspec.json.decode(answer, type=Ran)
    if refused := refusals(confined)[before:]:
        yield Step(
            "dry run", f"cell {_cell_of(output, refused[0])} is not allowed. {refused[0].what}", "refused", ok=False
        )
        return
    if ran.error is not None:
        raise JobError(explained(ran.error, shadow.namespace.name))
    counts = " and ".join(f"{count:,} messages of {topic}" for topic, count in copied.items())
    yield Step("dry run", f"{counts} in a shadow namespace, {ran.seconds:.0f} s", "ok")
    if plan is None:
        return
    yield _tables(shadow, plan)
    accounts = [account for account in read_accounts(shadow, further=True) if account.job == plan.job]
    yield from _failed(accounts)
    yield _conservation(shadow, plan, accounts)
    yield from _expectations(plan, accounts)
    yield from _late(shadow, plan)
    yield from _told(plan, "order", lambda rows: rows.uncertain)
    yield from _told(plan, "state", lambda rows: rows.endless)


@dataclass(frozen=True)
class Request:
    """What the other process is to run: a notebook, its parameters, where the copy goes, whose reference tables."""

    notebook: str
    given: dict[str, str]
    output: str
    tables_of: str


@dataclass(frozen=True)
class Ran:
    """How that went."""

    seconds: float = 0.0
    error: str | None = None


def perform(settings: Settings, request: bytes) -> bytes:
    """Run the notebook that a request names; in the other process.

    Parameters
    ----------
    settings : Settings
        The shadow namespace.
    request : bytes
        A `Request` as JSON.

    Returns
    -------
    bytes
        A `Ran` as JSON.
    """
    asked = msgspec.json.decode(request, type=Request)
    try:
        context = RunContext(tables_of=asked.tables_of)
        done = run_notebook(settings, Path(asked.notebook), asked.given, output=Path(asked.output), context=context)
    except RetailPulseError as error:
        return msgspec.json.encode(Ran(error=str(error)))
    return msgspec.json.encode(Ran(done.seconds))


def _cell_of(output: Path, refusal: Refusal) -> int:
    """The code cell that ran when something was refused, which may have happened in a process that it started."""
    cells = [cell for cell in read_notebook(output).cells if cell.cell_type == "code"]
    begun = [cell.metadata.get("papermill", {}).get("start_time") for cell in cells]
    return sum(start is not None and datetime.fromisoformat(start).timestamp() <= refusal.at for start in begun)


def _tables(shadow: Settings, plan: Plan) -> Step:
    rows: Counter[str] = Counter()
    problems: list[str] = []
    for table in plan.tables:
        if table.rows is not None:
            problems += _rows(row_store(table.store, shadow), table, rows)
        elif can(table.store, EventArchive):
            found = event_archive(shadow).query(f"select count(*) n, count(distinct event_id) ids from {table.name}")
            rows[table.name] = int(found["n"][0])
            if found["ids"][0] != found["n"][0]:
                problems.append(f"{table.name} holds an event twice")
        else:
            problems += _figures(figure_store(table.store, shadow), table.table, rows)
    empty = [name for name, count in rows.items() if not count]
    if problems:
        return Step("tables", "; ".join(problems), "failed", ok=False)
    counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    if empty:
        why = "no event of the sample meets the filter, or its windows are still open"
        return Step("tables", f"{counts} rows, keys unique; 0 rows in {', '.join(empty)}: {why}", "warning")
    return Step("tables", f"{counts} rows, keys unique", "ok")


def _late(shadow: Settings, plan: Plan) -> Iterator[Step]:
    """How many events of the sample a continuous run would call late; no order makes one late in this bounded run."""
    reader = topic_reader(shadow, plan.topic)
    clocks: dict[int, PartitionClock] = {}
    events = late = 0
    for message in KafkaStore(shadow).messages(shadow.namespace.topic(plan.topic)):
        clock = clocks.setdefault(message.partition, PartitionClock(plan.watermark_ms))
        place = (message.value, message.partition, message.offset)
        for event in reader.events(*place, arrival_ms=message.arrival_ms):
            if isinstance(event, EventError):
                continue
            event_ms = ms_of(event.event_time)
            events, late = events + 1, late + clock.is_late(event_ms)
            clock.advance(event_ms, message.arrival_ms)
    if late:
        watermark = f"a watermark of {plan.watermark_ms / 1_000:g} s"
        found = f"with {watermark}, a continuous run would call {late:,} of the sample's {events:,} events late"
        yield Step("lateness", found, "ok" if plan.watermark_ms else "warning")


def _rows(store: RowStore, table: TablePlan, counts: Counter[str]) -> Iterator[str]:
    """What is wrong with a table of rows; its rows are counted."""
    found = store.read_rows(table.row_table)
    counts[table.name] = found.num_rows
    key = list(table.row_table.key)
    if key and len({tuple(row.values()) for row in found.select(key).to_pylist()}) < found.num_rows:
        yield f"{table.name} has a key twice"


def _figures(store: FigureStore, table: FigureTable, counts: Counter[str]) -> Iterator[str]:
    """What is wrong with a table of figures; its rows are counted."""
    totals: dict[str, dict[str, Any]] = {}
    for grain in table.every:
        rows = store.read(table, grain)
        name = table.physical(grain)
        counts[name] = len(rows)
        if len({table.key(row, grain) for row in rows}) < len(rows):
            yield f"{name} has a key twice"
        if any(value is None for row in rows for value in table.key(row, grain)):
            yield f"{name} has a key without a value"
        totals[name] = {f.name: f.combine(r[f.name] for r in rows) for f in table.figures if f.rules.is_added}
    (first, wanted), *others = totals.items()
    for name, found in others:
        for figure, total in found.items():
            if total != wanted[figure]:
                yield f"{figure} is {wanted[figure]} in {first} and {total} in {name}"


def _told(plan: Plan, name: str, of: Callable[[RowsPlan], Sequence[str]]) -> Iterator[Step]:
    """What the plan says of the queries of rows, under one name."""
    said = [f"{table.name}: {one}" for table in plan.tables if table.rows for one in of(table.rows)]
    for number, one in enumerate(said):
        yield Step("" if number else name, one, "warning")


def _expectations(plan: Plan, accounts: Iterable[Account]) -> Iterator[Step]:
    """How many events of the sample met each expectation."""
    found: dict[str, Counter[str]] = {one.name: Counter() for one in plan.expectations}
    for account in accounts:
        for name, (violated, judged) in account.expectations.items():
            found.setdefault(name, Counter()).update(violated=violated, judged=judged)
    for number, (name, counts) in enumerate(found.items()):
        said = met(name, counts["violated"], counts["judged"])
        yield Step("" if number else "expectations", said, "warning" if counts["violated"] else "ok")


def _failed(accounts: Iterable[Account]) -> Iterator[Step]:
    """How many rows of the sample a function of the job failed for."""
    failed = Counter[str]()
    for account in accounts:
        failed[account.output] += account.failed_rows
    if said := ", ".join(
        f"{count:,} row{'' if count == 1 else 's'} of {output}" for output, count in failed.items() if count
    ):
        yield Step("functions", f"a function failed for {said}, which went to the dead-letter topic", "warning")


def _conservation(shadow: Settings, plan: Plan, accounts: Iterable[Account]) -> Step:
    """Whether each output has taken every message of its topics, and every event is accounted for."""
    offsets = KafkaStore(shadow).offsets
    held = {
        topic: sum(end - begin for begin, end in offsets(shadow.namespace.topic(topic)).values())
        for topic in plan.topics
    }
    taken = {output: Counter[str]() for output in plan.outputs}
    for account in accounts:
        names = ("consumed", "further_events", "accepted", "duplicate", "late", "bad")
        taken.setdefault(account.output, Counter()).update({n: getattr(account, n) for n in names})
    checks = [_output_of(taken[output], sum(held[t] for t in topics)) for output, topics in plan.outputs.items()]
    return next((check for check in checks if not check.ok), checks[0])


def _output_of(counts: Counter[str], held: int) -> Step:
    """Whether one output has accounted for so many messages."""
    parts = " + ".join(
        [f"{counts['accepted']:,}", *(f"{counts[name]:,} {name}" for name in ("duplicate", "late", "bad"))]
    )
    total = sum(counts[name] for name in ("accepted", "duplicate", "late", "bad"))
    ok = counts["consumed"] + counts["further_events"] == total and counts["consumed"] == held
    further = f" + {counts['further_events']:,} further events" if counts["further_events"] else ""
    found = f"{counts['consumed']:,}{further} = {parts}"
    return Step("conservation", found if ok else f"{found}, of {held:,} messages", "ok" if ok else "failed", ok=ok)
