"""What the stores that have a language of statements share: `query`, with the same frames everywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.stores.frames import Form, shaped

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StatementStore"]


class StatementStore(ABC):
    """A store that takes statements."""

    def query(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        as_: Form = "pandas",
        count_for: float = 0,
    ) -> Any:
        """Run a statement in the namespace: CQL in its keyspace, HiveQL or Spark SQL in its database.

        Parameters
        ----------
        statement : str
            One statement; parameters are written ``:name``.
        parameters : mapping, optional
            Their values: text, numbers, decimals, dates, times, lists. They are bound, and never part of the text.
            HiveServer2 binds none itself: there each becomes a typed literal in which every character that means
            something is written as its number.
        limit : int, optional
            At most this many rows.
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.
        count_for : float
            Seconds to go on counting rows that `limit` cuts off. Spark, which would run the whole query again, does
            not count.

        Returns
        -------
        pandas.DataFrame
            Decimals are exact, each a `decimal.Decimal`; with ``as_="float"`` they are ``float64``, for plots and
            statistics. Dates are dates, timestamps are UTC. Where `limit` cuts rows off, a note says so;
            ``.attrs["more"]`` keeps whether it did, ``.attrs["total"]`` how many there are, or None.
            ``active_users`` is ``bytes``, a sketch of a row's users, which a notebook shows with their number:
            `retailpulse_kernel.shop.sketching.sketches.estimate` gives it, and `Workbench.figures` that of a range.

        Raises
        ------
        UsageError
            The store does not accept the statement, or a value does not fit its column.
        StoreUnavailable
            The store, or for Spark Hive's Metastore, does not answer.
        """
        return shaped(self._found(statement, parameters, limit, count_for), as_)

    @abstractmethod
    def _found(
        self, statement: str, parameters: Mapping[str, Any] | None, limit: int | None, count_for: float
    ) -> pd.DataFrame:
        """The statement's rows."""
