"""What a job writes, and with which query: each table of rows has one of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.shop.contract.model import ReferenceTable
from retailpulse_kernel.shop.rows import DELETED, FAILED, Column, RowTable
from retailpulse_kernel.stores.base import EventArchive, RowStore, SentRows
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.query.analysis import Analysis, analysed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from retailpulse_kernel.streaming.sinks.base import Sink

__all__ = [
    "Output",
    "OutputMode",
    "Reader",
    "RowOutput",
    "as_of_output",
    "counted_once",
    "require_repeatable",
    "row_output",
]

OutputMode = Literal["append", "update", "complete"]

#: What a type of Spark's is in a table; others have no place there.
_TYPES = {
    "boolean": "bool", "tinyint": "int", "smallint": "int", "int": "int", "bigint": "long", "float": "double",
    "double": "double", "string": "string", "binary": "binary", "date": "date", "timestamp": "timestamp",
    "timestamp_ntz": "timestamp",
}  # fmt: skip
#: The types that are written as another type of Spark's.
_CASTS = {"tinyint": "int", "smallint": "int", "float": "double", "timestamp_ntz": "timestamp"}


@dataclass(frozen=True)
class Reader:
    """One stream of a topic in a job's notebook.

    Attributes
    ----------
    number : int
        Counted in the notebook, from 0.
    topic : str
        The topic's name within the namespace.
    unique_by : str
        By which column an event is taken once.
    publishes : bool
        Whether bad and late messages go to their topics.
    watermark_ms : int
        How far event time may run ahead of an event before it is late.
    """

    number: int
    topic: str
    unique_by: str
    publishes: bool
    watermark_ms: int


@dataclass(frozen=True)
class RowOutput:
    """A table of rows, and the DataFrame that is written to it.

    Attributes
    ----------
    name : str
        The output's name: that of its checkpoint, and in accounts and reports.
    table : RowTable
        The table.
    store : RowStore
        Where it is.
    mode : {"append", "update", "complete"}
        Spark's output mode.
    frame : DataFrame
        In the table's columns, and on wish `DELETED` and `FAILED`.
    readers : tuple of Reader
        What it reads, in the order in which Spark has it.
    fingerprint : str
        Changes with the meaning of the query.
    closes : bool
        Whether rows wait for Spark's watermark to pass.
    references : tuple of ReferenceTable
        The reference tables that are joined.
    columns : tuple of tuple of str
        Which columns of each reader the query looks at.
    steps : tuple of tuple of (str, str)
        What the query does; see `Analysis.steps`.
    in_order : bool
        Whether rows come in the order of the messages; see `Analysis.in_order`.
    uncertain : tuple of str
        What may be another value when a micro-batch is done again; see `Analysis.uncertain`.
    endless : tuple of str
        What of the query's state is never forgotten.
    """

    name: str
    table: RowTable
    store: RowStore
    mode: OutputMode
    frame: DataFrame
    readers: tuple[Reader, ...]
    fingerprint: str
    closes: bool = False
    references: tuple[ReferenceTable, ...] = ()
    columns: tuple[tuple[str, ...], ...] = ()
    steps: tuple[tuple[str, str], ...] = ()
    in_order: bool = False
    uncertain: tuple[str, ...] = ()
    endless: tuple[str, ...] = ()

    @property
    def keyed_apart(self) -> bool:
        """Whether the key has to tell the rows of a micro-batch apart.

        Of rows in the order of the messages the last one of a key is the newest. A topic keeps all of them.
        """
        return self.table.is_keyed and not self.in_order and not isinstance(self.store, SentRows)


@dataclass(frozen=True)
class Output:
    """One query of a run.

    Attributes
    ----------
    name : str
        Empty for figures and single events.
    mode : str
        Spark's output mode.
    frame : DataFrame
        What is computed.
    sink : Sink
        What becomes of each micro-batch.
    readers : tuple of Reader
        What it reads, in the order in which Spark has it.
    closes : bool
        Whether rows wait for Spark's watermark to pass.
    """

    name: str
    mode: str
    frame: DataFrame
    sink: Sink
    readers: tuple[Reader, ...]
    closes: bool = False

    @property
    def label(self) -> str:
        """What a reader of a report calls it."""
        return self.name or "figures and events"


def row_output(
    frame: DataFrame,
    *,
    to: RowStore,
    table: str,
    key: str | Sequence[str] | None,
    mode: str | None,
    name: str | None,
    readers: Sequence[Reader],
    references: Mapping[str, ReferenceTable],
) -> RowOutput:
    """The output of a DataFrame that a notebook writes; what can't be written is refused here, before anything runs.

    Parameters
    ----------
    frame : DataFrame
        A streaming one, made of the job's events.
    to : RowStore
        Where it goes.
    table : str
        The table's name; of Kafka the topic's.
    key : str or sequence of str, optional
        The columns of the key.
    mode : str, optional
        Spark's output mode; that which fits when absent.
    name : str, optional
        The output's name; the table's when absent.
    readers : sequence of Reader
        The job's.
    references : mapping of str to ReferenceTable
        The reference tables that the job has asked for, by name.

    Raises
    ------
    UsageError
        The frame can't be written: the error says why, and what to do.
    UnknownName
        The key names no column of the frame.
    """
    found = analysed(frame)
    _require_of_job(found, table)
    require_repeatable(found, f"the rows of {table!r}")
    keys = (key,) if isinstance(key, str) else tuple(key or ())
    columns = frame.columns
    for one in keys:
        if one not in columns:
            raise UnknownName("column", one, columns, of=f"the rows of {table!r}")
    fields = [field for field in frame.schema.fields if field.name not in (DELETED, FAILED)]
    rows = RowTable(table, tuple(_column(field, table) for field in fields), keys)
    _require_deletable(frame, rows)
    chosen = _mode_of(found, mode, rows, to)
    _require_rejectable(frame, rows, chosen)
    to.check_rows(rows)
    output_name = _output_name(table, name)
    known = {reader.number: reader for reader in readers}
    read = tuple(known[number] for number in found.readers)
    joined = tuple(references[one] for one in dict.fromkeys(found.references))
    closes = found.waits or (found.aggregates and chosen == "append")
    return RowOutput(
        output_name, rows, to, chosen, _cast(frame), read, found.fingerprint, closes, joined, tuple(found.columns),
        tuple(found.steps), found.in_order, tuple(dict.fromkeys(found.uncertain)), tuple(dict.fromkeys(found.endless)),
    )  # fmt: skip


def _output_name(table: str, name: str | None) -> str:
    """The output's name, which is a folder's, too; from that of the table, which may be a topic with capitals."""
    found = (table.lower() if name is None else name).replace(".", "_").replace("-", "_")
    if not is_name(found):
        remedy = NAME_RULE if name is not None else f"Give the output a name of its own: name='...'. {NAME_RULE}"
        raise UsageError(f"{name or table!r} can't be the name of an output.", remedy=remedy)
    return found


def require_repeatable(found: Analysis, what: str) -> None:
    """Refuse a query that gives something else when a micro-batch is done again.

    Parameters
    ----------
    found : Analysis
        Of the query.
    what : str
        What it computes, for the error.

    Raises
    ------
    UsageError
        The query looks at the clock, draws by chance, or takes rows in the order in which Spark has them.
    """
    if found.changing:
        raise UsageError(
            f"{found.changing[0]} gives {what} another value each time: a micro-batch that is done again after a "
            "failure would not give the same.",
            remedy="Use event_time in place of the clock, and a hash of event_id in place of a random number.",
        )
    if found.ordered:
        part = found.ordered[0]
        raise UsageError(
            f"{part.what} makes {what} depend on the order in which Spark has the events: a micro-batch that is done "
            "again after a failure, or a batch over the same events, would not give the same.",
            remedy=part.remedy,
        )


def _require_of_job(found: Analysis, table: str) -> None:
    if found.foreign:
        raise UsageError(
            f"What is written to {table!r} reads a stream that is not the job's: {found.foreign[0][:80]}.",
            remedy="Read each topic with job.events(topic=...), so that its messages are accounted for.",
        )
    if not found.readers:
        raise UsageError(
            f"What is written to {table!r} reads no events of this job.",
            remedy="Make it of job.events(...).df. A bounded DataFrame is written by a batch notebook.",
        )
    if twice := [number for number in found.readers if found.readers.count(number) > 1]:
        raise UsageError(
            f"What is written to {table!r} reads one stream twice (the {twice[0] + 1}. `df` of the notebook).",
            remedy="Ask for it once for each use: left, right = events.df, events.df",
        )


def _column(field: Any, table: str) -> Column:
    """A column of the frame as one of the table."""
    spark = field.dataType.simpleString()
    array = spark.startswith("array<")
    element = spark.removeprefix("array<").removesuffix(">") if array else spark
    kind = element if element.startswith("decimal(") else _TYPES.get(element)
    if kind is None:
        if element.startswith("struct<start:timestamp,end:timestamp"):
            remedy = f"Select its parts: F.col('{field.name}.start').alias('start')."
        elif element.startswith("struct<"):
            remedy = f"Select its fields, F.col('{field.name}.…'), or write it as text, F.to_json('{field.name}')."
        else:
            remedy = f"Write it as text: F.to_json('{field.name}'), or leave it out."
        raise UsageError(f"A table can't hold the column {field.name!r} of {table!r}: it is {spark}.", remedy=remedy)
    return Column(field.name, f"list<{kind}>" if array else kind)


def _require_deletable(frame: DataFrame, rows: RowTable) -> None:
    if DELETED not in frame.columns:
        return
    if frame.schema[DELETED].dataType.simpleString() != "boolean" or not rows.is_keyed:
        raise UsageError(
            f"The column {DELETED!r} says which rows of {rows.name!r} are removed: it is boolean, and the table has a "
            "key.",
            remedy=f"Give a key to job.write, or rename the column {DELETED!r}.",
        )


def _require_rejectable(frame: DataFrame, rows: RowTable, mode: str) -> None:
    if FAILED not in frame.columns:
        return
    if frame.schema[FAILED].dataType.simpleString() != "string" or mode == "complete":
        raise UsageError(
            f"The column {FAILED!r} says why a row of {rows.name!r} goes to the dead-letter topic: it is a text, and "
            "the mode is not 'complete', which gives the same row in each micro-batch.",
            remedy=f"Use the mode 'append' or 'update', or rename the column {FAILED!r}.",
        )


def _mode_of(found: Analysis, given: str | None, table: RowTable, to: RowStore) -> OutputMode:
    """The output mode: the one that is asked for, or that fits the query and the store."""
    if given is not None and given not in get_args(OutputMode):
        raise UsageError(f"A table can't be written in mode {given!r}.", remedy="Use update, append or complete.")
    if given == "complete" and not (table.is_keyed and found.aggregates):
        raise UsageError(
            f"The mode 'complete' replaces all rows of {table.name!r}: it needs an aggregation, and a key.",
            remedy="Give key=[...], the columns of groupBy, or use the mode 'update'.",
        )
    only_appended = isinstance(to, KafkaStore) or (isinstance(to, EventArchive) and not table.is_keyed)
    if given is not None:
        chosen = given
    elif found.own_mode in ("append", "update"):
        chosen = found.own_mode
    else:
        chosen = "append" if not found.aggregates or found.sessions or only_appended else "update"
    if chosen == "update" and found.sessions:
        raise UsageError(
            f"Session windows of {table.name!r} are not written while they are open: Spark can't update them.",
            remedy="Leave mode out, or use mode='append': a session is written when it is closed.",
        )
    if chosen == "update" and found.aggregates and not table.is_keyed and not isinstance(to, KafkaStore):
        raise UsageError(
            f"The rows of {table.name!r} change while their windows are open, and without a key each change would be "
            "one more row.",
            remedy="Give key=[...], the columns of groupBy, or mode='append', which writes a window when it is closed.",
        )
    return chosen  # type: ignore[return-value]


def _cast(frame: DataFrame) -> DataFrame:
    """The frame in types that tables have."""
    from pyspark.sql import functions as F

    casts = {
        field.name: _CASTS[spark] for field in frame.schema.fields if (spark := field.dataType.simpleString()) in _CASTS
    }
    return frame.withColumns({name: F.col(name).cast(kind) for name, kind in casts.items()}) if casts else frame


def as_of_output(reader: Reader, *, publishes: bool) -> Reader:
    """A reader as one output has it.

    Parameters
    ----------
    reader : Reader
        As the notebook has it.
    publishes : bool
        Whether this output sends the rejects of the topic.
    """
    return replace(reader, publishes=reader.publishes and publishes)


def counted_once(readers: Iterable[Reader]) -> list[Reader]:
    """The first reader of each topic: the messages of a topic that is read twice are counted once.

    Parameters
    ----------
    readers : iterable of Reader
        Those of one query.
    """
    first: dict[str, Reader] = {}
    for reader in readers:
        first.setdefault(reader.topic, reader)
    return list(first.values())
