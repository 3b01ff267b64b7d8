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
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, get_args, get_type_hints

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.events import EVENT_TYPES, Event
from retailpulse_kernel.shop.kinds import EVENT_DIGITS, PLACES, Value

__all__ = ["compile_expression", "decimal_of", "names_in", "require_exact", "to_sql", "value_of"]

_VALUES: Final = {int: Value.WHOLE, Decimal: Value.DECIMAL, datetime: Value.TIME}
#: What Spark's decimals hold at most, and the decimal places that it keeps in any case.
_MOST_DIGITS, _KEPT_PLACES = 38, 6
#: The digits of a column of whole numbers, as Spark counts them.
_WHOLE_DIGITS: Final = 10

_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_COMPARISON = {ast.Eq: "=", ast.NotEq: "<>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_LOGIC = {ast.And: "AND", ast.Or: "OR"}


def _parse(text: str) -> ast.expr:
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
    return _sql(_parse(text), text, condition)


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
            return f"{_decimal(node, text):f}"
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


def _decimal(node: ast.expr, text: str) -> Decimal:
    """A number with a point, which Python has read as a float, as it is written."""
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


def value_of(text: str) -> Value | None:
    """What an expression gives: a whole number, a decimal, a time; None for a text.

    Parameters
    ----------
    text : str
        A column, or numbers that are calculated.

    Raises
    ------
    UnknownName
        There is no such column or event type.
    UsageError
        It calculates with texts or times.
    """
    node, hints = _parse(text), get_type_hints(Event)
    known = {name: _value(hint) for name, hint in hints.items()} | dict.fromkeys(EVENT_TYPES, Value.WHOLE)
    for name in names_in(text):
        if name not in known:
            raise UnknownName("column", name, known)
    if isinstance(node, ast.Name):
        return known[node.id]
    to_sql(text)
    found = {known[name] for name in names_in(text)}
    if not found <= {Value.WHOLE, Value.DECIMAL}:
        raise UsageError(
            f"The expression {text!r} calculates with a text or a time.", remedy="Calculate with numbers only."
        )
    return Value.DECIMAL if Value.DECIMAL in found or _has_decimals(node) else Value.WHOLE


def _value(hint: Any) -> Value | None:
    kinds = get_args(hint) or (hint,)
    return next((_VALUES[kind] for kind in kinds if kind in _VALUES), None)


def _has_decimals(node: ast.expr) -> bool:
    return any(isinstance(one, ast.Constant) and isinstance(one.value, float) for one in ast.walk(node))


def require_exact(text: str) -> None:
    """Refuse an expression of decimals of which Spark would drop decimal places before the result is rounded.

    Parameters
    ----------
    text : str
        An expression over numbers.

    Raises
    ------
    UsageError
        Its result has more digits than Spark's decimals.
    """
    _digits(_parse(text), text)


def _digits(node: ast.expr, text: str) -> tuple[int, int]:
    """The digits of a result and those behind the point, as Spark counts them."""
    match node:
        case ast.Constant(value=float()):
            places = max(0, -int(_decimal(node, text).as_tuple().exponent))
            return len(str(abs(int(_decimal(node, text))))) + places, places
        case ast.Constant(value=int() as value):
            return len(str(abs(value))), 0
        case ast.Name(id=name) if name in Event.__struct_fields__ and value_of(name) is Value.DECIMAL:
            return EVENT_DIGITS, PLACES
        case ast.UnaryOp(operand=operand):
            return _digits(operand, text)
        case ast.BinOp(left=left, op=op, right=right):
            (one, one_places), (two, two_places) = _digits(left, text), _digits(right, text)
            if isinstance(op, ast.Mult):
                digits, places = one + two + 1, one_places + two_places
            else:
                places = max(one_places, two_places)
                digits = max(one - one_places, two - two_places) + places + 1
            if digits > _MOST_DIGITS and places > _KEPT_PLACES:
                raise UsageError(
                    f"The expression {text!r} has results of {digits} digits, {places} of them behind the point: more "
                    f"than the {_MOST_DIGITS} that are calculated exactly.",
                    remedy="Calculate with fewer decimals, or multiply the constants by hand.",
                )
            return digits, places
    return _WHOLE_DIGITS, 0


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
    return {node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name)}


def compile_expression(text: str) -> Callable[[Event], Any]:
    """A function that evaluates the expression for one event.

    Parameters
    ----------
    text : str
        Python's syntax; a part that Spark SQL lacks is refused.
    """
    to_sql(text)  # refuses what Spark could not evaluate
    decimals = _Decimals()
    tree = ast.Expression(_Compared().visit(decimals.visit(_parse(text))))
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
