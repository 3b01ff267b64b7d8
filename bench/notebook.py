"""Run a job's notebook in this process, on the events of another namespace than its own.

``python -m bench.notebook NAME TOPIC [PARAMETER=VALUE ...]``. The cells are those that production runs; only
papermill and the kernel are left out.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nbformat

from bench.lab import project_file
from retailpulse_kernel.ground.settings import Namespace
from retailpulse_kernel.notebooks.parameters import check, read_parameters
from retailpulse_kernel.streaming.run.context import current_context, using_context
from retailpulse_kernel.telemetry.jobs import JobMetrics
from retailpulse_kernel.telemetry.recording import Recorder

__all__ = ["MEASURING", "TIMED", "run"]

#: An environment variable: a job that has it tells how long it spends on measuring itself.
TIMED = "RETAILPULSE_BENCH_TIMED"
#: What it tells that by, beside its metrics: seconds.
MEASURING = "measuring_seconds"


def run(name: str, topic: str, given: dict[str, str]) -> None:
    """Run the notebook of a job until its stop file appears.

    Parameters
    ----------
    name : str
        ``metrics``, ``engagement``, ``archive``.
    topic : str
        The events of another namespace, read instead of its own, so that every measurement has a namespace of its
        own and all read the same events.
    given : dict of str
        Parameters as text.
    """
    path = project_file("notebooks", "jobs", f"{name}.ipynb")
    values = check(given, read_parameters(path), notebook=path.name)
    source = topic.removesuffix("retail.events").rstrip(".") or Namespace.DEFAULT
    cells: dict[str, object] = {}
    with using_context(replace(current_context(), topics_of=source)):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{path.name}", "exec"), cells)
            if "parameters" in cell.metadata.get("tags", ()):
                cells.update(values)


def time_the_measuring() -> None:
    """Let every recorder of this process tell how long counting and writing it down have taken, in all threads."""
    for owner, names in ((Recorder, ("add", "flush", "observe", "set")), (JobMetrics, ("add", "follow"))):
        for name in names:
            setattr(owner, name, _timed(getattr(owner, name)))


_spent = 0.0
_lock, _inside = threading.Lock(), threading.local()


def _timed(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(measuring: Recorder | JobMetrics, *arguments: Any, **named: Any) -> Any:
        global _spent
        if getattr(_inside, "one", False):  # called by one that is timed itself
            return method(measuring, *arguments, **named)
        _inside.one, began = True, time.perf_counter()
        try:
            return method(measuring, *arguments, **named)
        finally:
            _inside.one = False
            with _lock:
                _spent += time.perf_counter() - began
            if isinstance(measuring, Recorder):
                measuring.tell(**{MEASURING: _spent})

    return call


if __name__ == "__main__":
    if TIMED in os.environ:
        time_the_measuring()
    run(sys.argv[1], sys.argv[2], dict(argument.split("=", 1) for argument in sys.argv[3:]))
    print("{}")
