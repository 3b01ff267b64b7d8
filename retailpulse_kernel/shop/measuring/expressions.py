"""The small expression language in which figures are defined, in Python's own syntax.

An expression names an event's columns (``price * quantity``) and event types, which count as
1 where the event is of that type and 0 elsewhere (``purchase - refund``). A number with a point
is an exact decimal (``price * 0.5``). The same text is evaluated in plain Python and translated to
Spark SQL, so a figure is written once.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.events import EVENT_TYPES, Event

__all__ = ["compile_expression", "decimal_of", "names_in", "parsed", "to_sql", "written_decimal"]

_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_COMPARISON = {ast.Eq: "=", ast.NotEq: "<>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_LOGIC = {ast.And: "AND", ast.Or: "OR"}


def parsed(text: str) -> ast.expr:
    """The tree of an expression.

    Parameters
    ----------
    text : str
        Python's syntax.

    Raises
    ------
    UsageError
        It is not valid.
    """
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise UsageError(f"The expression {text!r} is not valid: {error.msg}.") from error


def to_sql(text: str, *, condition: bool = False) -> str:
    """Translate an expression to Spark SQL.

    Parameters
    ----------
    text : str
        The expression.
    condition : bool
        Whether the result is used as a condition rather than as a number.

    Raises
    ------
    UsageError
        The expression uses something other than columns, event types, literals, ``+ - *``,
        comparisons, ``and``, ``or`` and ``not``.
    """
    return _sql(parsed(text), text, condition)


def _sql(node: ast.expr, text: str, condition: bool) -> str:
    match node:
        case ast.Name(id=name) if name in EVENT_TYPES:
            test = f"(event_type = '{name}')"
            return test if condition else f"CAST({test} AS INT)"
        case ast.Name(id=name):
            return f"`{name}`"
        case ast.Constant(value=bool() as value):
            return str(value).upper()
        case ast.Constant(value=int() as value):
            return str(value)
        case ast.Constant(value=float()):
            return f"{written_decimal(node, text):f}"
        case ast.Constant(value=str() as value):
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return f"({_sql(left, text, False)} {_ARITHMETIC[type(op)]} {_sql(right, text, False)})"
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"(-{_sql(operand, text, False)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _number(f"(NOT {_sql(operand, text, True)})", condition)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISON:
            # A missing value compares as false, not as NULL.
            test = f"{_sql(left, text, False)} {_COMPARISON[type(op)]} {_sql(right, text, False)}"
            return _number(f"coalesce({test}, FALSE)", condition)
        case ast.BoolOp(op=op, values=values):
            return _number("(" + f" {_LOGIC[type(op)]} ".join(_sql(v, text, True) for v in values) + ")", condition)
    raise UsageError(
        f"The expression {text!r} uses {ast.unparse(node)!r}, which figures can't.",
        remedy="Use columns, event types, literals, + - *, comparisons, and, or, not.",
    )


def _comparing(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    return lambda left, right: left is not None and right is not None and bool(compare(left, right))


#: Comparisons by names that no column has. One with a missing value is false, as in Spark.
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    f"<{kind.__name__}>": _comparing(compare)
    for kind, compare in (
        (ast.Eq, operator.eq),
        (ast.NotEq, operator.ne),
        (ast.Lt, operator.lt),
        (ast.LtE, operator.le),
        (ast.Gt, operator.gt),
        (ast.GtE, operator.ge),
    )
}


class _Compared(ast.NodeTransformer):
    """Replaces comparisons by calls of `_COMPARE`."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        (op,), (right,) = node.ops, node.comparators
        name = ast.Name(f"<{type(op).__name__}>", ast.Load())
        return ast.Call(name, [self.visit(node.left), self.visit(right)], [])


def _number(test: str, condition: bool) -> str:
    """A test, as 1 or 0 where a number is wanted."""
    return test if condition else f"CAST({test} AS INT)"


def decimal_of(value: float) -> Decimal:
    """The exact decimal that a number with a point stands for.

    Parameters
    ----------
    value : float
        As Python has it: the shortest text that means this number is what was written.
    """
    return Decimal(repr(value))


def written_decimal(node: ast.expr, text: str) -> Decimal:
    """A number with a point, which Python has read as a float, as it is written.

    Parameters
    ----------
    node : ast.Constant
        The number.
    text : str
        The expression that it is a part of.

    Raises
    ------
    UsageError
        The number has more digits than a float keeps.
    """
    assert isinstance(node, ast.Constant) and isinstance(node.value, float)
    written = (ast.get_source_segment(text, node) or repr(node.value)).replace("_", "")
    try:
        exact = Decimal(written)
    except InvalidOperation:
        exact = Decimal("nan")
    found = decimal_of(node.value)
    if not exact.is_finite() or exact != found:
        raise UsageError(
            f"The number {written} in {text!r} has too many digits.", remedy="Write at most 15 digits, such as 0.075."
        )
    return found


class _EventNames(dict[str, Any]):
    """Names of an expression, looked up in the event when they are needed."""

    def __init__(self, event: Event, decimals: dict[str, Decimal]) -> None:
        super().__init__(decimals)
        self._event = event

    def __missing__(self, name: str) -> Any:
        if name in _COMPARE:
            return _COMPARE[name]
        if name in EVENT_TYPES:
            return int(self._event.event_type == name)
        return getattr(self._event, name)


def names_in(text: str) -> set[str]:
    """The columns and event types that an expression uses.

    Parameters
    ----------
    text : str
        Python's syntax, such as ``"price * quantity"``.
    """
    return {node.id for node in ast.walk(parsed(text)) if isinstance(node, ast.Name)}


def compile_expression(text: str) -> Callable[[Event], Any]:
    """A function that evaluates the expression for one event.

    Parameters
    ----------
    text : str
        Python's syntax; a part that Spark SQL lacks is refused.
    """
    to_sql(text)  # refuses what Spark could not evaluate
    decimals = _Decimals()
    tree = ast.Expression(_Compared().visit(decimals.visit(parsed(text))))
    code = compile(ast.fix_missing_locations(tree), f"<figure {text}>", "eval")
    return lambda event: eval(code, {"__builtins__": {}}, _EventNames(event, decimals.found))


class _Decimals(ast.NodeTransformer):
    """Gives each number with a point a name, of which the exact decimal is the value."""

    def __init__(self) -> None:
        self.found: dict[str, Decimal] = {}

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, float):
            return node
        name = f"decimal {len(self.found)}"  # no column has such a name
        self.found[name] = decimal_of(node.value)
        return ast.copy_location(ast.Name(name, ast.Load()), node)
