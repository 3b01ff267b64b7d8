"""The reference tables that a job joins its events with, as its notebook asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import ReferenceTable
from retailpulse_kernel.streaming.reference.refreshing import References, TableState
from retailpulse_kernel.streaming.reference.source import reference_frame

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["JobReferences"]


class JobReferences:
    """The reference tables that a job has asked for.

    Parameters
    ----------
    job : Job
        Whose tables.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        #: Those that the notebook has asked for so far, by their names.
        self.tables: dict[str, ReferenceTable] = {}

    def frame(self, name: str) -> DataFrame:
        """A reference table as a bounded DataFrame.

        Parameters
        ----------
        name : str
            As the contract has it.

        Raises
        ------
        UnknownName
            The contract has no such table.
        """
        known = {table.name: table for table in contract_of(self._job.settings).tables}
        if name not in known:
            raise UnknownName("reference table", name, known)
        self.tables[name] = known[name]
        job = self._job
        return reference_frame(job.spark, self.settings, known[name], epochs=job.checkpoints, tests=job.test_epochs)

    @property
    def settings(self) -> Settings:
        """Those in whose namespace the tables are: a job that is tried or staged reads the live ones."""
        return self._job.settings.within(self._job.context.tables_of or self._job.source_namespace.name)

    def of_run(self, epoch: str, tell: Callable[[TableState], object] = lambda state: None) -> References:
        """Those that the outputs join, for a run.

        Parameters
        ----------
        epoch : str
            The folder of the epoch that the run goes on with.
        tell : callable
            Called with the state of a table whenever it was read, or could not be.
        """
        return References(self.settings, self.joined, epoch, tell)

    @property
    def joined(self) -> list[ReferenceTable]:
        """Those that the job's outputs join."""
        return list({table.name: table for output in self._job.writes.rows for table in output.references}.values())
