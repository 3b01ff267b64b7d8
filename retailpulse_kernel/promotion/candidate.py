"""The notebook in which a person works, as it would be promoted."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path

import nbformat

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.notebooks import read_notebook
from retailpulse_kernel.promotion.diffing import Diff
from retailpulse_kernel.promotion.manifest import Manifest
from retailpulse_kernel.promotion.registry import Registry, Version
from retailpulse_kernel.settings import Settings

__all__ = ["cleaned", "preview", "running_version", "this_notebook"]

#: Calls that belong to the work on a notebook, and not to the job.
_WORK = ("rp.promote", "rp.jobs", "retailpulse_kernel.promote", "retailpulse_kernel.jobs")


def this_notebook() -> Path:
    """The notebook that this kernel was started for.

    Raises
    ------
    UsageError
        Nothing tells which that is.
    """
    path = Path(os.environ.get("JPY_SESSION_NAME", ""))
    if path.suffix != ".ipynb" or not path.is_file():
        raise UsageError(
            "Which notebook this is can't be told here.", remedy="Name it: rp.promote('notebooks/jobs/metrics.ipynb')."
        )
    return path


def cleaned(notebook: Path, folder: Path) -> Path:
    """A copy without outputs, and without the cells that only call ``rp.promote()`` or ``rp.jobs()``."""
    content = read_notebook(notebook)
    content.cells = [cell for cell in content.cells if not (cell.cell_type == "code" and _is_work(cell.source))]
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / notebook.name
    nbformat.write(content, path)
    return path


def _is_work(source: str) -> bool:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return False
    calls = [node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    return bool(calls) and len(calls) == len(tree.body) and all(ast.unparse(call.func) in _WORK for call in calls)


def running_version(settings: Settings, notebook: Path) -> Version | None:
    """The current version of the pipeline that a notebook is one of, as far as its name and its text tell."""
    registry, source = Registry(settings), notebook.read_text()
    for name in registry.names():
        version = registry.version(name)
        plan = version.manifest.plan
        if name == notebook.stem.lower() or (plan is not None and f'rp.job(\\"{plan.job}\\"' in source):
            return version
    return None


def preview(running: Version, notebook: Path, parameters: Mapping[str, str], schedule: str) -> Diff:
    """What a cleaned notebook would change of the running version; what it computes is told by the gate."""
    old = running.manifest
    manifest = Manifest(
        old.name, old.version + 1, notebook.name, "", old.kind, schedule or old.schedule, "", "",
        {**old.parameters, **parameters}, old.environment, "not tried", plan=old.plan,
    )  # fmt: skip
    return Diff(running, Version(notebook.parent, manifest))
