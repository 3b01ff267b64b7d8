"""The errors of RetailPulse: one tree, and each says what happened, why, and what to do.

::

    RetailPulseError
    ├── UsageError              the caller's mistake: exit code 2
    │   ├── ConfinedError       a notebook that is being tried would write outside of its namespace
    │   ├── ProfileError        a profile is missing, or says something it can't
    │   ├── ContractError       a contract is missing, or has faults
    │   ├── NoSuchTable         a store has no table of that name yet
    │   ├── UnknownName         a service, figure, topic, format ... that does not exist
    │   └── ParameterError      a notebook parameter is unknown, missing or mistyped
    ├── RequirementError        the machine lacks something (Java, memory, a free port)
    │   └── MissingExtra        an extra of the package is not installed
    ├── ArtifactError           a server artifact can't be fetched, or its hash is wrong
    ├── ServiceError            a server did not start, or does not answer
    │   └── StoreUnavailable    a store can't be reached
    ├── EventError              one message is not a valid event
    ├── CheckFailed             a check ran, and what it checked is not right: a verdict, which no retry changes
    │   ├── AmbiguousKey        rows of one micro-batch share a key and differ; also a JobError
    │   ├── FunctionFailed      a Python function of a job fails on the same messages again
    │   └── TestFailed          a job makes other rows of given events than its test expects
    └── JobError                a streaming job failed
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = [
    "AmbiguousKey",
    "ArtifactError",
    "CheckFailed",
    "ConfinedError",
    "ContractError",
    "EventError",
    "FunctionFailed",
    "JobError",
    "MissingExtra",
    "NoSuchTable",
    "ParameterError",
    "ProfileError",
    "RequirementError",
    "RetailPulseError",
    "ServiceError",
    "StoreUnavailable",
    "TestFailed",
    "UnknownName",
    "UsageError",
    "cause_line",
    "did_you_mean",
]

#: The start of a line that names an exception, as Python's and Java's tracebacks write it.
_NAMED = re.compile(r"(?:Caused by: )?((?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)): (.+)")
#: What Spark puts behind a sentence.
_SPARK_S_END = re.compile(r"(?: SQLSTATE: \w{5})?;?$")
#: What Kafka's client says of itself.
_KAFKA_ERROR = re.compile(r'KafkaError\{code=\w+,val=-?\d+,str="(.*?)"\}')
#: Exceptions that only hand another one on.
_CARRIERS = frozenset(
    {"Py4JJavaError", "Py4JException", "SparkException", "StreamingQueryException", "PythonException"}
)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question for the known name that is nearest to a wrong one, and a space; empty where none is near.

    >>> did_you_mean("tody", ["today", "yesterday"])
    "Did you mean 'today'? "

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        The names that exist.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


class RetailPulseError(Exception):
    """Base of every error that RetailPulse raises on purpose.

    Parameters
    ----------
    message : str
        What happened and why, in one sentence.
    remedy : str, optional
        What the reader can do about it, in one sentence.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class UsageError(RetailPulseError):
    """The caller asked for something that can't be; exit code 2."""

    exit_code = 2


class ConfinedError(UsageError):
    """A notebook that is being tried would write outside of the namespace that it is tried in."""


class ProfileError(UsageError):
    """A profile is missing, or holds a value that can't be used."""


class ContractError(UsageError):
    """A contract is missing, or has faults; all of them are told at once, each with its line."""


class NoSuchTable(UsageError):
    """A store has no such table or keyspace; a job makes its tables when it first runs."""


