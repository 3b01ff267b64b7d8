"""What can be measured of a shop's own fields: figures are exact, or refused."""

from __future__ import annotations

import ast
from typing import Final

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.contract.types import decimal_digits
from retailpulse_kernel.shop.figures import Figure, Kind
from retailpulse_kernel.shop.messages import EVENT_TYPES

__all__ = ["require_measurable"]

#: Places behind the point that a sum of money keeps.
_PLACES: Final = 4
_WHOLE: Final = ("int", "long")


def require_measurable(figure: Figure, contract: Contract) -> None:
    """Make sure that a figure is exact whatever a contract's own fields hold.

    Parameters
    ----------
    figure : Figure
        Of a job's notebook.
    contract : Contract
        What an event holds.

    Raises
    ------
    UnknownName
        The figure names a column that events do not have.
    UsageError
        The figure can't be computed exactly of its fields.
    """
    columns = {field.name: field for field in contract.columns}
    for name in sorted(figure.names - set(EVENT_TYPES)):
        if name not in columns:
            raise UnknownName("column of an event", name, [*columns, *EVENT_TYPES])
    tree = ast.parse(figure.measure.of, mode="eval").body
    own = [columns[n.id] for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in columns]
    for field in own:
        if field.is_own and (reason := _why_not(figure, field)):
            raise UsageError(f"The figure {figure.name!r} can't be computed exactly: {reason[0]}.", remedy=reason[1])
    if figure.measure.kind is Kind.MONEY and any(field.is_own for field in own) and _scale(tree, columns) > _PLACES:
        raise UsageError(
            f"The figure {figure.name!r} can't be computed exactly: {figure.measure.of!r} has "
            f"{_scale(tree, columns)} places behind the point, and money keeps {_PLACES}.",
            remedy="Give the field a type with fewer places in the contract, or count something else.",
        )


def _why_not(figure: Figure, field: Field) -> tuple[str, str] | None:
    """Why a figure can't be of a field of the shop's own, and what to do."""
    match figure.measure.kind:
        case Kind.SUM if decimal_digits(field.type):
            return f"{field.name} is a {field.type}, and this sum is of whole numbers", "Use sum_of(..., money=True)."
        case Kind.SUM if field.type not in _WHOLE:
            return f"{field.name} is a {field.type}", "Sum fields of the types int, long or decimal(p,s)."
        case Kind.MONEY if field.type not in _WHOLE and not decimal_digits(field.type):
            return f"{field.name} is a {field.type}", "Use a decimal(p,s) in the contract."
        case Kind.FIRST | Kind.LAST if field.type != "timestamp":
            return f"{field.name} is a {field.type}", "Use first and last with a timestamp."
        case Kind.USERS if field.type != "string":
            return f"{field.name} is a {field.type}", "Count different values of a string."
    return None


def _scale(node: ast.expr, columns: dict[str, Field]) -> int:
    """The places behind the point that an expression's values may have."""
    match node:
        case ast.Name(id=name) if name in columns:
            digits = decimal_digits(columns[name].type)
            return digits[1] if digits else 0
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _scale(left, columns) + _scale(right, columns)
        case ast.BinOp(left=left, right=right):
            return max(_scale(left, columns), _scale(right, columns))
        case ast.UnaryOp(operand=operand):
            return _scale(operand, columns)
    return 0
