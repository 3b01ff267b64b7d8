"""What there is to complete: tables, columns, topics and values, read when first asked for and kept for a minute.

Reading happens in a thread. Whoever asks waits a moment for it, and takes what is known where it takes longer:
a server that is down or slow does not hold up typing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["forget", "tables", "topics", "values"]

#: Seconds for which an answer, and a failure, is believed.
_FRESH, _FAILED = 60.0, 10.0
#: Seconds that completion may keep a person waiting.
_PATIENCE = 0.5

Tables = dict[str, list[str]]


class _Entry:
    """One store's schema."""

    def __init__(self, read: Callable[[], Any], nothing: Any) -> None:
        self._read, self._value = read, nothing
        self._stale_at = 0.0
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None

    def get(self) -> Any:
        with self._lock:
            if time.monotonic() >= self._stale_at and self._reading is None:
                self._reading = threading.Thread(target=self._run, name="schema", daemon=True)
                self._reading.start()
            reading = self._reading
        if reading is not None:
            reading.join(_PATIENCE)
        return self._value

    def _run(self) -> None:
        fresh = _FAILED
        try:
            self._value = self._read()
            fresh = _FRESH
        except Exception:
            # Whatever it was, the next use of the store reports it; completion says nothing.
            pass
        finally:
            with self._lock:
                self._stale_at = time.monotonic() + fresh
                self._reading = None


_entries: dict[tuple[str, str, str], _Entry] = {}


def tables(bench: Any, store: str) -> Tables:
    """Tables and their columns of ``"cassandra"``, ``"hive"`` or ``"hbase"``; Spark's are Hive's.

    Parameters
    ----------
    bench : object
        The workbench.
    store : str
        Its name.
    """
    return _entry(bench, store, lambda: getattr(bench, store).columns(), {}).get()


def topics(bench: Any) -> list[str]:
    """The namespace's topics.

    Parameters
    ----------
    bench : object
        The workbench.
    """
    return _entry(bench, "kafka", lambda: list(bench.kafka.topics()["topic"]), []).get()


def values(bench: Any) -> tuple[list[str], list[str]]:
    """The categories and the currencies that have figures.

    Parameters
    ----------
    bench : object
        The workbench.
    """
    return _entry(bench, "values", lambda: _known_values(bench), ([], [])).get()


def _known_values(bench: Any) -> tuple[list[str], list[str]]:
    from retailpulse_kernel.answers.questions import known_values

    return known_values(bench)


def forget() -> None:
    """Read everything anew when it is next asked for."""
    _entries.clear()


def _entry(bench: Any, store: str, read: Callable[[], Any], nothing: Any) -> _Entry:
    key = (bench.settings.profile_name, bench.settings.namespace_name, store)
    return _entries.setdefault(key, _Entry(read, nothing))
