"""Notebooks as files: read them, set their parameters, compare what they do."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat

from retailpulse_kernel.errors import UsageError

__all__ = ["code_cells", "is_parameters", "read_notebook", "same_code", "with_parameters"]

_INJECTED = "injected-parameters"


def read_notebook(notebook: Path) -> Any:
    """A notebook's content.

    Raises
    ------
    UsageError
        There is no such notebook, or it is not one.
    """
    if not notebook.is_file():
        raise UsageError(f"There is no notebook {notebook}.", remedy="Give the path of an .ipynb file.")
    try:
        return nbformat.read(notebook, as_version=4)
    except Exception as error:
        raise UsageError(f"{notebook} is not a notebook: {str(error).splitlines()[0]}") from error


def is_parameters(cell: Any) -> bool:
    """Whether a cell is the one that sets the parameters' types and defaults."""
    return cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", [])


def code_cells(content: Any) -> Iterator[str]:
    """The sources of a notebook's code cells, in order."""
    return (cell.source for cell in content.cells if cell.cell_type == "code")


def with_parameters(content: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a notebook in which a cell behind the parameters cell sets values, as papermill does it.

    The values keep their types: what is a `timedelta` in the notebook's annotations is one here too.
    """
    content = copy.deepcopy(content)
    content.cells = [cell for cell in content.cells if _INJECTED not in cell.metadata.get("tags", [])]
    if values:
        cell = nbformat.v4.new_code_cell(source=_source(values), metadata={"tags": [_INJECTED]})
        place = next((i + 1 for i, cell in enumerate(content.cells) if is_parameters(cell)), 0)
        content.cells.insert(place, cell)
    return content


def _source(values: Mapping[str, Any]) -> str:
    modules = {datetime: "datetime", timedelta: "datetime", Decimal: "decimal"}
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
            return f"timedelta(seconds={value.total_seconds():g})"
        case datetime():
            return f"datetime.fromisoformat({value.isoformat()!r})"
        case _:
            return repr(value)


def same_code(one: Any, other: Any) -> bool:
    """Whether two notebooks run the same: they differ in comments, text and layout at most."""
    return [_meaning(source) for source in code_cells(one)] == [_meaning(source) for source in code_cells(other)]


def _meaning(source: str) -> str:
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:  # it has magics
        return source
