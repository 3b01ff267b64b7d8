"""The meaning of a Python function, as a text that stays the same while the function computes the same.

What pickles a function writes down where it stands in which file, and a notebook's cell is another file at each run.
So its code is described by itself: the bytecode, the constants, and whatever of the notebook it refers to.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ["digest"]

#: What a class has that says nothing of what it does.
_INCIDENTAL = frozenset(
    {"__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__slotnames__", "__abstractmethods__"}
)


def digest(value: Any) -> str:
    """A short text that changes when a function, or an object with methods, computes something else.

    What an installed module holds is named and not looked into: the gate's own batch shows whether that has changed.

    Parameters
    ----------
    value : object
        A function, a method, a class, or a value that these use.
    """
    return hashlib.sha256(_described(value, ()).encode()).hexdigest()[:16]


def _described(value: Any, above: tuple[int, ...]) -> str:
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    match value:
        case FunctionType():
            return _function(value, above) if _is_own(value) else f"{value.__module__}.{value.__qualname__}"
        case MethodType():
            return f"method({_described(value.__func__, above)} of {_described(value.__self__, above)})"
        case CodeType():
            return _code(value, above)
        case ModuleType():
            return f"module {value.__name__}"
        case BuiltinFunctionType():
            return f"{value.__module__}.{value.__qualname__}"
        case type():
            return _class(value, above) if _is_own(value) else f"{value.__module__}.{value.__qualname__}"
        case None | bool() | int() | float() | complex() | str() | bytes():
            return repr(value)
        case list() | tuple():
            return f"{type(value).__name__}({', '.join(_described(one, above) for one in value)})"
        case set() | frozenset():
            return f"set({', '.join(sorted(_described(one, above) for one in value))})"
        case Mapping():
            pairs = (f"{_described(key, above)}: {_described(one, above)}" for key, one in value.items())
            return f"mapping({', '.join(pairs)})"
        case staticmethod() | classmethod():
            return f"{type(value).__name__}({_described(value.__func__, above)})"
        case property():
            return f"property({_described(value.fget, above)})"
    return _object(value, above)


def _is_own(value: Any) -> bool:
    """Whether a function or class was written in a notebook, or within a function: no import finds it.

    The name alone does not tell: what was made of a pickle has its short name.
    """
    module = getattr(value, "__module__", None)
    found: Any = None if module == "__main__" else sys.modules.get(module or "")
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is not value


def _function(function: FunctionType, above: tuple[int, ...]) -> str:
    code, names = function.__code__, function.__globals__
    used = {name: names[name] for name in _names_of(code) if name in names}
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = (_code(code, above), function.__defaults__, function.__kwdefaults__, cells, dict(sorted(used.items())))
    return f"function({', '.join(part if isinstance(part, str) else _described(part, above) for part in parts)})"


def _names_of(code: CodeType) -> set[str]:
    inner = (_names_of(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _code(code: CodeType, above: tuple[int, ...]) -> str:
    constants = [_described(constant, above) for constant in code.co_consts]
    return f"code({code.co_code.hex()}, {constants}, {code.co_names}, {code.co_varnames}, {code.co_freevars})"


def _class(kind: type, above: tuple[int, ...]) -> str:
    bases = [_described(base, above) for base in kind.__bases__]
    members = {name: one for name, one in vars(kind).items() if name not in _INCIDENTAL and not name.startswith("_abc")}
    # A class within a function has its short name alone when it was made of its pickle.
    return f"class {kind.__name__}({bases}, {_described(dict(sorted(members.items())), above)})"


def _object(value: Any, above: tuple[int, ...]) -> str:
    """An instance: its class, and what it holds; one without attributes, such as an array, by its bytes."""
    kind = _described(type(value), above)
    if hasattr(value, "__dict__"):  # what pickles an object of a notebook's class gives the class another id each time
        return f"{kind}: {_described(dict(sorted(vars(value).items())), above)}"
    try:
        from pyspark import cloudpickle

        return f"{kind}: {hashlib.sha256(cloudpickle.dumps(value)).hexdigest()}"
    except Exception:  # what can't be pickled can't be sent to a worker either; its class is all there is
        return kind
