"""A notebook's parameters: read from the cell tagged ``parameters``, checked before cell 1 runs."""

from __future__ import annotations

import ast
import contextlib
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import nbformat
import pydantic

from retailpulse_kernel.errors import ParameterError, UnknownName, UsageError
from retailpulse_kernel.spans import span_of

__all__ = ["Parameter", "check", "read_parameters"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    Attributes
    ----------
    name : str
        Its variable.
    annotation : object
        Its type; `Any` where the notebook gives none.
    default : object
        What it is when nothing is given.
    help : str
        The comment behind it.
    """

    name: str
    annotation: Any
    default: Any
    help: str = ""


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, by name.

    Raises
    ------
    UsageError
        There is no such notebook, or it is not one.
    """
    if not notebook.is_file():
        raise UsageError(f"There is no notebook {notebook}.", remedy="Give the path of an .ipynb file.")
    try:
        content = nbformat.read(notebook, as_version=4)
    except Exception as error:
        raise UsageError(f"{notebook} is not a notebook: {str(error).splitlines()[0]}") from error
    cells = [c for c in content.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
    if len(cells) > 1:
        raise UsageError(f"{notebook} has {len(cells)} cells tagged 'parameters'.", remedy="Keep one.")
    return _from_source(cells[0].source, str(notebook)) if cells else {}


def _from_source(source: str, where: str) -> dict[str, Parameter]:
    try:
        tree = ast.parse(source)
        # Only imports and assignments stand in a parameters cell, so running it has no effects.
        allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
        strange = next((node for node in tree.body if not isinstance(node, allowed)), None)
        if strange is not None:
            raise ParameterError(
                f"The parameters cell of {where} does more than set parameters: {ast.unparse(strange)!r}.",
                remedy="Keep only imports and assignments there.",
            )
        names: dict[str, Any] = {}
        exec(compile(tree, where, "exec", dont_inherit=True), names)
    except ParameterError:
        raise
    except Exception as error:
        raise ParameterError(f"The parameters cell of {where} can't be read: {error}.") from error
    comments = dict(re.findall(r"^(\w+)\s*[:=][^#\n]*#\s*(.+)$", source, re.MULTILINE))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            targets, annotation = [node.target.id], names["__annotations__"][node.target.id]
        elif isinstance(node, ast.Assign):
            targets, annotation = [t.id for t in node.targets if isinstance(t, ast.Name)], Any
        else:
            continue
        for name in targets:
            found[name] = Parameter(name, annotation, names.get(name), comments.get(name, ""))
    return found


def check(given: dict[str, str], parameters: dict[str, Parameter], *, notebook: str) -> dict[str, Any]:
    """The values to inject for what was given on a command line.

    Raises
    ------
    UnknownName
        The notebook has no such parameter.
    ParameterError
        A value is not of its parameter's type.
    """
    values = {}
    for name, text in given.items():
        if name not in parameters:
            raise UnknownName(f"parameter of {notebook}", name, parameters)
        values[name] = _value(text, parameters[name])
    return values


def _value(text: str, parameter: Parameter) -> Any:
    adapter = pydantic.TypeAdapter(parameter.annotation)
    candidates: list[Any] = [text]
    if re.fullmatch(r"\d+(\.\d+)?\s*[smhd]", text.strip().lower()):
        candidates.append(span_of(text))
    if text in ("None", "null"):
        candidates.append(None)
    if text.startswith(("[", "{")):
        with contextlib.suppress(ValueError, SyntaxError):
            candidates.append(ast.literal_eval(text))
    for candidate in candidates:
        try:
            value = adapter.validate_python(candidate)
        except pydantic.ValidationError:
            continue
        # papermill writes plain literals into the notebook; the job API reads spans from text.
        return f"{value.total_seconds():g}s" if isinstance(value, timedelta) else _plain(value, text)
    wanted = re.sub(r"\b(typing|datetime|decimal)\.", "", str(getattr(parameter.annotation, "__name__", "")))
    if not wanted or wanted in ("Literal", "Union", "Optional"):
        wanted = re.sub(r"\b(typing|datetime|decimal)\.", "", str(parameter.annotation))
    raise ParameterError(
        f"The parameter {parameter.name!r} can't be {text!r}: it is {wanted}.",
        remedy=f"Its default is {parameter.default!r}.",
    )


def _plain(value: Any, text: str) -> Any:
    return value if isinstance(value, bool | int | float | str | list | dict | None) else text
