"""What a notebook has told a job to write: figures or single events, and tables of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.errors import JobError, UsageError
from retailpulse_kernel.shop.contract.model import ReferenceTable
from retailpulse_kernel.shop.tables import FigureTable
from retailpulse_kernel.stores.base import EventArchive, FigureStore, RowStore
from retailpulse_kernel.streaming.query.outputs import Reader, RowOutput, row_output
from retailpulse_kernel.streaming.query.streams import Events, FigureStream

if TYPE_CHECKING:
    from retailpulse_kernel.streaming.query.outputs import OutputMode

__all__ = ["Writes"]


class Writes:
    """The outputs of a job, as far as its notebook has named them.

    Attributes
    ----------
    figures : list of (FigureStream, FigureStore)
        Tables of figures.
    archive : (Events, EventArchive), optional
        Single events; a job has either these or figures.
    rows : list of RowOutput
        Tables of rows.
    """

    def __init__(self) -> None:
        self.figures: list[tuple[FigureStream, FigureStore]] = []
        self.archive: tuple[Events, EventArchive] | None = None
        self.rows: list[RowOutput] = []

    def __bool__(self) -> bool:
        return bool(self.archive or self.figures or self.rows)

    @property
    def events(self) -> Events | None:
        """Those that the figures or the archive are of."""
        if self.archive:
            return self.archive[0]
        return self.figures[0][0].events if self.figures else None

    @property
    def tables(self) -> list[FigureTable]:
        """The tables of figures."""
        return [stream.table for stream, _ in self.figures]

    def add(
        self,
        what: Any,
        to: FigureStore | EventArchive | RowStore,
        *,
        table: str | None,
        key: str | Sequence[str] | None,
        mode: OutputMode | None,
        name: str | None,
        readers: Sequence[Reader],
        references: Mapping[str, ReferenceTable],
        batch: bool = False,
    ) -> None:
        """Add one; see `Job.write`.

        Parameters
        ----------
        what : FigureStream, Events or DataFrame
            What is written.
        to : FigureStore, EventArchive or RowStore
            Where it goes.
        table : str, optional
            The table of a DataFrame's rows.
        key : str or sequence of str, optional
            The columns that tell a row from another.
        mode : {"append", "update", "complete"}, optional
            Spark's output mode.
        name : str, optional
            The name of the output.
        readers : sequence of Reader
            The job's.
        references : mapping of str to ReferenceTable
            The reference tables that the job has asked for, by name.
        batch : bool
            Whether the job's own DataFrames are bounded.

        Raises
        ------
        JobError
            This can't be written there, or not by this job.
        UsageError
            A DataFrame can't be written.
        """
        is_plain = (table, key, mode, name) == (None, None, None, None)
        if isinstance(what, FigureStream) and isinstance(to, FigureStore) and is_plain:
            if self.figures and self.figures[0][0].events is not what.events:
                raise JobError(
                    "The figures of one job come from different events.",
                    remedy="Call job.events(...).where(...) once, or write them in two jobs.",
                )
            self._require_once(what.table.name, to.name)
            self.figures.append((what, to))
        elif isinstance(what, Events) and isinstance(to, EventArchive) and is_plain:
            _require_standard(what)
            self.archive = (what, to)
        elif not isinstance(what, FigureStream | Events) and isinstance(to, RowStore):
            given: dict[str, Any] = {"key": key, "mode": mode, "readers": readers, "references": references}
            self._add_rows(what, to, table, batch=batch, name=name, **given)
        else:
            raise JobError(
                f"{type(what).__name__} can't be written to {getattr(to, 'name', repr(to))}.",
                remedy="Figures go to a store of figures, such as rp.cassandra or rp.hbase, events go to rp.hive, "
                "a DataFrame goes to a store of rows, such as rp.cassandra, with table=... and key=[...].",
            )
        if self.figures and self.archive:
            raise JobError(
                "One job can't write both figures and single events.", remedy="Write the archive in a job of its own."
            )

    def _add_rows(
        self, frame: Any, to: RowStore, table: str | None, *, batch: bool, name: str | None, **given: Any
    ) -> None:
        if table is None:
            raise UsageError("The rows have no table.", remedy="Add table='...', or topic='...' for Kafka.")
        if not batch and not getattr(frame, "isStreaming", False):
            raise UsageError(
                f"What is written to {table!r} is not a stream.",
                remedy="Make it of job.events(...).df. A bounded DataFrame is written by a batch notebook.",
            )
        self._require_once(table, to.name)
        if table in {known.name for known in self.tables}:
            raise UsageError(f"{table!r} is a table of figures already.", remedy="Use another name.")
        names = {other.name for other in self.rows}
        output = row_output(frame, to=to, table=table, name=name, **given)
        if name is None and output.name in names:  # of another store
            output = replace(output, name=f"{output.name}_{to.name}")
        if output.name in names:
            raise UsageError(
                f"The job has two outputs with the name {output.name!r}.",
                remedy="Give the second one a name of its own: name='...'.",
            )
        self.rows.append(output)

    def _require_once(self, table: str, store: str) -> None:
        """Refuse a table that the job writes already: each output would replace the rows of the other."""
        written = [(stream.table.name, known.name) for stream, known in self.figures]
        written += [(output.table.name, output.store.name) for output in self.rows]
        if (table, store) in written:
            raise UsageError(
                f"The job writes the table {table!r} of {store} twice: each output would replace the other's rows.",
                remedy="Give the second one another table, or write both as one DataFrame: unionByName.",
            )


def _require_standard(events: Events) -> None:
    """Refuse the archive for events of another shape: it has the columns of the standard event."""
    if not events.contract.holds_events:
        raise UsageError(
            f"The archive holds standard events, and those of {events.topic!r} have fields of their own.",
            remedy="Write them as rows: job.write(events.df, to=rp.hive, table='...').",
        )
