"""A reference table as a bounded Spark data source that every micro-batch of a query reads anew.

Spark plans such a DataFrame once, and reads it again in each micro-batch. So what is read is found in the task, which
knows its query and its batch: the version that is recorded for the batch. A task outside of a job's queries, such as
that of a `show`, reads the table itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pyspark import TaskContext
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.model import ReferenceTable
from retailpulse_kernel.shop.contract.types import sql_type
from retailpulse_kernel.stores.reference_tables import read_table
from retailpulse_kernel.streaming.checkpoint.epochs import epochs
from retailpulse_kernel.streaming.checkpoint.outputs import query_of
from retailpulse_kernel.streaming.reference.versions import Versions

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["FORMAT", "reference_frame"]

#: The name of the format. The option `table` has the table's name.
FORMAT: Final = "retailpulse-reference"


@dataclass(frozen=True)
class _Told:
    """What the workers are told; Spark keeps it as one text option."""

    table: ReferenceTable
    #: The folder of the job's epochs.
    epochs: str
    #: Those of `Settings` that say where the table is.
    settings: dict[str, str | int | None]
    #: The folder of the epochs of the job's tests, each of which gives rows in place of the table's.
    tests: str = ""


def reference_frame(
    spark: SparkSession, settings: Settings, table: ReferenceTable, *, epochs: str, tests: str = ""
) -> DataFrame:
    """A reference table as a bounded DataFrame, to be joined with a stream.

    Parameters
    ----------
    spark : SparkSession
        The session of the job.
    settings : Settings
        In whose namespace the table is.
    table : ReferenceTable
        The table.
    epochs : str
        The folder of the job's epochs, which have the versions.
    tests : str
        The folder of the epochs of the job's tests; it may be absent.
    """
    spark.dataSource.register(_Source)
    where: dict[str, str | int | None] = {
        "home": str(settings.home),
        "cache": str(settings.cache),
        "profile": settings.profile_name,
        "namespace": settings.namespace_name,
        "port_offset": settings.port_offset,
        "contract": None if settings.contract is None else str(settings.contract),
    }
    told = msgspec.json.encode(_Told(table, epochs, where, tests)).decode()
    return spark.read.format(FORMAT).option("table", table.name).option("config.secret", told).load()


class _Source(DataSource):
    """``spark.read.format("retailpulse-reference")``; use `reference_frame`, which knows its options."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._told = options["config.secret"]  # Spark hides options of such a name

    @classmethod
    def name(cls) -> str:
        """The name of the format."""
        return FORMAT

    def schema(self) -> str:
        """The contract's columns."""
        told = msgspec.json.decode(self._told, type=_Told)
        return ", ".join(f"`{name}` {sql_type(kind)}" for name, kind in told.table.columns)

    def reader(self, schema: Any) -> DataSourceReader:
        """The reader of the whole table.

        Parameters
        ----------
        schema : object
            Spark's; the options say the same.
        """
        return _Reader(self._told)


class _Reader(DataSourceReader):
    """Reads the version of the task's micro-batch."""

    def __init__(self, told: str) -> None:
        self._told = told

    def partitions(self) -> list[InputPartition]:
        return [InputPartition(0)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        told = msgspec.json.decode(self._told, type=_Told)
        found = _query(told.tests) or _query(told.epochs)
        if found is None:
            rows = read_table(Settings.load(**told.settings), told.table)
        else:
            epoch, checkpoint, batch = found
            versions = Versions(epoch, told.table)
            rows = versions.rows(versions.of_batch(checkpoint, batch))
        yield from rows.to_batches()


def _query(folder: str) -> tuple[str, str, int] | None:
    """The epoch, the query's checkpoint and the micro-batch of this task; None for a task of no query of the job's."""
    task = TaskContext.get()
    assert task is not None, "a source is read by a task"
    query_id, batch = map(task.getLocalProperty, ("sql.streaming.queryId", "streaming.sql.batchId"))
    if query_id is None or batch is None or not folder:
        return None
    for epoch in reversed(epochs(folder)):
        if (checkpoint := query_of(epoch.path, query_id)) is not None:
            return epoch.path, checkpoint, int(batch)
    return None
