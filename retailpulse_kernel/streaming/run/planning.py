"""The plan of a job that a notebook has written down."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.spans import milliseconds
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.paths import path_text
from retailpulse_kernel.shop.events import CONTRACT
from retailpulse_kernel.shop.formats.opening import JSON
from retailpulse_kernel.streaming.plan.data import ExpectationPlan, FieldPlan, Plan, ReferencePlan, RowsPlan, TablePlan
from retailpulse_kernel.streaming.sinks.archive import ArchiveSink

if TYPE_CHECKING:
    from retailpulse_kernel.streaming.query.outputs import RowOutput
    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["plan_of", "under"]

#: A text in quotes, which stays as it is, or space between words.
_QUOTED_OR_SPACE = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`)|\s+""", re.DOTALL)

#: A text in a condition, and a name.
_TEXT = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*")


def plan_of(job: Job) -> Plan:
    """The plan of a job that has been written down but need not have run.

    Parameters
    ----------
    job : Job
        Its streams and stores are looked at, not its topic.

    Raises
    ------
    JobError
        It writes nothing.
    """
    job.require_output()
    tables = [TablePlan.describing(stream.table, store.name) for stream, store in job.writes.figures]
    if job.writes.archive is not None:
        archive = ArchiveSink(job.writes.archive[1])
        tables.append(TablePlan(archive.table, archive.store_name))
    tables += [_of_rows(output, job.topic_name) for output in job.writes.rows]
    read = {job.topic_name: _named(tables, job.conditions)}
    if job.writes.archive is not None:
        read[job.topic_name] |= job.contract.types.keys()
    for output in job.writes.rows:
        for reader, columns in zip(output.readers, output.columns, strict=True):
            read.setdefault(reader.topic, set()).update(columns)
    for topic, expectation in job.reading.expectations.all:
        read.setdefault(topic, set()).update(_named((), [expectation.condition]))
    return Plan(
        job=job.name,
        topic=job.topic_name,
        unique_by=job.unique_by,
        watermark_ms=milliseconds(job.watermark),
        conditions=tuple(map(_on_one_line, job.conditions)),
        output="change",
        rejects="publish" if job.publishes_rejects else "count",
        tables=tuple(tables),
        dedup_horizon_ms=None if job.dedup_horizon == job.watermark else milliseconds(job.dedup_horizon),
        revision=job.context.revision,
        contract=CONTRACT,
        fields=_fields(job.shop, read),
        words=_words(job.shop, read),
        formats=_formats(job.shop, read),
        models=tuple(sorted((model.name, model.sha256) for model in job.models)),
        expectations=tuple(
            ExpectationPlan(topic, one.name, _on_one_line(one.condition), one.otherwise)
            for topic, one in job.reading.expectations.all
        ),
    )


def under(plan: Plan, contract: Contract) -> Plan:
    """The plan that a job would have under another contract.

    Parameters
    ----------
    plan : Plan
        Of the job, under any contract.
    contract : Contract
        The other one.
    """
    tables = tuple(_counted(_joining(table, contract), contract) for table in plan.tables)
    read = {topic: {one.name for one in plan.fields if one.topic in ("", topic)} for topic in plan.topics}
    read[plan.topic] |= _named(tables, plan.conditions)
    if plan.archive is not None:
        read[plan.topic] |= contract.of_topic(plan.topic).types.keys()
    return replace(
        plan,
        tables=tables,
        fields=_fields(contract, read),
        words=_words(contract, read),
        formats=_formats(contract, read),
    )


def _joining(table: TablePlan, contract: Contract) -> TablePlan:
    """A table whose query joins the reference tables of a contract; one that the contract lacks is not among them."""
    if table.rows is None:
        return table
    joined = {one.name for one in table.rows.references}
    there = tuple(ReferencePlan.describing(one) for one in contract.tables if one.name in joined)
    return replace(table, rows=replace(table.rows, references=there))


def _counted(table: TablePlan, contract: Contract) -> TablePlan:
    """A table of figures with its windows in the shop's time."""
    if not table.figures:
        return table
    known = table.table.within(contract.shop.calendar)
    return replace(table, calendar=TablePlan.describing(known, table.store).calendar)


def _words(contract: Contract, read: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The shop's own words for events, of a job that reads any."""
    if not any(contract.of_topic(topic).holds_events for topic in read):
        return ()
    return tuple(pair for pair in contract.event_types.words if pair[0] != pair[1])


def _formats(contract: Contract, read: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """How the messages of topics are written that are not JSON."""
    found = {topic: contract.of_topic(topic) for topic in read}
    return tuple(
        (topic, " ".join([one.format, *(f"{name}={chosen}" for name, chosen in one.options)]))
        for topic, one in sorted(found.items())
        if one.format != JSON
    )


def _named(tables: Sequence[TablePlan], conditions: Sequence[str]) -> set[str]:
    """The columns that figures and conditions name, among other words."""
    named: set[str] = set()
    for table in tables:
        named |= {*table.by, *(name for plan in table.figures for name in plan.figure.names)}
    for condition in conditions:
        named |= {name.lower() for name in _WORD.findall(_TEXT.sub(" ", condition))}
    return named


def _fields(contract: Contract, read: Mapping[str, set[str]]) -> tuple[FieldPlan, ...]:
    """What a job reads of its topics' contracts beside the standard event where it usually is."""
    found: dict[tuple[str, str], FieldPlan] = {}
    for topic, names in read.items():
        one = contract.of_topic(topic)
        fields = _of_events(one, names) if one.holds_events else _of_another_shape(one, topic, names)
        found |= {(field.topic, field.name): field for field in fields}
    return tuple(found[key] for key in sorted(found))


def _of_events(contract: Contract, names: Container[str]) -> Iterator[FieldPlan]:
    for field in contract.fields:
        if field.is_moved if field.role else field.name in names:
            yield FieldPlan.describing(field)


def _of_another_shape(contract: Contract, topic: str, names: Container[str]) -> Iterator[FieldPlan]:
    """The fields that are read, and where the events' ids and times come from: from no path, where from the broker."""
    for column, name in (("event_id", contract.id), ("event_time", contract.time)):
        path = path_text(contract.by_name[name].steps) if name else ""
        yield FieldPlan(column, path, contract.types[column], topic=topic)
    for field in contract.fields:
        if field.name in names or field.name in (contract.id, contract.time):
            yield FieldPlan.describing(field, topic)


def _of_rows(output: RowOutput, topic: str) -> TablePlan:
    """The plan of a table of rows."""
    rows = RowsPlan(
        output.name,
        tuple((column.name, column.type) for column in output.table.columns),
        output.table.key,
        output.mode,
        output.fingerprint,
        tuple((reader.topic, reader.unique_by) for reader in output.readers),
        tuple(map(ReferencePlan.describing, output.references)),
        (*_read_by(output, topic), *output.steps),
        output.uncertain,
        output.endless,
    )
    return TablePlan(output.table.name, output.store.name, rows=rows)


def _read_by(output: RowOutput, topic: str) -> Iterator[tuple[str, str]]:
    """The topics that a query reads, and how long it waits for each; the plan itself has that of the job's topic."""
    for reader in output.readers:
        yield "source", reader.topic
        if reader.topic != topic:
            yield f"watermark of {reader.topic}", f"{reader.watermark_ms / 1000:g} s"


def _on_one_line(condition: str) -> str:
    """A condition with single spaces: how it is laid out means nothing, a text in quotes does."""
    return _QUOTED_OR_SPACE.sub(lambda found: found[1] or " ", condition).strip()
