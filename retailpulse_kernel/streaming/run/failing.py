"""What a run says that can't go on: a Python function of the job fails twice, or Spark's Java process has ended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.errors import FunctionFailed, JobError, cause_line
from retailpulse_kernel.shop.personal import is_personal, named_only
from retailpulse_kernel.stores.spark.session import java_has_ended
from retailpulse_kernel.streaming.checkpoint.log import committed_batch

if TYPE_CHECKING:
    from retailpulse_kernel.streaming.run.job import Job
    from retailpulse_kernel.streaming.run.queries import OutputQuery

__all__ = ["failing_function", "function_failed", "reads_personal", "spark_ended", "told_cause"]

_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line \d+, in (?P<function>.+)$', re.MULTILINE)
#: Spark's own frames, with which a worker's traceback may begin. Spark leaves them out where it can.
_SPARK = "/pyspark/"
#: Where no function of a job is: the frames of the driver and of the package's own code.
_NOT_THE_JOB_S = ("/py4j/", "/retailpulse_kernel/")


def failing_function(error: BaseException | str) -> str | None:
    r"""The name of the job's Python function that a worker of Spark has failed in; None for any other error.

    >>> failing_function('''Traceback (most recent call last):
    ...   File "/x/pyspark/worker.py", line 9, in main
    ...   File "/tmp/cell.py", line 2, in score
    ...   File "/x/pandas/core/series.py", line 7, in map
    ... KeyError: 'p13'
    ... ''')
    'score'

    Parameters
    ----------
    error : BaseException or str
        What Spark reports, with the worker's traceback in its text.
    """
    _, traceback, frames = str(error).rpartition(_TRACEBACK)
    if traceback:
        for found in _FRAME.finditer(frames):
            file = found["file"]
            if _SPARK not in file:
                return None if any(part in file for part in _NOT_THE_JOB_S) else found["function"]
    return None


def reads_personal(job: Job, output: str) -> bool:
    """Whether the query of a table of rows looks at a personal field.

    Parameters
    ----------
    job : Job
        Whose query.
    output : str
        The output's name.
    """
    columns = (one.columns for one in job.writes.rows if one.name == output)
    return any(is_personal(name, job.shop) for readers in columns for read in readers for name in read)


def told_cause(job: Job, output: str, error: BaseException | str) -> str:
    """What an error came from, in one line; of a function that may quote a personal value only the exception's name.

    Parameters
    ----------
    job : Job
        Whose query failed.
    output : str
        The output's name.
    error : BaseException or str
        What Spark reports.
    """
    said = cause_line(error)
    return named_only(said) if failing_function(error) is not None and reads_personal(job, output) else said


def function_failed(job: Job, query: OutputQuery, function: str, error: BaseException) -> FunctionFailed:
    """The error that says which function fails, how, and on which messages.

    Parameters
    ----------
    job : Job
        Whose query.
    query : OutputQuery
        The query whose micro-batch can't be computed.
    function : str
        The function's name.
    error : BaseException
        What Spark reports.
    """
    batch, done = query.logged, committed_batch(query.checkpoint, alone=True)
    spans = []
    for topic, ends in batch.offsets.items() if batch else ():
        begins = done.offsets.get(topic, {}) if done else {}
        parts = [f"{p}: {begins.get(p, 0)} to {end - 1}" for p, end in ends.items() if end > begins.get(p, 0)]
        spans += [f"{topic} (offsets by partition: {', '.join(parts)})"] if parts else []
    where = f" of {' and '.join(spans)}" if spans else ""
    return FunctionFailed(
        f"The function {function!r} of the job {job.name!r} failed twice on the same messages{where}: "
        f"{told_cause(job, query.output.name, error).rstrip('.')}.",
        remedy="Nothing of them is written. Let the function give a value for such a row, or leave the row out of the "
        "query. Then promote the notebook, and resume the job.",
    )


def spark_ended(error: BaseException) -> JobError | None:
    """The error that says so where Spark's Java process has ended; None for any other error.

    Parameters
    ----------
    error : BaseException
        What a call of Spark has raised.
    """
    from py4j.protocol import Py4JError

    if not isinstance(error, Py4JError | ConnectionError | EOFError) or not java_has_ended(wait=1.0):
        return None
    return JobError(
        "Spark's Java process has ended: it was killed, or this machine ran out of memory.",
        remedy="Run the job again: it goes on from its checkpoint.",
    )
