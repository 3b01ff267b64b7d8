"""How a process measures itself: into a file of its own in the home, from where the monitor takes it.

A file needs no port, no discovery and no one who listens: a notebook that ran for three seconds, or was killed, has
left what it measured. Counters belong to a role (a job of a namespace), not to a process: who takes the
role over goes on from where the one before ended.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.telemetry.values import Values

__all__ = ["BEAT_SECONDS", "Recorder", "current", "folder", "forget", "forget_role", "recording", "standing"]

#: How often a process shows that it lives; what it has measured since is lost when it is killed.
BEAT_SECONDS = 2.0
#: Processes of one role at a time, such as two generators that feed one namespace.
_SLOTS = 20

_running: list[Recorder] = []
_standing: dict[tuple[str, str, str], Recorder] = {}


def folder(settings: Settings) -> Path:
    """Where the processes of a home leave their measurements, a folder for each namespace.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    """
    return settings.home / "metrics"


def forget(settings: Settings) -> None:
    """Remove a namespace's measurements.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    """
    import shutil

    shutil.rmtree(folder(settings) / settings.namespace.name, ignore_errors=True)


def forget_role(settings: Settings, component: str, name: str) -> None:
    """Remove the measurements of one role in a namespace, such as those of a job.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    component : str
        ``"job"``, ``"api"`` and the like.
    name : str
        Which of its kind, such as a job's name.
    """
    for path in (folder(settings) / settings.namespace.name).glob(f"{component}-{name}.*"):
        path.unlink(missing_ok=True)


class Recorder(Values):
    """One process' measurements in one role.

    Parameters
    ----------
    settings : Settings
        Which home, which namespace.
    component : str
        ``job``, ``producer``, ``api``, ``live``, ``reconcile``, ``airflow``.
    name : str
        Which of them.
    **common : str
        Labels of every metric that has them, beside the namespace.
    """

    def __init__(self, settings: Settings, component: str, name: str, **common: str) -> None:
        super().__init__(namespace=settings.namespace.name, **common)
        self._folder = folder(settings) / settings.namespace.name
        self._about: dict[str, Any] = {
            "component": component, "name": name, "namespace": settings.namespace.name, "host": socket.gethostname(),
            "pid": os.getpid(), "started": time.time(), "starts": 1, "state": "running",
        }  # fmt: skip
        self.component = component
        self._path: Path | None = None
        self._slot: FileLock | None = None
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Take the role, with the counters of the one before, and begin to show that the process lives."""
        # Measuring must never stop the work: a home that can't be written has no metrics.
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._take_role()
            self.flush()
            self._thread = threading.Thread(target=self._beat, name="retailpulse-metrics", daemon=True)
            self._thread.start()

    def before_flush(self, measure: Callable[[], None]) -> None:
        """What to do before each writing: to look at a count that is kept elsewhere.

        Parameters
        ----------
        measure : callable
            Called without arguments, in the thread that writes.
        """
        self._asked = measure

    def tell(self, **facts: Any) -> None:
        """Say more of the process, such as which topic it reads.

        Parameters
        ----------
        **facts : object
            Plain values by name.
        """
        self._about |= facts

    def flush(self) -> None:
        """Write all that has been measured."""
        if self._path is None:
            return
        with self._writing, contextlib.suppress(OSError):
            self._asked()
            write_whole(self._path, orjson.dumps({**self._about, "beat": time.time(), **self.dump()}), synced=False)

    def end(self, state: str = "ended") -> None:
        """Leave the last measurements, and the role to the next one; ``failed`` is what an alert is about.

        Parameters
        ----------
        state : str
            How the process ended.
        """
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.tell(state=state)
        self.flush()
        if self._slot is not None:
            self._slot.release()

    def _take_role(self) -> None:
        stem = f"{self._about['component']}-{self._about['name']}"
        for number in range(_SLOTS):
            slot = FileLock(self._folder / f"{stem}.{number}.lock")
            try:
                slot.acquire(timeout=0)
            except Timeout:
                continue
            self._slot, self._path = slot, self._folder / f"{stem}.{number}.json"
            break
        if self._path is not None and self._path.exists():
            # A file that can't be read was half written by a full disk: begin anew.
            with contextlib.suppress(ValueError, KeyError):
                before = orjson.loads(self._path.read_bytes())
                self.merge(before, gauges=False)
                self._about["starts"] += before["starts"]

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self.flush()


@contextmanager
def recording(settings: Settings, component: str, name: str, **common: str) -> Iterator[Recorder]:
    """Measure what runs inside of the ``with`` block; `current` finds it from anywhere in the process.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    component : str
        ``"job"``, ``"api"`` and the like.
    name : str
        Which of its kind, such as a job's name.
    **common : str
        Labels of all its values.
    """
    recorder = Recorder(settings, component, name, **common)
    recorder.start()
    _running.append(recorder)
    state = "failed"
    try:
        yield recorder
        state = "ended"
    except KeyboardInterrupt:
        state = "ended"
        raise
    finally:
        _running.remove(recorder)
        recorder.end(state)


def standing(settings: Settings, component: str, name: str) -> Recorder:
    """The recorder of something that lives as long as its process, such as a view in a notebook's kernel.

    Parameters
    ----------
    settings : Settings
        Of the namespace.
    component : str
        ``"live"`` and the like.
    name : str
        Which of its kind.
    """
    key = (settings.namespace.name, component, name)
    if key not in _standing:
        _standing[key] = Recorder(settings, component, name)
        _standing[key].start()
        atexit.register(_standing[key].end)
    return _standing[key]


def current(component: str) -> Values:
    """The recorder of what runs in this process as a component; one that leads nowhere when nothing does.

    Parameters
    ----------
    component : str
        ``"job"``, ``"api"`` and the like.
    """
    found = [recorder for recorder in _running if recorder.component == component]
    return found[-1] if found else Values(namespace="", job_name="")
