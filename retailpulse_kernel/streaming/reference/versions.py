"""The versions of a reference table that an epoch keeps, and which of them a micro-batch has.

``<epoch>/reference/<table>/`` has each version as a Parquet file that never changes, named by the hash of its content,
and ``newest.json``. Beside each query's checkpoint, ``versions/<table>/<batch>`` names the version of a micro-batch:
whoever first reads the table for the batch writes it, and a batch that is done again reads the same version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.shop.contract.model import ReferenceTable
from retailpulse_kernel.streaming.checkpoint.files import read_note, write_note
from retailpulse_kernel.streaming.checkpoint.notes import note_once, noted, remove_notes
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of, outputs_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RECORDS", "VERSIONS", "Versions"]

#: The folder of an epoch that has the versions, and that of a query that says which batch had which.
VERSIONS: Final = "reference"
RECORDS: Final = "versions"
_NEWEST: Final = "newest.json"
_SUFFIX: Final = ".parquet"
#: Batches whose version is known: as many as Spark's own log has.
_BATCHES_KEPT: Final = 50
#: Newest versions that stay in any case: a task may have found one and not recorded it yet.
_VERSIONS_KEPT: Final = 3


@dataclass(frozen=True)
class _Newest:
    """What is known of the newest versions of a table.

    Attributes
    ----------
    versions : tuple of str
        The last ones, the newest last.
    read_ms : int
        When the table was read last, in milliseconds since 1970.
    columns : tuple of (str, str)
        The columns with their types, as the versions have them.
    """

    versions: tuple[str, ...]
    read_ms: int
    columns: tuple[tuple[str, str], ...]

    @property
    def version(self) -> str:
        """The newest one."""
        return self.versions[-1]


@dataclass(frozen=True)
class Versions:
    """The versions of a table in an epoch.

    Attributes
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    table : ReferenceTable
        The table, as the job's contract has it.
    """

    epoch: str
    table: ReferenceTable

    @property
    def newest(self) -> _Newest | None:
        """The newest versions; None where there is none with the columns of the contract."""
        content = read_note(self._folder, _NEWEST)
        found = None if content is None else msgspec.json.decode(content, type=_Newest)
        return None if found is None or found.columns != self.table.columns else found

    def put(self, rows: pa.Table, *, now_ms: int) -> str:
        """Keep rows as the newest version; rows that are the same as before are the same version.

        Parameters
        ----------
        rows : pyarrow.Table
            All rows of the table, in the order of their keys.
        now_ms : int
            When they were read, in milliseconds since 1970.

        Returns
        -------
        str
            The version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink, before = pa.BufferOutputStream(), self.newest
        pq.write_table(rows.combine_chunks(), sink)
        content = sink.getvalue().to_pybytes()
        version = hashlib.sha256(content).hexdigest()[:16]
        earlier = [] if before is None else [one for one in before.versions if one != version]
        if before is None or before.version != version:
            write_note(self._folder, f"{version}{_SUFFIX}", content)
        newest = _Newest((*earlier, version)[-_VERSIONS_KEPT:], now_ms, self.table.columns)
        write_note(self._folder, _NEWEST, msgspec.json.encode(newest))
        if before is None or before.version != version:
            self._forget(newest)
        return version

    def rows(self, version: str) -> pa.Table:
        """The rows of a version.

        Parameters
        ----------
        version : str
            One that is kept.

        Raises
        ------
        JobError
            It is not there any more.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        content = read_note(self._folder, f"{version}{_SUFFIX}")
        if content is None:
            raise JobError(
                f"The version {version} of the reference table {self.table.name!r} is not in {self._folder}.",
                remedy="The checkpoint is damaged: restore the file, or start a new epoch.",
            )
        return pq.read_table(pa.BufferReader(content))

    def of_batch(self, checkpoint: str, batch: int) -> str:
        """The version of a micro-batch: what was recorded, else from now on the newest one.

        Parameters
        ----------
        checkpoint : str
            The query's folder, a path or a URI.
        batch : int
            The micro-batch.

        Raises
        ------
        JobError
            There is no version yet.
        """
        folder = f"{checkpoint}/{RECORDS}/{self.table.name}"
        if (recorded := read_note(folder, str(batch))) is not None:
            return recorded.decode()
        newest = self.newest
        if newest is None:
            raise JobError(
                f"The reference table {self.table.name!r} has not been read yet.",
                remedy="Start the query with job.run(), which reads the table first.",
            )
        version = note_once(folder, str(batch), newest.version.encode()).decode()
        remove_notes(folder, [name for name in noted(folder) if name.isdigit() and int(name) <= batch - _BATCHES_KEPT])
        return version

    def _forget(self, newest: _Newest) -> None:
        """Remove versions that no batch needs which may be done again."""
        needed = {*newest.versions, *self._recorded()}
        stale = [name for name in noted(self._folder) if name.endswith(_SUFFIX)]
        remove_notes(self._folder, [name for name in stale if name.removesuffix(_SUFFIX) not in needed])

    def _recorded(self) -> Iterator[str]:
        for output in outputs_of(self.epoch):
            folder = f"{checkpoint_of(self.epoch, output)}/{RECORDS}/{self.table.name}"
            for name in noted(folder):
                if (content := read_note(folder, name)) is not None:
                    yield content.decode()

    @property
    def _folder(self) -> str:
        return f"{self.epoch}/{VERSIONS}/{self.table.name}"
