"""A notebook's parameters: read from the cell tagged ``parameters``, checked before cell 1 runs.

They fail closed. A parameter is a typed assignment; one without a value must be given. What is unknown, missing,
mistyped, out of range or never read stops the run while nothing has happened yet.

>>> from typing import Annotated
>>> from pydantic import Field
>>> batch: Annotated[int, Field(ge=1, le=1000)] = 100  # a range, in pydantic's words
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import tokenize
import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pydantic

from retailpulse_kernel.ground.credentials import is_reference, names_a_secret
from retailpulse_kernel.ground.errors import ParameterError, UnknownName, UsageError
from retailpulse_kernel.ground.spans import MOMENT, SPAN, moment_of, span_of, span_text
from retailpulse_kernel.notebooks.files import is_parameters, read_notebook

__all__ = ["REQUIRED", "Parameter", "check", "read_parameters", "unread"]


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


#: The default of a parameter that has none: it must be given.
REQUIRED: Any = _Required()

_PLAIN = (int, float, Decimal, bool, str, date, datetime, timedelta, type(None))
_DAY = "Write a date as 2026-01-31."
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


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
        What it is when nothing is given; `REQUIRED` where something must be.
    help : str
        The comment behind it.
    """

    name: str
    annotation: Any
    default: Any
    help: str = ""

    @property
    def type_name(self) -> str:
        """Its type as the notebook writes it."""
        if get_origin(self.annotation) is Annotated:
            return Parameter(self.name, get_args(self.annotation)[0], None).type_name
        plain = isinstance(self.annotation, type) and not get_args(self.annotation)
        text = self.annotation.__name__ if plain else str(self.annotation)
        return re.sub(r"\b(typing|datetime|decimal)\.", "", text)


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, by name.

    Parameters
    ----------
    notebook : Path
        An ``.ipynb`` file.

    Raises
    ------
    UsageError
        There is no such notebook, or it is not one.
    ParameterError
        A type is none that a parameter can have, or a default is not of its type.
    """
    cells = [c for c in read_notebook(notebook).cells if is_parameters(c)]
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
        annotations = _resolved(names)
    except ParameterError:
        raise
    except Exception as error:
        raise ParameterError(f"The parameters cell of {where} can't be read: {error}.") from error
    comments = _comments(source)
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            targets = [node.target.id]
        elif isinstance(node, ast.Assign):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
        else:
            continue
        for name in targets:
            default = names.get(name, REQUIRED)
            annotation = annotations.get(name, _type_of(default))
            found[name] = Parameter(name, annotation, default, comments.get(node.end_lineno or node.lineno, ""))
            _check_definition(found[name])
    return found


def _resolved(names: dict[str, Any]) -> dict[str, Any]:
    """The annotations of a cell that ran; some are text, quoted or by ``from __future__ import annotations``."""
    cell = types.ModuleType("parameters")
    cell.__annotations__ = names.get("__annotations__", {})
    return get_type_hints(cell, names, include_extras=True)


def _type_of(default: Any) -> Any:
    """The type that a parameter has by its default alone: `x = 100` is a number, and no text is one."""
    kind = type(default)
    return kind if (kind in _PLAIN and default is not None) or kind is list else Any


def _comments(source: str) -> dict[int, str]:
    """The comment at the end of each line; within quotes ``#`` begins none."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _check_definition(parameter: Parameter) -> None:
    if not _is_supported(parameter.annotation):
        raise ParameterError(
            f"The parameter {parameter.name!r} can't be a {parameter.type_name}.",
            remedy="Use int, float, Decimal, bool, str, date, datetime, timedelta, list, Literal, or one `| None`.",
        )
    if parameter.default is REQUIRED:
        return
    try:
        _adapter(parameter).validate_python(parameter.default, strict=True)
    except pydantic.ValidationError as error:
        raise ParameterError(
            f"The default of the parameter {parameter.name!r} can't be {parameter.default!r}: {_why(parameter, error)}."
        ) from error
    _check_secret(parameter, parameter.default)


