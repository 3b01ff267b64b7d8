"""How the values of own fields stand in a message, as msgspec decodes and judges them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from retailpulse_kernel.shop.contract.model import Field
from retailpulse_kernel.shop.contract.types import element_of
from retailpulse_kernel.shop.contract.values import BOUNDS

__all__ = ["wire_type"]


def wire_type(field: Field) -> Any:
    """The type that a field of the shop's own has in a message, for msgspec.

    Decimals are raw, so that their characters become the number; dates and times are texts.

    Parameters
    ----------
    field : Field
        A field without a role.
    """
    inner = element_of(field.type)
    return list[_simple_wire(field, inner)] if inner else _simple_wire(field, field.type)  # type: ignore[misc]


def _simple_wire(field: Field, type_: str) -> Any:
    if field.allowed:
        return Literal[field.allowed]
    match type_:
        case "string":
            lengths = {"min_length": field.min_length, "max_length": field.max_length}
            meta: dict[str, Any] = {name: bound for name, bound in lengths.items() if bound is not None}
            return Annotated[str, Meta(**meta)] if meta else str
        case "int" | "long":
            low, high = BOUNDS[type_]
            return Annotated[int, Meta(ge=_bound(field.min, low), le=_bound(field.max, high))]
        case "double":
            bounds: dict[str, Any] = {
                name: bound for name, bound in (("ge", field.min), ("le", field.max)) if bound is not None
            }
            return Annotated[float, Meta(**bounds)] if bounds else float
        case "bool":
            return bool
        case "date":
            return str
        case "timestamp":
            return str | int
    return msgspec.Raw


def _bound(given: Any, otherwise: int) -> int:
    return otherwise if given is None else int(given)
