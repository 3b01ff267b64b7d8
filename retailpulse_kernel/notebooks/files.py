"""Notebooks as files: read them, set their parameters, compare what they do."""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat

from retailpulse_kernel.ground.errors import UsageError

__all__ = [
    "code_cells",
    "is_parameters",
    "is_test",
    "read_notebook",
    "same_code",
    "with_parameters",
    "without_outputs",
    "without_tests",
]

_INJECTED = "injected-parameters"
#: What stands in a cell with a test where the test is not run: the cell keeps its number.
_LEFT_OUT = "# A test: `retailpulse test` and the gate run it."
_MINOR = 5


def read_notebook(notebook: Path) -> Any:
    """A notebook's content.

    Parameters
    ----------
    notebook : Path
        An ``.ipynb`` file of format 4.

    Raises
    ------
    UsageError
        There is no such notebook, or it is not one.
    """
    if not notebook.is_file():
        raise UsageError(f"There is no notebook {notebook}.", remedy="Give the path of an .ipynb file.")
    try:
        content = nbformat.reads(json.dumps(_without_null_tags(json.loads(notebook.read_bytes()))), as_version=4)
        # Cells have ids since version 4.5: those that are added to an older notebook would make it invalid.
        return nbformat.v4.upgrade(content) if content.nbformat_minor < _MINOR else content
    except Exception as error:
        raise UsageError(f"{notebook} is not a notebook: {str(error).splitlines()[0]}") from error


def _without_null_tags(content: Any) -> Any:
    """Some editors write null where a cell has no tags, which is no valid notebook."""
    for cell in content.get("cells", ()):
        if cell.get("metadata", {}).get("tags", ()) is None:
            del cell["metadata"]["tags"]
    return content


def is_parameters(cell: Any) -> bool:
    """Whether a cell is the one that sets the parameters' types and defaults.

    Parameters
    ----------
    cell : object
        Of nbformat.
    """
    return cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", [])


def is_test(cell: Any) -> bool:
    """Whether a cell holds a test, which is run beside the job and never with it.

    Parameters
    ----------
    cell : object
        Of nbformat.
    """
    return cell.cell_type == "code" and "test" in cell.metadata.get("tags", [])


def without_tests(content: Any) -> Any:
    """A copy of a notebook whose tests do nothing, so that the other cells keep their numbers.

    Parameters
    ----------
    content : object
        As `read_notebook` gives it; it is not changed.
    """
    content = copy.deepcopy(content)
    for cell in filter(is_test, content.cells):
        cell.source = _LEFT_OUT
    return content


def code_cells(content: Any) -> Iterator[str]:
    """The sources of a notebook's code cells, in order.

    Parameters
    ----------
    content : object
        As `read_notebook` gives it.
    """
    return (cell.source for cell in content.cells if cell.cell_type == "code")


def with_parameters(content: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a notebook in which a cell behind the parameters cell sets values, as papermill does it.

    The values keep their types: what is a `timedelta` in the notebook's annotations is one here too.

    Parameters
    ----------
    content : object
        As `read_notebook` gives it; it is not changed.
    values : mapping
        By the parameters' names.
    """
    content = copy.deepcopy(content)
    content.cells = [cell for cell in content.cells if _INJECTED not in cell.metadata.get("tags", [])]
    if values:
        cell = nbformat.v4.new_code_cell(source=_source(values), metadata={"tags": [_INJECTED]})
        place = next((i + 1 for i, cell in enumerate(content.cells) if is_parameters(cell)), 0)
        content.cells.insert(place, cell)
    return content


def without_outputs(content: Any) -> Any:
    """A copy of a notebook as if it had not run.

    Parameters
    ----------
    content : object
        As `read_notebook` gives it; it is not changed.
    """
    content = copy.deepcopy(content)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return content


def _source(values: Mapping[str, Any]) -> str:
    modules = {date: "datetime", datetime: "datetime", timedelta: "datetime", Decimal: "decimal"}
    used = {type(part) for value in values.values() for part in (value if isinstance(value, list) else [value])}
    imports: dict[str, set[str]] = {}
    for kind in used & modules.keys():
        imports.setdefault(modules[kind], set()).add(kind.__name__)
    lines = ["# Parameters"]
    lines += [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())]
    return "\n".join([*lines, *(f"{name} = {_code(value)}" for name, value in values.items())])


def _code(value: Any) -> str:
    match value:
        case list():
            return f"[{', '.join(map(_code, value))}]"
        case timedelta():
            return f"timedelta(days={value.days}, seconds={value.seconds}, microseconds={value.microseconds})"
        case date():  # a datetime is one, too
            return f"{type(value).__name__}.fromisoformat({value.isoformat()!r})"
        case _:
            return repr(value)


def same_code(one: Any, other: Any) -> bool:
    """Whether two notebooks run the same: they differ in comments, text and layout at most.

    Parameters
    ----------
    one, other : object
        As `read_notebook` gives them.
    """
    return [_meaning(source) for source in code_cells(one)] == [_meaning(source) for source in code_cells(other)]


def _meaning(source: str) -> str:
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:  # it has magics
        return source
