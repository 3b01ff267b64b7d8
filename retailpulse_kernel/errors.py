"""The errors of RetailPulse: one tree, and each says what happened, why, and what to do.

::

    RetailPulseError
    ├── UsageError              the caller's mistake: exit code 2
    │   ├── ProfileError        a profile is missing, or says something it can't
    │   ├── NoSuchTable         a store has no table of that name yet
    │   ├── UnknownName         a service, figure, topic, format ... that does not exist
    │   └── ParameterError      a notebook parameter is unknown, missing or mistyped
    ├── RequirementError        the machine lacks something (Java, memory, a free port)
    ├── ArtifactError           a server artifact can't be fetched, or its hash is wrong
    ├── ServiceError            a server did not start, or does not answer
    │   └── StoreUnavailable    a store can't be reached
    ├── EventError              one message is not a valid event
    └── JobError                a streaming job failed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArtifactError",
    "EventError",
    "JobError",
    "NoSuchTable",
    "ParameterError",
    "ProfileError",
    "RequirementError",
    "RetailPulseError",
    "ServiceError",
    "StoreUnavailable",
    "UnknownName",
    "UsageError",
]


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


class ProfileError(UsageError):
    """A profile is missing, or holds a value that can't be used."""


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
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = difflib.get_close_matches(name, self.known, n=1)
        remedy = f"Did you mean {near[0]!r}? " if near else ""
        remedy += "Known: " + ", ".join(self.known) + "." if self.known else "There is none yet."
        super().__init__(f"There is no {kind} {name!r}.", remedy=remedy)


class ParameterError(UsageError):
    """A notebook parameter is unknown, missing, mistyped or out of range."""


class RequirementError(RetailPulseError):
    """The machine lacks something that is needed: Java, memory, disk, a free port."""

    exit_code = 2


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


class JobError(RetailPulseError):
    """A streaming job failed, or can't be started as asked."""
