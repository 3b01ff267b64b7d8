"""The late events of a job that corrections have found, by the hour, in the folder of the archive.

A wide window is computed from the late events of all its hours, of which most have got nothing new. Without these files
every correction would read the whole day again. They are only a shortcut: an hour whose file does not hold what was
noted is found again in the archive, and a file goes when its hour leaves the archive.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.stores.hive.archive import Archive, arrow_schema

__all__ = ["LateEvent", "LateFiles"]


class LateEvent(NamedTuple):
    """An event that a job called late.

    Attributes
    ----------
    event : Event
        The event.
    partition, offset : int
        Where it stands in the topic.
    """

    event: Event
    partition: int
    offset: int


class LateFiles:
    """The files of one job.

    Parameters
    ----------
    archive : Archive
        The archive; Hive and Spark pass over a folder whose name begins with ``_``.
    job : str
        The job's name.
    """

    def __init__(self, archive: Archive, job: str) -> None:
        self._contract = archive.contract
        self._folder = archive.root / "_late" / job

    def counts(self) -> dict[str, int]:
        """How many late events are kept of each hour; hours without any have no file."""
        import pyarrow.parquet as pq

        return {path.stem: pq.read_metadata(path).num_rows for path in self._folder.glob("*.parquet")}

    def put(self, hour: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the late events of an hour, in place of those that were kept.

        Parameters
        ----------
        hour : str
            As `hours_of` names it.
        rows : sequence of mapping
            Rows of the archive.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not rows:
            self._path(hour).unlink(missing_ok=True)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        content = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=arrow_schema(None, self._contract)), content)
        write_whole(self._path(hour), content.getvalue().to_pybytes())

    def forget(self, hours: Collection[str]) -> None:
        """Remove the files of hours that have left the archive.

        Parameters
        ----------
        hours : collection of str
            As `hours_of` names them.
        """
        for hour in hours:
            self._path(hour).unlink(missing_ok=True)

    def events(self, hours: Collection[str]) -> list[LateEvent]:
        """The late events of some hours, each id once: of several the one that came first.

        Parameters
        ----------
        hours : collection of str
            As `hours_of` names them.
        """
        import pyarrow.parquet as pq

        event = reader_of(self._contract).event
        names = [field.name for field in self._contract.columns]
        found: dict[str, LateEvent] = {}
        paths = (path for path in map(self._path, hours) if path.exists())
        rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
        for row in sorted(rows, key=_order):
            one = LateEvent(event(**{name: row[name] for name in names}), row["kafka_partition"], row["kafka_offset"])
            found.setdefault(one.event.event_id, one)
        return list(found.values())

    def _path(self, hour: str) -> Path:
        return self._folder / f"{hour}.parquet"


def _order(row: Mapping[str, Any]) -> tuple[int, int, int]:
    arrival = 0 if row["arrival"] is None else ms_of(row["arrival"])
    return arrival, row["kafka_partition"], row["kafka_offset"]
