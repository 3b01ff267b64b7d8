"""The quality of every table: whether its job keeps up, what share is null, whether rows keep the contract's rules.

Only rows of a DataFrame are looked into. Figures are sums of events that the job has judged already, and reconciliation
compares them with the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.catalogue.conditions import time_column_if_any, wanted_of
from retailpulse_kernel.catalogue.contents import Contents
from retailpulse_kernel.catalogue.overview import freshness
from retailpulse_kernel.catalogue.tables import Catalogue, Found, TableEntry, catalogue_of
from retailpulse_kernel.ground.errors import NoSuchTable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.model import Field
from retailpulse_kernel.shop.contract.values import typed_value
from retailpulse_kernel.stores.kafka.topics import TopicState, topic_states
from retailpulse_kernel.stores.registry import open_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts, untaken
from retailpulse_kernel.streaming.checkpoint.batches import newest_epochs
from retailpulse_kernel.upkeep.quality import Expectation, usual_share

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableLimits", "keeps_rules", "keeps_up", "nulls_of", "table_quality"]

#: Rows of a table that are looked at, of each of the two ranges.
_MOST: Final = 50_000


@dataclass(frozen=True)
class TableLimits:
    """What is expected of tables.

    Attributes
    ----------
    age : timedelta
        How long ago the last micro-batch of a job may have ended while messages wait for it.
    nulls : float, optional
        How far the share of nulls in a column may be above the usual one, that of the time before. None where rows are
        not to be read.
    """

    age: timedelta
    nulls: float | None


def table_quality(
    settings: Settings,
    limits: TableLimits,
    *,
    until: datetime,
    last: timedelta,
    before: timedelta,
    drafts: bool = False,
) -> list[Expectation]:
    """Judge every table that a promoted job has written in the namespace.

    Parameters
    ----------
    settings : Settings
        Which servers, which namespace.
    limits : TableLimits
        What is expected.
    until : datetime
        Up to when, UTC.
    last : timedelta
        What is judged of tables whose rows have a time.
    before : timedelta
        What nulls are compared with: the time before that.
    drafts : bool
        Whether tables of jobs that are not promoted are judged, too: nobody expects them to keep up.
    """
    catalogue = catalogue_of(settings)
    accounts = read_accounts(settings, further=True)
    since = until - last
    entries = [one for one in catalogue.entries if one.ran and (drafts or one.is_promoted)]
    topics = {topic for entry in entries for topic in _topics(settings, entry)}
    # A topic that is not there has no messages.
    states = {state.name: state for state in topic_states(settings, topics, absent=True)}
    found = []
    for entry in entries:
        read = [states[topic] for topic in _topics(settings, entry)]
        found.append(_freshness(entry, read, accounts, limits.age))
        if limits.nulls is not None and entry.kind == "rows":
            found += _rows(settings, catalogue, entry, limits.nulls, (since - before, since, until))
    return found


def _topics(settings: Settings, entry: TableEntry) -> list[str]:
    """The topics that the query of a table reads, by their full names; one that it reads twice is there twice."""
    rows = entry.plan.rows
    names = [topic for topic, _ in rows.reads] if rows is not None else [entry.topic]
    return [settings.namespace.topic(name) for name in names]


def _freshness(
    entry: TableEntry, topics: Iterable[TopicState], accounts: Sequence[Account], age: timedelta
) -> Expectation:
    own = [one for one in accounts if (one.job, one.output) == (entry.job, entry.output)]
    behind = sum(_behind(topic, entry.job, own) for topic in topics)
    return keeps_up(entry.name, behind, freshness(entry, own).written, age, now=datetime.now(UTC))


def _behind(topic: TopicState, job: str, accounts: Sequence[Account]) -> int:
    """How many messages of a topic wait for a job."""
    batches = newest_epochs(accounts, topic.name).get(job)
    taken = {} if batches is None else {str(partition): end for partition, end in batches.ends.items()}
    return untaken(topic.bounds, taken)


def keeps_up(table: str, behind: int, written: datetime | None, age: timedelta, *, now: datetime) -> Expectation:
    """Whether a table's job keeps up with its topics: a silent topic makes no table old.

    Parameters
    ----------
    table : str
        The table's name.
    behind : int
        How many messages wait.
    written : datetime or None
        When the last micro-batch ended; None where there was none.
    age : timedelta
        How long ago that may be while messages wait.
    now : datetime
        The present, UTC.
    """
    name = f"{table} keeps up"
    if not behind:
        return Expectation(name, "no message waits", f"written within {_minutes(age)}", ok=True)
    when = "never written" if written is None else f"written {_minutes(now - written)} ago"
    ok = written is not None and now - written <= age
    return Expectation(name, f"{behind:,} messages wait, {when}", f"written within {_minutes(age)}", ok)


def _rows(
    settings: Settings, catalogue: Catalogue, entry: TableEntry, more: float, ends: tuple[datetime, datetime, datetime]
) -> Iterator[Expectation]:
    """What the rows of a table say; nothing where no column tells which of them are new, or none is there yet."""
    with closing(open_store(entry.store, settings)) as store:
        contents = Contents(Found(entry), catalogue.contract, store)
        if not time_column_if_any(contents.table):
            return
        try:
            usual, judged = (
                contents.read(wanted_of(contents.table, since=begin, until=end, limit=_MOST)).rows
                for begin, end in pairwise(ends)
            )
        except NoSuchTable:
            return
    fields = catalogue.contract.of_topic(entry.topic).by_name
    same = {name: fields[name] for name, kind in contents.table.types.items() if _is_of(fields.get(name), kind)}
    yield nulls_of(entry.name, judged, usual, more)
    yield keeps_rules(entry.name, judged, same)


def _is_of(field: Field | None, kind: str) -> bool:
    """Whether a column has the name and the type of a field: another type tells that the values were computed."""
    return field is not None and field.type == kind and not kind.startswith("list")


def nulls_of(table: str, judged: pa.Table, usual: pa.Table, more: float) -> Expectation:
    """Whether a column has more nulls than is usual; the one with the most above that is told.

    Parameters
    ----------
    table : str
        The table's name.
    judged : pyarrow.Table
        The newest rows.
    usual : pyarrow.Table
        Rows of the time before.
    more : float
        How far the share of nulls may be above the usual one.
    """
    found = [
        usual_share(
            f"nulls of {table}", (judged[name].null_count, len(judged)), (usual[name].null_count, len(usual)), more
        )
        for name in judged.column_names
    ]
    shares = [judged[name].null_count - usual[name].null_count for name in judged.column_names]
    place = max(range(len(found)), key=lambda one: (not found[one].ok, shares[one]))
    worst = found[place]
    return Expectation(worst.name, f"{judged.column_names[place]} {worst.found}", worst.expected, worst.ok)


def keeps_rules(table: str, rows: pa.Table, fields: Mapping[str, Field]) -> Expectation:
    """Whether the values of columns that are called as fields of the contract keep the rules of these fields.

    Parameters
    ----------
    table : str
        The table's name.
    rows : pyarrow.Table
        The newest rows.
    fields : mapping of str to Field
        The fields by the names of the columns.
    """
    broken = {name: count for name, field in fields.items() if (count := _broken(rows[name].to_pylist(), field))}
    said = ", ".join(f"{count:,} of {name}" for name, count in sorted(broken.items()))
    return Expectation(
        f"rules of {table}", said or f"none of {len(rows):,} rows", "no value against the contract", not broken
    )


def _broken(values: Sequence[Any], field: Field) -> int:
    low, high = (typed_value(field.type, bound) for bound in (field.min, field.max))
    allowed = {typed_value(field.type, value) for value in field.allowed}

    def is_kept(value: Any) -> bool:
        length = len(value) if isinstance(value, str) else 0
        rules = [
            not allowed or value in allowed,
            low is None or value >= low,
            high is None or value <= high,
            field.min_length is None or length >= field.min_length,
            field.max_length is None or length <= field.max_length,
        ]
        return all(rules)

    return sum(value is not None and not is_kept(value) for value in values)


def _minutes(span: timedelta) -> str:
    return f"{span / timedelta(minutes=1):.0f} min"