def _is_supported(annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation in _PLAIN or annotation is list or origin is Literal:
        return True
    if origin is Annotated:
        return _is_supported(arguments[0])
    return origin in (Union, types.UnionType, list) and all(_is_supported(argument) for argument in arguments)


def check(given: Mapping[str, Any], parameters: Mapping[str, Parameter], *, notebook: str) -> dict[str, Any]:
    """The values to inject for what was given, as text or as values.

    Parameters
    ----------
    given : mapping
        By name, each as text or as a value of its type.
    parameters : mapping
        As `read_parameters` gives them.
    notebook : str
        What errors call the notebook.

    Raises
    ------
    UnknownName
        The notebook has no such parameter.
    ParameterError
        A value is missing, not of its parameter's type, out of its range, or a secret.
    """
    values = {}
    for name, value in given.items():
        if name not in parameters:
            raise UnknownName("parameter", name, parameters, of=str(notebook))
        values[name] = _value(value, parameters[name])
        _check_secret(parameters[name], values[name])
    for name, parameter in parameters.items():
        if parameter.default is REQUIRED and name not in values:
            raise ParameterError(
                f"The parameter {name!r} of {notebook} is missing: it is {parameter.type_name} and has no default.",
                remedy=f"Add -p {name} VALUE.",
            )
    return values


def unread(notebook: Path, parameters: Mapping[str, Parameter]) -> list[str]:
    """Parameters that no cell behind the parameters cell reads: setting them would change nothing.

    Parameters
    ----------
    notebook : Path
        An ``.ipynb`` file.
    parameters : mapping
        As `read_parameters` gives them.
    """
    content, behind, read = read_notebook(notebook), False, set()
    for cell in content.cells:
        if is_parameters(cell):
            behind = True
        elif behind and cell.cell_type == "code":
            read |= _names_read(cell.source)
    return [name for name in parameters if name not in read]


def _names_read(source: str) -> set[str]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # it has magics, which take variables as {name}, $name or :name
        return set(re.findall(r"\w+", re.sub(r"(^|\s)#.*", "", source)))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _adapter(parameter: Parameter) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(parameter.annotation, config=pydantic.ConfigDict(allow_inf_nan=False))


def _value(given: Any, parameter: Parameter) -> Any:
    adapter, failure = _adapter(parameter), None
    for candidate in _candidates(given, parameter):
        try:
            return adapter.validate_python(candidate, strict=not isinstance(candidate, str))
        except pydantic.ValidationError as error:
            # Of several readings the one that is only out of range says most.
            failure = error if failure is None or _is_range(error) else failure
    kinds, default = _kinds(parameter.annotation), parameter.default
    said = [form for kind, form in ((timedelta, SPAN), (datetime, MOMENT), (date, _DAY)) if kind in kinds]
    if default is not REQUIRED:
        said.append(f"Its default is {span_text(default) if isinstance(default, timedelta) else repr(default)}.")
    why = f"it is {parameter.type_name}" if failure is None else _why(parameter, failure)
    raise ParameterError(f"The parameter {parameter.name!r} can't be {given!r}: {why}.", remedy=" ".join(said) or None)


def _candidates(given: Any, parameter: Parameter) -> list[Any]:
    """What a text may mean; a text is read as what its parameter's type asks for."""
    if not isinstance(given, str):
        return [given]
    kinds = _kinds(parameter.annotation)
    found: list[Any] = []
    if given.strip() in ("None", "null") and type(None) in kinds:
        return [None]
    for kind, read in ((timedelta, span_of), (datetime, moment_of)):
        if kind in kinds:
            with contextlib.suppress(UsageError):
                found.append(read(given))
    literals = []
    if list in kinds or get_origin(parameter.annotation) is Literal or parameter.annotation is Any:
        with contextlib.suppress(ValueError, SyntaxError):
            literals.append(ast.literal_eval(given.strip()))
    if parameter.annotation is Any:  # what Python reads as a value is one
        return [*found, *literals, given]
    # "10" is a number of what? Neither a span nor a time.
    timely = kinds & {timedelta, datetime, date}
    if not (timely and _NUMBER.fullmatch(given.strip()) and not kinds & {int, float, Decimal}):
        found.append(given)
    return found + literals


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that an annotation is made of."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return set().union(*(_kinds(argument) for argument in get_args(annotation)))
    return {origin or annotation}


def _is_range(error: pydantic.ValidationError) -> bool:
    mistyped = ("_type", "_parsing", "literal_error", "_from_float", "is_instance_of", "finite_number")
    return not any(e["type"].endswith(mistyped) for e in error.errors())


def _why(parameter: Parameter, error: pydantic.ValidationError) -> str:
    if not _is_range(error):
        return f"it is {parameter.type_name}"
    message = error.errors()[0]["msg"]
    return message[0].lower() + message[1:]


def _check_secret(parameter: Parameter, value: Any) -> None:
    # A number, a span or a flag with such a name says something about one, as `max_token: int` does.
    texts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str) and one]
    if names_a_secret(parameter.name) and not all(map(is_reference, texts)):
        raise ParameterError(
            f"The parameter {parameter.name!r} holds a secret itself.",
            remedy="Give where it is: env:NAME, file:PATH or keyring:SERVICE/USER.",
        )
