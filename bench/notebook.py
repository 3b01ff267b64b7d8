"""Run a job's notebook in this process, on the events of another namespace than its own.

``python -m bench.notebook NAME TOPIC [PARAMETER=VALUE ...]``. The cells are those that production runs; only
papermill and the kernel are left out.
"""

from __future__ import annotations

import os
import sys

import nbformat

import retailpulse_kernel as rp
from bench.lab import project_file
from retailpulse_kernel.monitoring.jobs import JobMetrics
from retailpulse_kernel.monitoring.recording import Recorder
from retailpulse_kernel.parameters import check, read_parameters
from retailpulse_kernel.settings import Namespace

__all__ = ["UNMEASURED", "run"]

#: An environment variable: a job that has it measures nothing, which only this benchmark can want.
UNMEASURED = "RETAILPULSE_BENCH_UNMEASURED"


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
    rp.job(name).settings.topics_of = topic.removesuffix("retail.events").rstrip(".") or Namespace.DEFAULT
    cells: dict[str, object] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{path.name}", "exec"), cells)
        if "parameters" in cell.metadata.get("tags", ()):
            cells.update(values)


def measure_nothing() -> None:
    """Take the metrics out of this process: nothing is counted, written to a file, or asked of Spark."""
    for owner, names in ((Recorder, ("add", "flush", "observe", "set", "start")), (JobMetrics, ("add", "follow"))):
        for name in names:
            setattr(owner, name, lambda *_, **__: None)


if __name__ == "__main__":
    if UNMEASURED in os.environ:
        measure_nothing()
    run(sys.argv[1], sys.argv[2], dict(argument.split("=", 1) for argument in sys.argv[3:]))
    print("{}")
