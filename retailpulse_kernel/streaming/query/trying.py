"""Python functions that may fail for a row: what went wrong stands beside the value, and the micro-batch goes on."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["TriedFunction", "TriedSeries", "try_udf"]

#: The fields of what such a function gives.
VALUE, FAILED = "value", "failed"


class TriedFunction:
    """A function of a row's values that gives its value, or what went wrong.

    Parameters
    ----------
    function : callable
        The job's own.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        # The meaning of a query has all that is here: only what changes the values may be among it.
        self.function = function

    def __call__(self, *values: Any) -> tuple[Any, str | None]:
        """The value and None, or None and the last line of the traceback.

        Parameters
        ----------
        *values : object
            Of the row.
        """
        try:
            return self.function(*values), None
        except MemoryError:  # the machine's fault, not the row's: another try may succeed
            raise
        except Exception as error:
            return None, last_line(error)


class TriedSeries:
    """A function of pandas series that is asked once more for each row where it fails for a part of a micro-batch.

    Parameters
    ----------
    function : callable
        The job's own. What it gives for a row must not depend on the other rows: Spark chooses them.
    type : pyarrow.DataType
        The type of its values.
    """

    def __init__(self, function: Callable[..., Any], type: pa.DataType) -> None:
        self.function, self.type = function, type

    def __call__(self, *columns: Any) -> pd.DataFrame:
        """The values, and beside each what went wrong.

        Parameters
        ----------
        *columns : pandas.Series or pandas.DataFrame
            Of the rows.
        """
        import pandas as pd

        try:
            return pd.DataFrame({VALUE: self._values(columns), FAILED: None})
        except MemoryError:
            raise
        except Exception:  # which row it was is not known yet
            rows = [self._row([one.iloc[n : n + 1].reset_index(drop=True) for one in columns])
                    for n in range(len(columns[0]))]  # fmt: skip
            return pd.DataFrame({VALUE: pd.Series([value for value, _ in rows], dtype=object),
                                 FAILED: [why for _, why in rows]})  # fmt: skip

    def _row(self, columns: list[Any]) -> tuple[Any, str | None]:
        try:
            return self._values(columns).iloc[0], None
        except MemoryError:
            raise
        except Exception as error:
            return None, last_line(error)

    def _values(self, columns: Any) -> pd.Series:
        """What the function gives; an error where Spark could not take it."""
        import pandas as pd
        import pyarrow as pa

        values = pd.Series(self.function(*columns)).reset_index(drop=True)
        if len(values) != len(columns[0]):
            raise ValueError(f"the function gave {len(values)} values for {len(columns[0])} rows")
        pa.Array.from_pandas(values, type=self.type)
        return values


def last_line(error: BaseException) -> str:
    """The last line of an error's traceback, without the notes behind it.

    Parameters
    ----------
    error : BaseException
        The error.
    """
    return next(traceback.TracebackException.from_exception(error).format_exception_only()).strip()


def try_udf(job: Job, function: Callable[..., Any], returns: str, *, pandas: bool) -> Callable[..., Any]:
    """A function as Spark calls it; see `Job.try_udf`.

    Parameters
    ----------
    job : Job
        Whose Spark reads the type.
    function : callable
        The job's own.
    returns : str
        The type of its values, as Spark writes it.
    pandas : bool
        Whether it takes and gives series.

    Raises
    ------
    UsageError
        There is no such type.
    """
    _ = job.spark  # which knows the types
    from pyspark.errors import ParseException
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import to_arrow_type
    from pyspark.sql.types import DataType

    try:
        known = DataType.fromDDL(returns)
    except ParseException as error:
        raise UsageError(f"{returns!r} is not a type of Spark.", remedy="Write it as in SQL: 'double'.") from error
    both = f"{VALUE} {known.simpleString()}, {FAILED} string"
    if not pandas:
        return F.udf(TriedFunction(function), both, useArrow=False)
    with warnings.catch_warnings(action="ignore"):  # Spark prefers type hints, which an object's call has not
        return F.pandas_udf(TriedSeries(function, to_arrow_type(known)), both, F.PandasUDFType.SCALAR)
