"""The checks of a notebook that do not run the notebook."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import NoSuchKernel, find_kernel_specs, get_kernel_spec

from retailpulse_kernel.ground.credentials import is_reference, names_a_secret
from retailpulse_kernel.ground.errors import ParameterError, UnknownName
from retailpulse_kernel.notebooks.files import read_notebook
from retailpulse_kernel.notebooks.parameters import Parameter, read_parameters
from retailpulse_kernel.notebooks.running import checked_parameters
from retailpulse_kernel.notebooks.testing import sibling_of

__all__ = ["static_problems"]

#: What secrets look like: keys of well-known services, private keys, and passwords in addresses.
_SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|gh[pousr]_\w{36,}|xox[abprs]-[\w-]{10,}|sk-[A-Za-z0-9_-]{20,}|AIza[\w-]{35}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|://[^/\s:@'\"{]+:[^/\s:@'\"{]+@"
)
_PACKAGE = "retailpulse_kernel"
#: Folders that stand at the root of one machine or another.
_FOLDERS = {
    "Users", "Volumes", "bin", "content", "data", "dbfs", "etc", "home", "lib", "media", "mnt", "opt", "private",
    "root", "srv", "tmp", "usr", "var", "work", "workspace",
}  # fmt: skip
_ABSOLUTE = re.compile(r"(file://)?(/(?!/)[\w.~-]+(/[\w.~ -]*)+|~/|[A-Za-z]:[\\/]\w)")


def static_problems(notebook: Path, given: Mapping[str, Any]) -> list[str]:
    """What is wrong with a notebook that should be promoted, found without running the notebook.

    Parameters
    ----------
    notebook : Path
        The notebook.
    given : mapping of str to object
        The parameters that the notebook would be run with.

    Raises
    ------
    UsageError
        There is no such notebook, or the file is not a notebook.
    """
    content = read_notebook(notebook)
    problems = [*_of_parameters(notebook, given), *_of_kernel(content), *_of_outputs(content), *_of_code(content)]
    if (tests := sibling_of(notebook)).is_file():
        problems += [f"{tests.name}: {said}" for said in _of_code(read_notebook(tests))]
    return problems


def _of_parameters(notebook: Path, given: Mapping[str, Any]) -> Iterator[str]:
    try:
        parameters: Mapping[str, Parameter] = read_parameters(notebook)
        checked_parameters(notebook, given)
    except (ParameterError, UnknownName) as error:
        yield str(error)
        return
    untyped = [name for name, parameter in parameters.items() if parameter.annotation is Any]
    if untyped:
        yield f"The parameter {untyped[0]!r} has no type. Write {untyped[0]}: TYPE = VALUE."


def _of_kernel(content: Any) -> Iterator[str]:
    name = content.metadata.get("kernelspec", {}).get("name")
    if not name:
        yield "The notebook names no kernel. Choose the kernel RetailPulse and save the notebook."
        return
    try:
        get_kernel_spec(name)
    except NoSuchKernel:
        yield f"There is no kernel {name!r} here. Known: {', '.join(sorted(find_kernel_specs()))}."


def _of_outputs(content: Any) -> Iterator[str]:
    for number, cell in enumerate(content.cells, 1):
        if cell.cell_type == "code" and (cell.get("outputs") or cell.get("execution_count") is not None):
            yield f"Cell {number} has outputs. Clear them: jupyter nbconvert --clear-output --inplace NOTEBOOK."
            return


def _of_code(content: Any) -> Iterator[str]:
    ours = _ours(content)
    for number, cell in enumerate(content.cells, 1):
        if _SECRETS.search(cell.source):
            yield f"Cell {number} holds what looks like a secret. Give a reference: env:NAME, file:PATH, keyring:…"
        if cell.cell_type == "code":
            yield from (f"Cell {number} {said}" for said in _of_cell(cell.source, ours))


def _of_cell(source: str, ours: set[str]) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # it has magics
        for match in re.finditer(rf"(?<![\w./:]){_ABSOLUTE.pattern}", source):
            if _is_of_a_machine(match[0].strip()):
                yield f"has the absolute path {match[0].strip()!r}, which other machines don't have."
        return
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        for name, value in _named_texts(node):
            if names_a_secret(name) and value and not is_reference(value):
                yield f"gives {name!r} a value. Give a reference: env:NAME, file:PATH, keyring:…"
        if isinstance(node, ast.Call) and (place := _bound(node, ours)):
            yield f"is bound to {place}: a promoted notebook gets its profile and its namespace from the run."
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if text and id(node) not in documentation and _ABSOLUTE.match(text) and _is_of_a_machine(text):
            yield f"has the absolute path {text!r}, which other machines don't have."


def _is_of_a_machine(text: str) -> bool:
    """Whether an absolute path begins in a folder that machines have: `/products/1` is part of an address."""
    first = re.match(r"/([^/]+)", text)
    return first is None or first[1] in _FOLDERS or Path("/", first[1]).is_dir()


def _named_texts(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Texts that the code gives a name: variables, arguments, keys."""
    pairs: list[tuple[Any, Any]] = []
    match node:
        case ast.Assign(targets=targets, value=value):
            pairs = [(target, value) for target in targets]
        case ast.AnnAssign(target=target, value=value):
            pairs = [(target, value)]
        case ast.keyword(arg=name, value=value):
            pairs = [(name, value)]
        case ast.Dict(keys=keys, values=values):
            pairs = list(zip(keys, values, strict=True))
    for name, value in pairs:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            match name:
                case str():
                    yield name, value.value
                case ast.Name(id=text) | ast.Attribute(attr=text) | ast.Constant(value=str(text)):
                    yield text, value.value
                case ast.Subscript(slice=ast.Constant(value=str(text))):
                    yield text, value.value


def _ours(content: Any) -> set[str]:
    """What the notebook calls the package and what comes from it: other libraries have a `connect` too."""
    names = {_PACKAGE, "rp"}
    for cell in content.cells:
        try:
            nodes = ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else ()
        except SyntaxError:  # it has magics
            continue
        for node in nodes:
            module = getattr(node, "module", "") if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                if (module or alias.name).partition(".")[0] == _PACKAGE:
                    names.add(alias.asname or alias.name.partition(".")[0])
    return names


def _bound(call: ast.Call, ours: set[str]) -> str | None:
    """The namespace or profile that a call of the package names itself."""
    called = ast.unparse(call.func).split(".")
    name = called[-1]
    if name not in ("connect", "Workbench", "load") or called[0] not in ours:
        return None
    for place, argument in zip(("profile", "namespace"), call.args, strict=False):
        if name != "load" and isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return f"the {place} {argument.value!r}"
    for keyword in call.keywords:
        if keyword.arg in ("profile", "namespace") and isinstance(keyword.value, ast.Constant) and keyword.value.value:
            return f"the {keyword.arg} {keyword.value.value!r}"
    return None
