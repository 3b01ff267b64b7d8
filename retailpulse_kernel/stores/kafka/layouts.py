"""Which columns messages of a contract become when they are shown as they were sent, and how those are reached."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.contract.paths import Step
from retailpulse_kernel.shop.contract.types import decimal_digits

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Column", "decimal_of", "layout_of", "shown", "walked"]

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
#: What is decoded straight into columns; anything else stays what it is in JSON until it is shown.
_TYPED: Final[dict[str, Any]] = {"string": str | None, "int": _Int64 | None, "long": _Int64 | None, "bool": bool | None}
#: How many fields beside the contract's become columns at once; messages with others are read one by one.
_FURTHER: Final = 100


@dataclass(frozen=True)
class Column:
    """A column of messages.

    Attributes
    ----------
    field : Field
        The contract's field.
    get : callable
        Gives the column's value of a decoded message; None for nothing.
    """

    field: Field
    get: Callable[[Any], Any]

    @property
    def name(self) -> str:
        """The column's name."""
        return self.field.name

    @property
    def arrow_type(self) -> pa.DataType | None:
        """The type in which values are kept; None where they are kept as JSON has them."""
        import pyarrow as pa

        if self.field.is_moved:
            return None
        if self.field.role == "time":
            return pa.timestamp("us", tz="UTC")
        if self.field.role == "price" or self.field.type == "string":
            return pa.string()
        return {"int": pa.int64(), "long": pa.int64(), "bool": pa.bool_()}.get(self.field.type)


class Layout:
    """The columns of a contract's messages.

    Parameters
    ----------
    contract : Contract
        What the messages hold.
    further : sequence of str
        Fields that messages have beside those of the contract.

    Attributes
    ----------
    columns : dict of str to Column
        By name.
    within : dict of str to callable
        What is shown beside them, as it was sent: further fields, and objects that own fields are within.
    decode : callable
        Makes a struct of a message that has no other fields, each of its usual type.
    nothing : object
        The struct of an empty message.
    """

    def __init__(self, contract: Contract, further: Sequence[str] = ()) -> None:
        self._contract, self._further = contract, tuple(further)
        keys = list(dict.fromkeys([*(str(field.steps[0]) for field in contract.fields), *further]))
        self._keys = frozenset(keys)
        flat = {field.name: field for field in contract.fields if not field.is_moved}
        attributes = {key: f"at{number}" for number, key in enumerate(keys)}
        described = [(attributes[key], _type_of(flat.get(key)), None) for key in keys]
        struct = msgspec.defstruct(
            "_Usual",
            described,
            rename={attribute: key for key, attribute in attributes.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
        self.nothing = struct()
        self.decode = msgspec.json.Decoder(struct, float_hook=Decimal).decode
        self.columns = {
            field.name: Column(field, _getter(attributes[str(field.steps[0])], field.steps[1:]))
            for field in contract.fields
        }
        self.within = {
            key: operator.attrgetter(attributes[key]) for key in keys if key not in flat and key not in self.columns
        }

    def wider(self, names: Iterable[str]) -> Layout | None:
        """The layout with further fields; None where there are none, or too many.

        Parameters
        ----------
        names : iterable of str
            The fields of a message.
        """
        further = (*self._further, *(name for name in names if name not in self._keys))
        return Layout(self._contract, further) if len(self._further) < len(further) <= _FURTHER else None


@cache
def layout_of(contract: Contract) -> Layout:
    """The layout of a contract's messages.

    Parameters
    ----------
    contract : Contract
        Contracts that are equal have one layout.
    """
    return Layout(contract)


def _type_of(field: Field | None) -> Any:
    if field is None or field.role == "price":
        return Any
    return str | int | None if field.role == "time" else _TYPED.get(field.type, Any)


def _getter(attribute: str, steps: Sequence[Step]) -> Callable[[Any], Any]:
    first = operator.attrgetter(attribute)
    return (lambda message: walked(first(message), steps)) if steps else first


def walked(value: Any, steps: Sequence[Step]) -> Any:
    """What is at the end of some steps; None where there is nothing.

    Parameters
    ----------
    value : object
        What JSON has.
    steps : sequence of str or int
        Keys of objects, and numbers of elements.
    """
    for step in steps:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def decimal_of(value: Any) -> Decimal | None:
    """A value as an exact decimal; None where it can't be read as such.

    Parameters
    ----------
    value : object
        Of a message.
    """
    try:
        return Decimal(value) if isinstance(value, str | int | Decimal) else None
    except InvalidOperation:
        return None


def shown(field: Field, value: Any) -> Any:
    """A value as a frame shows it: in the field's type where it can be read as such, and else as it was sent.

    Parameters
    ----------
    field : Field
        Of the contract.
    value : object
        What a message has there.
    """
    if decimal_digits(field.type) or field.role == "price":
        return decimal_of(value)
    if field.type == "double" and isinstance(value, Decimal):
        return float(value)
    if field.type == "date" and isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return value
    return value
