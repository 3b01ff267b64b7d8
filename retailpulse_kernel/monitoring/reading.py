"""What all processes of a home have left: read, judged and put together."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import psutil

from retailpulse_kernel.machine.strays import tree
from retailpulse_kernel.telemetry.recording import BEAT_SECONDS
from retailpulse_kernel.telemetry.values import Values

__all__ = ["Recorded", "put_together", "read_recorded"]

#: Seconds without a sign of life after which a process counts as gone; a busy machine may delay some.
_SILENT = 5 * BEAT_SECONDS
#: Seconds after which a process that is gone is no longer news: nobody restarts a closed notebook's kernel.
_FORGOTTEN = 86_400.0

State = Literal["running", "ended", "gone", "forgotten"]


@dataclass(frozen=True)
class Recorded:
    """One process' file.

    Attributes
    ----------
    state : str
        ``running``; ``ended`` in order; ``gone``: failed, or silent without having ended; ``forgotten``: for a
        day.
    content : dict
        What it wrote.
    """

    state: State
    content: dict[str, Any]

    @property
    def identity(self) -> dict[str, str]:
        """Its labels."""
        return {label: self.content[label] for label in ("namespace", "component", "name")}

    @property
    def memory(self) -> int | None:
        """Resident bytes of the process and all below it; None when it does not run on this machine."""
        if self.state != "running" or self.content["host"] != socket.gethostname():
            return None
        total = 0
        for process in tree(self.content["pid"]):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        return total or None


def read_recorded(folder: Path, now: float | None = None) -> list[Recorded]:
    """Every process that left a file under a folder.

    Parameters
    ----------
    folder : Path
        Where processes leave their measurements.
    now : float, optional
        Seconds since 1970, for the age of files; the present time when absent.
    """
    moment = time.time() if now is None else now
    found = []
    for path in sorted(folder.glob("*/*.json")):
        try:
            content = orjson.loads(path.read_bytes())
        except (OSError, ValueError):  # a namespace that is being dropped, a disk that was full
            continue
        found.append(Recorded(_state(content, moment), content))
    return found


def put_together(recorded: Iterable[Recorded]) -> Values:
    """The metrics of all of them, and of each whether it lives.

    Parameters
    ----------
    recorded : iterable of Recorded
        Of all processes; those of one role add up.
    """
    together = Values()
    # Of gauges the last one stays: that of the process that showed itself last.
    for one in sorted(recorded, key=lambda r: r.content["beat"]):
        together.merge(one.content, gauges=one.state == "running")
        together.add("retailpulse_process_starts_total", one.content["starts"], **one.identity)
    for one in _best(recorded):
        if one.state in ("running", "gone"):
            together.set("retailpulse_process_up", one.state == "running", **one.identity)
        if (memory := one.memory) is not None:
            together.set("retailpulse_process_memory_bytes", memory, **one.identity)
    return together


def _best(recorded: Iterable[Recorded]) -> Iterator[Recorded]:
    """The newest process of each role; one that runs before all others."""
    roles: dict[tuple[str, ...], Recorded] = {}
    for one in sorted(recorded, key=lambda r: (r.state == "running", r.content["beat"])):
        roles[tuple(one.identity.values())] = one
    yield from roles.values()


def _state(content: dict[str, Any], now: float) -> State:
    if content["state"] == "ended":
        return "ended"
    silent = now - content["beat"]
    if content["state"] == "running" and silent < _SILENT:
        return "running"
    return "gone" if silent < _FORGOTTEN else "forgotten"
