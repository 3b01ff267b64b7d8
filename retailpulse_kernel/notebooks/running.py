"""Running a notebook as a job: papermill executes it, a signal lets it end in order."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from retailpulse_kernel.ground import errors
from retailpulse_kernel.ground.errors import JobError, ParameterError, RetailPulseError, cause_line
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.notebooks.environment import environment_of
from retailpulse_kernel.notebooks.files import read_notebook, with_parameters, without_tests
from retailpulse_kernel.notebooks.parameters import check, read_parameters, unread
from retailpulse_kernel.streaming.run.context import RunContext

__all__ = ["Run", "checked_parameters", "request_stop", "run_notebook"]


_WATCH_SECONDS = 1.0
#: The path of a socket has 107 characters at most; its file's name and the run's folder take 31 of them.
_LONGEST_TEMPORARY = 70


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
    reports : list of dict
        What each job that it ran did: its state, its micro-batches and where its messages went.
    """

    notebook: Path
    output: Path
    parameters: dict[str, Any]
    seconds: float
    reports: list[dict[str, Any]] = field(default_factory=list)


def run_notebook(
    settings: Settings,
    notebook: Path,
    given: Mapping[str, Any],
    *,
    output: Path | None = None,
    show_output: bool = False,
    about: Mapping[str, Any] | None = None,
    stop_when: Callable[[], bool] | None = None,
    context: RunContext | None = None,
    temporary: Path | None = None,
) -> Run:
    """Execute a notebook with parameters on the settings' servers.

    Cells tagged ``test`` are not run; see `notebooks.testing`. SIGTERM and SIGINT let a streaming job finish its
    micro-batch and end; a second one interrupts.

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
    context : RunContext, optional
        What the job is told; a stop file is added.
    temporary : Path, optional
        The notebook's folder for temporary files; the system's when absent.

    Raises
    ------
    UsageError
        There is no such notebook, or a parameter is wrong.
    RetailPulseError
        A cell failed; the error of its name where it is one of ours.
    """
    import papermill

    from retailpulse_kernel.notebooks.kernels import RunKernelManager, kernel_config, last_words
    from retailpulse_kernel.notebooks.records import SAVE_SECONDS, header, note_failure, reports_in, save_whole

    values = checked_parameters(notebook, given)
    started = datetime.now(UTC)
    if output is None:
        folder = settings.home / "runs" / settings.namespace.name / notebook.stem
        output = folder / f"{started:%Y%m%dT%H%M%S}-{os.getpid()}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    # papermill itself would turn times and decimals into text, so it gets a notebook with parameters.
    prepared = with_parameters(without_tests(read_notebook(notebook)), values)
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
    write_whole(output, nbformat.writes(prepared))
    save_whole(output.parent)
    try:
        own = {} if temporary is None else {"TMPDIR": str(temporary)}
        with _stoppable(settings, context or RunContext(), stop_when, own) as folder:
            try:
                papermill.execute_notebook(
                    str(output),
                    str(output),
                    progress_bar=False,
                    log_output=show_output,
                    request_save_on_cell_execute=True,
                    autosave_cell_every=SAVE_SECONDS,
                    cwd=str(notebook.parent),
                    kernel_manager_class=RunKernelManager,
                    config=kernel_config(folder),
                )
            except RuntimeError as error:  # the kernel did not start, or died
                raise RuntimeError(": ".join(filter(None, (str(error), last_words(folder))))) from error
    except BaseException as error:
        failure = _as_ours(error, notebook, output)
        with contextlib.suppress(OSError):  # a full disk must not take the place of why the run failed
            note_failure(output, failure)
        if failure is error:
            raise
        raise failure from error
    seconds = (datetime.now(UTC) - started).total_seconds()
    return Run(notebook, output, values, seconds, reports_in(output))


def checked_parameters(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values to inject for what was given; nothing of the notebook has run yet.

    Parameters
    ----------
    notebook : Path
        An ``.ipynb`` file.
    given : mapping
        By name, each as text or as a value of its type.

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


def _as_ours(error: BaseException, notebook: Path, output: Path) -> BaseException:
    """The error that a cell ended with, as the one it was in the kernel, with the cell; any other as it is."""
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        named = getattr(errors, error.ename, None)
        kind = named if isinstance(named, type) and issubclass(named, RetailPulseError) else Exception
        if issubclass(kind, errors.UsageError):
            # All of its lines are words for the user: a contract's error has one for each fault.
            return errors.UsageError(f"Cell {error.exec_count}: {error.evalue.strip()}")
        if issubclass(kind, errors.CheckFailed):
            return errors.CheckFailed(error.evalue)
        cause = cause_line(f"{error.ename}: {error.evalue}" if kind is Exception else error.evalue)
        said = f"Cell {error.exec_count} failed: {cause.rstrip('.')}."
        return JobError(said, remedy=f"The run's notebook is {output}.")
    if isinstance(error, RuntimeError):
        return JobError(f"The notebook {notebook.name} lost its kernel: {error}.", remedy=f"See {output}.")
    return error


@contextlib.contextmanager
def _in_environment(variables: dict[str, str]) -> Iterator[None]:
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
    if stop_file := RunContext.of_environment().stop_file:
        Path(stop_file).touch()


@contextlib.contextmanager
def _stoppable(
    settings: Settings, context: RunContext, stop_when: Callable[[], bool] | None, own: dict[str, str]
) -> Iterator[Path]:
    """Turn the first SIGTERM or SIGINT, and `stop_when`, into the stop file that a job looks for.

    Whatever process starts in the block has the settings, the context with that file, and variables of its own.

    Yields
    ------
    Path
        The run's temporary folder, for this user only.
    """
    short = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST_TEMPORARY else "/tmp"
    with tempfile.TemporaryDirectory(prefix="retailpulse-", dir=short) as folder:
        stop_file = Path(folder) / "stop"
        variables = {**own, **environment(settings), **replace(context, stop_file=str(stop_file)).environment()}
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
            with _in_environment(variables):
                yield Path(folder)
        finally:
            over.set()
            watcher.join()
            for number, handler in before.items():
                signal.signal(number, handler)