class UnknownName(UsageError):
    """A name that does not exist, with the nearest one that does.

    Parameters
    ----------
    kind : str
        What was looked for, such as ``"service"``.
    name : str
        The name that was given.
    known : iterable of str
        The names that exist.
    of : str
        What should have the name, such as ``"the table 'carts'"``.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, of: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        remedy = did_you_mean(name, self.known)
        remedy += "Known: " + ", ".join(self.known) + "." if self.known else "There is none yet."
        super().__init__(f"There is no {kind} {name!r}{of and f' of {of}'}.", remedy=remedy)


class ParameterError(UsageError):
    """A notebook parameter is unknown, missing, mistyped or out of range."""


class RequirementError(RetailPulseError):
    """The machine lacks something that is needed: Java, memory, disk, a free port."""

    exit_code = 2


class MissingExtra(RequirementError):
    """An optional group of the package's dependencies is not installed.

    Parameters
    ----------
    extra : str
        Its name in ``pyproject.toml``, such as ``"hbase"``.
    missing : iterable of str
        The modules of it that can't be found.
    """

    def __init__(self, extra: str, missing: Iterable[str]) -> None:
        self.extra, self.missing = extra, tuple(missing)
        named = ", ".join(self.missing[:3]) + (", …" if len(self.missing) > 3 else "")
        super().__init__(
            f"The extra {extra!r} of RetailPulse is not installed: {named} can't be imported.",
            remedy=f"Run pip install 'retailpulse-kernel[{extra}]', or `make setup` in a checkout.",
        )


class ArtifactError(RetailPulseError):
    """A server artifact can't be fetched, or is not the one that was locked."""


class ServiceError(RetailPulseError):
    """A server did not start, or does not answer."""


class StoreUnavailable(ServiceError):
    """A store can't be reached.

    Attributes
    ----------
    store : str
        ``"kafka"``, ``"cassandra"``, ``"hbase"``, ``"hive"`` or ``"spark"``.
    """

    def __init__(self, store: str, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.store = store


class EventError(RetailPulseError):
    """One message is not a valid event.

    Attributes
    ----------
    reason : str
        A short, stable code such as ``"missing:event_id"``; it goes to the dead-letter topic.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class CheckFailed(RetailPulseError):
    """A check ran to its end, and what it checked is not right.

    This is a verdict. Nothing broke, so a retry would find the same: Airflow ends such a run at once.
    """


class FunctionFailed(CheckFailed):
    """A Python function of a job fails on the same messages again: there is a row that it can't compute."""


class TestFailed(CheckFailed):
    """A job makes other rows of given events than its test expects.

    Parameters
    ----------
    test : str
        The test's name.
    lines : iterable of str
        What differs, as the lines of a table.
    """

    __test__ = False  # pytest takes classes of such a name for its own

    def __init__(self, test: str, lines: Iterable[str]) -> None:
        self.test, self.lines = test, tuple(lines)
        super().__init__("\n".join([f"The test {test!r} fails.", *self.lines]))


class JobError(RetailPulseError):
    """A streaming job failed, or can't be started as asked."""


class AmbiguousKey(CheckFailed, JobError):
    """Rows of one micro-batch share a key and differ: the job started again would find the same rows."""


def cause_line(error: BaseException | str) -> str:
    r"""The sentence of what an error came from, in one line.

    Spark, py4j, papermill and Airflow hand an error on as the text of its traceback, within words of their own.

    >>> cause_line("An exception was raised by the Python Proxy. Return Message: Traceback ...\nValueError: too big")
    'ValueError: too big'

    Parameters
    ----------
    error : BaseException or str
        An exception, or the text that a log keeps of it.
    """
    lines = [_SPARK_S_END.sub("", line.strip()) for line in str(error).splitlines() if line.strip()]
    for line in reversed(lines):
        found = _NAMED.match(line)
        if found is None or found[2] in _CARRIERS:
            continue
        ours = found[1].startswith("retailpulse_kernel.")
        if ours or found[2].endswith(("Error", "Exception", "Warning", "Interrupt")):
            said = _KAFKA_ERROR.sub(r"\1", found[3])
            return said if ours else f"{found[2]}: {said}"
    if lines and (cause := lines[0].partition(" terminated with exception: ")[2]):
        return cause
    said = _KAFKA_ERROR.sub(r"\1", lines[0]) if lines else ""
    if isinstance(error, str | RetailPulseError) or type(error).__name__ in _CARRIERS:
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
