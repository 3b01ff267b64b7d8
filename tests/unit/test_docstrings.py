"""Public functions say what their parameters are: a NumPy section with a type and a line for each.

ruff's rules D and D417 check how a section is written, and that it lists every parameter.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "retailpulse_kernel"
#: Rooms in which every public function has its section. Add yours.
DONE = (
    "answers", "api", "catalogue", "cli", "dashboards", "demo", "feed", "ground", "insight", "lab", "live", "machine",
    "magics", "monitoring", "notebooks", "promotion", "reconcile", "scaffold", "shop", "stack", "stores",
    "streaming", "telemetry", "upkeep", "workbench",
)  # fmt: skip
#: What makes a function one whose parameters are documented elsewhere: as options of a command or a magic.
_ELSEWHERE = {"command", "callback", "line_magic", "line_cell_magic"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function, ast.ClassDef | None]]:
    """Public functions, and public methods of public classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, Function) and not child.name.startswith("_"):
            owner = node if isinstance(node, ast.ClassDef) else None
            yield f"{prefix}{child.name}", child, owner


def parameters(function: Function) -> list[str]:
    given = function.args
    plain = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    starred = [f"*{given.vararg.arg}"] if given.vararg else []
    doubled = [f"**{given.kwarg.arg}"] if given.kwarg else []
    return [name for name in plain if name not in ("self", "cls")] + starred + doubled


def described(docstring: str) -> set[str]:
    """The parameters that a section gives a type and a text."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^(\S.*?)(?: : (.+))?\n((?:[ \t]+\S.*\n?|\n)*)", section[1] + "\n", re.M) if section else []
    return {
        name.strip()
        for names, kind, text in entries
        for name in names.split(",")
        if text.strip() and (kind or name.startswith("*"))
    }


def overrides(room: str, owner: ast.ClassDef | None, name: str) -> bool:
    """Whether a method is described by the class of its room that it comes from."""
    bases = {ast.unparse(base).rpartition(".")[2] for base in owner.bases} if owner else set()
    return any(
        other.name == name and parent is not None and parent.name in bases
        for path in (PACKAGE / room).rglob("*.py")
        for _, other, parent in functions(ast.parse(path.read_text()))
    )


def decorators(function: Function) -> set[str]:
    return {ast.unparse(d.func if isinstance(d, ast.Call) else d).rpartition(".")[2] for d in function.decorator_list}


@pytest.mark.parametrize("room", DONE)
def test_every_parameter_has_a_type_and_a_line(room: str) -> None:
    lacking = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for name, function, owner in functions(ast.parse(path.read_text())):
            missing = set(parameters(function)) - described(ast.get_docstring(function) or "")
            if missing and not decorators(function) & _ELSEWHERE and not overrides(room, owner, function.name):
                lacking.append(f"{path.relative_to(PACKAGE)} {name}: {', '.join(sorted(missing))}")
    assert lacking == []


def test_a_section_without_a_type_or_a_text_does_not_count() -> None:
    text = "Do it.\n\nParameters\n----------\na, b : int\n    Two.\nc\n    No type.\nd : str\n*more\n    Rest.\n"
    assert described(f"{text}\nRaises\n------\nUsageError\n    No parameter.\n") == {"a", "b", "*more"}
    assert described("Do it with a : int.") == set()
