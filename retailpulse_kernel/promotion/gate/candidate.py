"""The notebook in which a user works, as the gate would promote the notebook."""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import nbformat

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.files import code_cells, read_notebook, without_outputs
from retailpulse_kernel.notebooks.parameters import read_parameters
from retailpulse_kernel.notebooks.testing import sibling_of
from retailpulse_kernel.promotion.registry.diffing import Diff
from retailpulse_kernel.promotion.registry.manifest import CONTINUOUS, Manifest
from retailpulse_kernel.promotion.registry.registry import Registry, Version

__all__ = ["choices", "cleaned", "preview", "run_as", "running_version", "this_notebook"]

#: How long a run of a continuous job lasts in production, by default.
_RUN_FOR = "30m"
#: Calls that belong to the work on a notebook, and not to the job.
_WORK = ("rp.promote", "rp.jobs", "retailpulse_kernel.promote", "retailpulse_kernel.jobs")


def this_notebook() -> Path:
    """The notebook that this kernel was started for.

    Raises
    ------
    UsageError
        The kernel does not know its notebook.
    """
    path = Path(os.environ.get("JPY_SESSION_NAME", ""))
    if path.suffix != ".ipynb" or not path.is_file():
        raise UsageError(
            "This kernel does not know its notebook.",
            remedy="Name the notebook: rp.promote('notebooks/jobs/sales.ipynb').",
        )
    return path


def cleaned(notebook: Path, folder: Path) -> Path:
    """A copy without outputs and cells that only call ``rp.promote()`` or ``rp.jobs()``, with its models and tests.

    Parameters
    ----------
    notebook : Path
        The source.
    folder : Path
        Where the copy goes; made where it is absent.
    """
    content = read_notebook(notebook)
    content.cells = [cell for cell in content.cells if not (cell.cell_type == "code" and _is_work(cell.source))]
    content = without_outputs(content)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / notebook.name
    nbformat.write(content, path)
    if (tests := sibling_of(notebook.absolute())).is_file():
        shutil.copyfile(tests, folder / tests.name)
    for name in _models(content):
        if (model := notebook.absolute().with_name(name)).is_file():
            shutil.copyfile(model, folder / name)
    return path


def _models(content: Any) -> Iterator[str]:
    """The files that the cells name as models: ``job.model("score.joblib", ...)``."""
    for source in code_cells(content):
        for node in ast.walk(_parsed(source)):
            match node:
                case ast.Call(func=ast.Attribute(attr="model"), args=[ast.Constant(value=str(name)), *_]):
                    yield Path(name).name


def _parsed(source: str) -> ast.Module:
    """A cell's code; nothing of one that is not Python."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def _is_work(source: str) -> bool:
    tree = _parsed(source)
    calls = [node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    return bool(calls) and len(calls) == len(tree.body) and all(ast.unparse(call.func) in _WORK for call in calls)


def running_version(settings: Settings, notebook: Path) -> Version | None:
    """The current version of a notebook's pipeline, as far as the notebook's name and text tell.

    Parameters
    ----------
    settings : Settings
        The namespace whose promoted jobs are meant.
    notebook : Path
        The notebook.
    """
    registry, source = Registry(settings), notebook.read_text()
    for name in registry.names():
        version = registry.version(name)
        plan = version.manifest.plan
        if name == notebook.stem.lower() or (plan is not None and f'rp.job(\\"{plan.job}\\"' in source):
            return version
    return None


def choices(notebook: Path, parameter: str) -> tuple[Any, ...]:
    """The values that a parameter of a notebook may have, where the notebook names them.

    Parameters
    ----------
    notebook : Path
        The notebook.
    parameter : str
        The parameter's name.
    """
    found = read_parameters(notebook).get(parameter)
    return get_args(found.annotation) if found and get_origin(found.annotation) is Literal else ()


def run_as(
    notebook: Path,
    given: Mapping[str, str],
    *,
    schedule: str | None,
    before: Manifest | None,
    runs_job: bool = True,
) -> tuple[str, dict[str, str]]:
    """How production runs a notebook.

    Parameters
    ----------
    notebook : Path
        The source.
    given : mapping of str to str
        The parameters that the user gave. They have precedence.
    schedule : str, optional
        The schedule that the user gave. When absent: the current version's, or continuous where the job can be.
    before : Manifest, optional
        The current version's manifest.
    runs_job : bool
        Whether the notebook runs a streaming job. Before a trial only its parameters tell.

    Returns
    -------
    tuple of str and dict
        The schedule, and the parameters that are frozen; the notebook's own defaults hold for the others.
    """
    continuous = runs_job and "continuous" in choices(notebook, "run")
    chosen = schedule if schedule is not None else before.schedule if before else CONTINUOUS if continuous else ""
    parameters = dict(given)
    if chosen == CONTINUOUS and continuous:
        parameters = {"run": "continuous", **parameters}
        if "run_for" in read_parameters(notebook):
            parameters = {"run_for": _RUN_FOR, **parameters}
    return chosen, parameters


def preview(running: Version, notebook: Path, parameters: Mapping[str, str], schedule: str) -> Diff:
    """What a cleaned notebook would change of the running version. The gate tells what the notebook computes.

    Parameters
    ----------
    running : Version
        The current version.
    notebook : Path
        The cleaned notebook.
    parameters : mapping of str to str
        The parameters that the user gave.
    schedule : str
        The schedule that the user gave; the current version's when empty.
    """
    old = running.manifest
    chosen, frozen = run_as(notebook, parameters, schedule=schedule or None, before=old, runs_job=old.plan is not None)
    manifest = Manifest(
        old.name, old.version + 1, notebook.name, "", old.kind, chosen, "", "",
        frozen, old.environment, "not tried", plan=old.plan,
    )  # fmt: skip
    return Diff(running, Version(notebook.parent, manifest))
