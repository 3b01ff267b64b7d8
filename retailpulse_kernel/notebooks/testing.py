"""The tests of a notebook: its cells are run in this process up to the job's `run`, and its cells tagged ``test``.

A file ``NAME.test.ipynb`` beside the notebook has further tests. Its cells run behind those of the notebook. The job
never runs. Cells behind its `run` are left out, as there is nothing for them to look at, and so are those behind the
last test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from retailpulse_kernel.ground.errors import RetailPulseError, TestFailed, cause_line
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.files import is_test, read_notebook, with_parameters
from retailpulse_kernel.notebooks.running import checked_parameters
from retailpulse_kernel.notebooks.shells import load_anew, trial_shell
from retailpulse_kernel.streaming.run.context import RunContext, using_context
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.streaming.run.report import Report
from retailpulse_kernel.streaming.run.testing import Passed

__all__ = ["NotebookTests", "Request", "has_tests", "perform", "sibling_of"]


@dataclass(frozen=True)
class Case:
    """What became of a test, which is a call of `Job.test` or a cell that has none; or of a cell that has failed.

    Attributes
    ----------
    cell : str
        The code cell: its number, and its file where that is not the notebook.
    name : str
        The test's name; empty for a cell without one.
    said : str
        What the test says of itself, or why it failed.
    """

    cell: str
    name: str
    said: str


@dataclass
class NotebookTests:
    """What became of the tests of a notebook.

    Attributes
    ----------
    cases : list of Case
        The tests that have passed.
    failures : list of Case
        Those that have failed; or the one cell before them that has.
    """

    cases: list[Case] = field(default_factory=list)
    failures: list[Case] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether none has failed."""
        return not self.failures

    def __str__(self) -> str:
        if self.ok:
            return "no tests" if not self.cases else f"{len(self.cases)} case{'' if len(self.cases) == 1 else 's'}"
        return "\n".join(f"{one.cell}: {one.said}" for one in self.failures)


@dataclass(frozen=True)
class Request:
    """What another process is to test: a notebook, and its parameters as text."""

    notebook: str
    given: dict[str, str]


def perform(settings: Settings, request: bytes) -> bytes:
    """Run the tests that a request names; in the other process.

    Parameters
    ----------
    settings : Settings
        The namespace that the cells find themselves in.
    request : bytes
        A `Request` as JSON.

    Returns
    -------
    bytes
        A `NotebookTests` as JSON.
    """
    asked = msgspec.json.decode(request, type=Request)
    return msgspec.json.encode(_run_tests(Path(asked.notebook), asked.given))


def sibling_of(notebook: Path) -> Path:
    """The file with a notebook's further tests, which may be absent.

    Parameters
    ----------
    notebook : Path
        The notebook.
    """
    return notebook.with_suffix(".test.ipynb")


def has_tests(notebook: Path) -> bool:
    """Whether a notebook has tests, in itself or in its sibling.

    Parameters
    ----------
    notebook : Path
        The notebook.
    """
    return sibling_of(notebook).is_file() or any(is_test(cell) for cell in read_notebook(notebook).cells)


def _run_tests(notebook: Path, given: dict[str, str] | None = None) -> NotebookTests:
    """Run the tests of a notebook in this process.

    Parameters
    ----------
    notebook : Path
        The notebook.
    given : dict of str to str, optional
        Its parameters, as text.

    Raises
    ------
    UsageError
        There is no such notebook, or a parameter is wrong.
    """
    content = with_parameters(read_notebook(notebook), checked_parameters(notebook, given or {}))
    shell = trial_shell()
    load_anew(shell)
    tests, further = _Tests(shell, notebook.absolute().parent), sibling_of(notebook)
    tests.run(content.cells if further.is_file() else _up_to_tests(content.cells))
    if tests.found.ok and further.is_file():
        tests.run(read_notebook(further).cells, of=further.name)
    return tests.found


def _up_to_tests(cells: Sequence[Any]) -> Sequence[Any]:
    """The cells up to the last test: no test needs those behind it."""
    return cells[: max((place for place, cell in enumerate(cells, 1) if is_test(cell)), default=0)]


class _Tests:
    """The cells of a notebook, and then those of its sibling."""

    def __init__(self, shell: Any, folder: Path) -> None:
        self.found = NotebookTests()
        self._shell, self._folder = shell, folder
        self._passed = list[Passed]()
        self._has_run = False

    def run(self, cells: Sequence[Any], *, of: str = "") -> None:
        """Run the cells of a file; all cells of a sibling belong to its tests."""
        context = RunContext(run_job=self._left_out, on_test=self._passed.append, folder=str(self._folder))
        with using_context(context):
            for number, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), 1):
                label = f"cell {number} of {of}" if of else f"cell {number}"
                if is_test(cell) or of:
                    self._test(label, cell)
                elif not self._has_run and (failure := self._fails(cell.source)) is not None:
                    said = f"it fails before the tests: {cause_line(failure)}"
                    self.found.failures.append(Case(label, "", said))
                    break

    def _left_out(self, job: Job) -> Report:
        self._has_run = True
        return Report(job.name, job.settings.namespace.name, 0, state="not run: it is tested")

    def _test(self, label: str, cell: Any) -> None:
        self._passed.clear()
        failure = self._fails(cell.source)
        self.found.cases += [Case(label, passed.name, str(passed)) for passed in self._passed]
        if failure is None and not self._passed and is_test(cell):
            self.found.cases.append(Case(label, "", f"the test in {label} passes"))
        if failure is not None:
            name = failure.test if isinstance(failure, TestFailed) else ""
            said = str(failure) if isinstance(failure, RetailPulseError) else cause_line(failure)
            self.found.failures.append(Case(label, name, said))

    def _fails(self, source: str) -> BaseException | None:
        done = self._shell.run_cell(source)
        return done.error_before_exec or done.error_in_exec
