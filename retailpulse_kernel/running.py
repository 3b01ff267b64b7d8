"""Running a notebook as a job: papermill executes it, a signal lets it end in order."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from retailpulse_kernel import errors
from retailpulse_kernel.errors import JobError, ParameterError, RetailPulseError
from retailpulse_kernel.notebooks import read_notebook, with_parameters
from retailpulse_kernel.parameters import check, read_parameters, unread
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.streaming.runner import STOP_FILE

__all__ = ["Run", "checked_parameters", "environment", "in_environment", "request_stop", "run_notebook"]


_WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Run:
    """One finished run of a notebook.

    Attributes
    ----------
    notebook, output : Path
        What was run, and the executed copy.
    parameters : dict
        What was injected.
    seconds : float
        How long it took.
    """

    notebook: Path
    output: Path
    parameters: dict[str, Any]
    seconds: float


def run_notebook(
    settings: Settings,
    notebook: Path,
    given: Mapping[str, Any],
    *,
    output: Path | None = None,
    show_output: bool = False,
    about: Mapping[str, Any] | None = None,
    stop_when: Callable[[], bool] | None = None,
) -> Run:
    """Execute a notebook with parameters on the settings' servers.

    SIGTERM and SIGINT let a streaming job finish its micro-batch and end; a second one interrupts.

    Parameters
    ----------
    settings : Settings
        Handed to the notebook's kernel through the environment.
    notebook : Path
        The source; it is not changed.
    given : mapping of str
        Parameters as text or values, checked against the notebook's types before anything runs.
    output : Path, optional
        Where the executed copy goes; under ``<home>/runs`` when absent.
    show_output : bool
        Whether what the cells print is printed here too.
    about : mapping, optional
        What else the executed copy's metadata should say of the run.
    stop_when : callable, optional
        Asked every second or so; once it is true, the job finishes its micro-batch and ends.

    Raises
    ------
    UsageError
        There is no such notebook, or a parameter is wrong.
    RetailPulseError
        A cell failed; the error of its name where it is one of ours.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from retailpulse_kernel.promotion.manifest import environment_of
    from retailpulse_kernel.records import SAVE_SECONDS, header, save_whole

    values = checked_parameters(notebook, given)
    started = datetime.now(UTC)
    if output is None:
        folder = settings.home / "runs" / settings.namespace.name / notebook.stem
        output = folder / f"{started:%Y%m%dT%H%M%S}-{os.getpid()}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    # papermill itself would turn times and decimals into text, so it gets a notebook with parameters.
    prepared = with_parameters(read_notebook(notebook), values)
    here = environment_of()
    said = {
        "notebook": notebook.name,
        "namespace": settings.namespace.name,
        "parameters": {name: str(value) for name, value in values.items()},
        "package": here.package,
        "commit": here.commit,
        "lock": here.lock_sha256,
        **(about or {}),
    }
    prepared.metadata["retailpulse"] = {**said, "notebook": str(notebook), "pid": os.getpid()}
    prepared.cells.insert(0, header({**said, "started": f"{started:%Y-%m-%d %H:%M:%S} UTC"}))
    nbformat.write(prepared, output)
    save_whole(output.parent)
    with in_environment(environment(settings)), _stoppable(stop_when):
        try:
            papermill.execute_notebook(
                str(output),
                str(output),
                progress_bar=False,
                log_output=show_output,
                request_save_on_cell_execute=True,
                autosave_cell_every=SAVE_SECONDS,
                cwd=str(notebook.parent),
            )
        except PapermillExecutionError as error:
            raise _as_ours(error, output) from error
        except RuntimeError as error:
            raise JobError(
                f"The notebook {notebook.name} lost its kernel: {error}.", remedy=f"See {output}."
            ) from error
    return Run(notebook, output, values, (datetime.now(UTC) - started).total_seconds())


def checked_parameters(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values to inject for what was given; nothing of the notebook has run yet.

    Raises
    ------
    UsageError
        There is no such notebook.
    ParameterError
        A parameter is unknown, missing, mistyped, out of range or never read.
    """
    parameters = read_parameters(notebook)
    values = check(given, parameters, notebook=notebook.name)
    if ignored := unread(notebook, parameters):
        raise ParameterError(
            f"The parameter {ignored[0]!r} of {notebook.name} is never read: no later cell uses it.",
            remedy="Use it, or remove it from the parameters cell.",
        )
    return values


def _as_ours(error: Any, output: Path) -> RetailPulseError:
    """The error that a cell ended with, as the one it was in the kernel."""
    kind = getattr(errors, error.ename, None)
    if isinstance(kind, type) and issubclass(kind, errors.UsageError):
        return errors.UsageError(error.evalue)
    if isinstance(kind, type) and issubclass(kind, RetailPulseError):
        return JobError(error.evalue)
    return JobError(
        f"Cell {error.exec_count} failed with {error.ename}: {error.evalue}.", remedy=f"The run's notebook is {output}."
    )


def environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, for a process that should have the same."""
    return {
        "RETAILPULSE_HOME": str(settings.home),
        "RETAILPULSE_CACHE": str(settings.cache),
        "RETAILPULSE_PIPELINES": str(settings.pipelines),
        "RETAILPULSE_PROFILE": settings.profile_name,
        "RETAILPULSE_NAMESPACE": settings.namespace_name,
        "RETAILPULSE_TOPICS_OF": settings.topics_of,
        "RETAILPULSE_PORT_OFFSET": str(settings.port_offset),
    }


@contextlib.contextmanager
def in_environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables that a new process inherits, set back afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def request_stop() -> None:
    """Let the run of this process finish its micro-batch and end; nothing where none is under way."""
    if stop_file := os.environ.get(STOP_FILE):
        Path(stop_file).touch()


@contextlib.contextmanager
def _stoppable(stop_when: Callable[[], bool] | None) -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT, and `stop_when`, into the stop file that a job looks for."""
    with tempfile.TemporaryDirectory(prefix="retailpulse-") as folder:
        stop_file = Path(folder) / "stop"
        os.environ[STOP_FILE] = str(stop_file)
        over = threading.Event()

        def stop(_signal: int, _frame: Any) -> None:
            if stop_file.exists():
                raise KeyboardInterrupt
            stop_file.touch()
            print("Ending after the micro-batch that is under way; once more interrupts it.", file=sys.stderr)

        def watch() -> None:
            while stop_when is not None and not over.wait(_WATCH_SECONDS):
                if stop_when():
                    stop_file.touch()
                    return

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        watcher = threading.Thread(target=watch, name="stop-when", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            for number, handler in before.items():
                signal.signal(number, handler)
            os.environ.pop(STOP_FILE, None)
