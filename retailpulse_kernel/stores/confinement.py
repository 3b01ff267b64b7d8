"""Confined: while a notebook is tried, nothing of it writes outside of one namespace.

`Settings.confined_to` names that namespace. It reaches every process of a trial, and whatever such a process starts,
through one environment variable, RETAILPULSE_CONFINED_TO. Every door of the package through which something is written
asks here first. What is refused is also noted in a file, so that a notebook that goes on after the error has failed all
the same.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlparse

from retailpulse_kernel.ground.errors import ConfinedError
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.stores.binding import Dialect
from retailpulse_kernel.stores.written import SESSION, written

__all__ = ["Refusal", "refusals", "require_free", "require_own", "require_own_statement", "require_own_topic"]

#: Characters of a statement that are repeated.
_SHOWN = 160


@dataclass(frozen=True)
class Refusal:
    """A write that was refused.

    Attributes
    ----------
    at : float
        When, in seconds since 1970.
    what : str
        The sentence that the notebook got.
    """

    at: float
    what: str


def require_own(settings: Settings, what: str) -> None:
    """Refuse a write into the settings' namespace where a trial is confined to another one.

    Parameters
    ----------
    settings : Settings
        Of whoever writes.
    what : str
        The write, as the beginning of a sentence.

    Raises
    ------
    ConfinedError
        It is refused.
    """
    if settings.confined_to and settings.namespace_name != settings.confined_to:
        _refuse(settings, what, f"it would write into the namespace {settings.namespace_name!r}")


def require_own_topic(settings: Settings, topic: str) -> None:
    """Refuse to change a topic that is not one of the namespace that a trial is confined to.

    Parameters
    ----------
    settings : Settings
        `Settings.confined_to` names the trial's namespace; where it is empty, all is allowed.
    topic : str
        That is to be written to.

    Raises
    ------
    ConfinedError
        It is not; the refusal is noted, too.
    """
    if settings.confined_to and not Namespace(settings.confined_to).owns(topic):
        _refuse(settings, f"Writing to the topic {topic!r}", "it is not a topic of this namespace")


def require_own_statement(settings: Settings, statement: str, dialect: Dialect) -> None:
    """Refuse a statement that writes, or may write, outside of the namespace that a trial is confined to.

    Parameters
    ----------
    settings : Settings
        `Settings.confined_to` names the trial's namespace; where it is empty, all is allowed.
    statement : str
        As it is going to be run.
    dialect : Dialect
        Whose statement it is.

    Raises
    ------
    ConfinedError
        It writes elsewhere, or what it writes can't be told; the refusal is noted, too.
    """
    own = settings.confined_to
    if not own:
        return
    text = " ".join(statement.split())
    shown = f"The statement `{text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}`"
    found = written(statement, dialect)
    if found is None:
        _refuse(settings, shown, "it is not a query, and what it writes can't be told")
    for namespace in sorted(found.namespaces):
        name = settings.namespace_name if namespace == SESSION else namespace
        if (name if dialect == "cql" else name.lower()) != own:
            _refuse(settings, shown, f"it would write into the namespace {name!r}")
    folder = _plain(f"{settings.warehouse}/{own}.db/")
    for place in found.places:
        if not _plain(f"{place}/").startswith(folder) or ".." in place:
            _refuse(settings, shown, f"it would write into the folder {place}")


def _plain(location: str) -> str:
    """A local folder is written as a path or as a URI, with or without escapes."""
    parsed = urlparse(location)
    return unquote(parsed.path) if parsed.scheme in ("", "file") else location


def require_free(settings: Settings, what: str) -> None:
    """Refuse what changes more than a namespace, such as which version of a job runs, while a notebook is tried.

    Parameters
    ----------
    settings : Settings
        `Settings.confined_to` is not empty while a notebook is tried.
    what : str
        What is refused, as the beginning of a sentence.

    Raises
    ------
    ConfinedError
        A notebook is being tried; the refusal is noted, too.
    """
    if settings.confined_to:
        _refuse(settings, what, "it changes what runs here")


def refusals(settings: Settings) -> list[Refusal]:
    """What was refused since a trial began.

    Parameters
    ----------
    settings : Settings
        Those of the trial.
    """
    try:
        lines = _note(settings).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [Refusal(**json.loads(line)) for line in lines]


def _note(settings: Settings) -> Path:
    return settings.home / "runs" / settings.confined_to / "refused.jsonl"


def _refuse(settings: Settings, what: str, why: str) -> NoReturn:
    error = ConfinedError(
        f"{what} is refused: {why}, and a notebook that is being tried may write only into {settings.confined_to!r}.",
        remedy="Read what is live, and write through `rp`, which is in the namespace of the trial.",
    )
    # Whoever can't keep the note is refused all the same.
    with suppress(OSError):
        note = _note(settings)
        note.parent.mkdir(parents=True, exist_ok=True)
        with note.open("a") as file:
            file.write(json.dumps(asdict(Refusal(time.time(), error.message))) + "\n")
    raise error
