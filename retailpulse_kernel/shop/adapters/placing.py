"""Values at paths: read from a record, and put into a message where the shop's contract has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from retailpulse_kernel.shop.adapters.values import decimal_of, is_nothing, is_number, nested, text, utc_time, whole
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.contract.paths import Step, path_text
from retailpulse_kernel.shop.contract.types import decimal_digits, element_of

__all__ = ["at", "kept_cells", "kept_parts", "placed"]


def at(record: Mapping[str, Any], steps: Sequence[Step]) -> Any:
    """What a record has along a path: nested, as JSON in a cell, or in a column that has the whole path as its name.

    Parameters
    ----------
    record : mapping
        The fields by name.
    steps : sequence of str or int
        From the record to the value.

    Raises
    ------
    EventError
        Something on the way is neither an object nor a list.
    """
    whole_path = path_text(tuple(steps))
    if whole_path in record:
        return record[whole_path]
    found: Any = record
    for number, step in enumerate(steps):
        kind, name = (list, "list") if isinstance(step, int) else (dict, "object")
        inner = found if number == 0 else nested(found, kind, path_text(tuple(steps[:number])) or name)
        if inner is None:
            return None
        found = next(iter(inner[step : step + 1]), None) if isinstance(step, int) else inner.get(step)
    return found


def kept_parts(record: Mapping[str, Any], fields: Iterable[Field]) -> dict[str, Any]:
    """The parts of a record of JSON in which the shop's own fields are, as they are.

    Parameters
    ----------
    record : mapping
        Its fields by name.
    fields : iterable of Field
        The shop's own.
    """
    names = {str(field.steps[0]) for field in fields}
    return {name: record[name] for name in sorted(names) if name in record}


def kept_cells(record: Mapping[str, Any], fields: Iterable[Field]) -> dict[str, Any]:
    """The shop's own fields from a row of a table, whose cells are texts, or of types of the table's own.

    Parameters
    ----------
    record : mapping
        The row by its columns.
    fields : iterable of Field
        The shop's own, with their types and paths.

    Raises
    ------
    EventError
        Something on the way to a field is neither an object nor a list.
    """
    found: dict[str, Any] = {}
    for field in fields:
        value = _cell(field.type, at(record, field.steps))
        if value is not None:
            _put(found, field.steps, value)
    return found


def _cell(kind: str, value: Any) -> Any:
    """A cell as JSON has a value of the field's type; what can't be one is left to the contract to refuse."""
    if is_nothing(value):
        return None
    if inner := element_of(kind):
        return [_cell(inner, one) for one in nested(value, list, "list") or []]
    if decimal_digits(kind):
        return format(value, "f") if isinstance(value, Decimal) and value.is_finite() else _decimal(value)
    match kind:
        case "string":
            return text(value)
        case "int" | "long":
            return whole(value)
        case "bool" if isinstance(value, str):
            return {"true": True, "false": False}.get(value.strip().lower(), value)
        case "double":
            return _double(value)
        case "timestamp":
            number = whole(value)
            return number if isinstance(number, int) else utc_time(value)
        case "date":
            return _day(value)
    return value


def _decimal(value: Any) -> Any:
    if isinstance(value, float):
        return format(decimal_of(value), "f")
    return value.strip() if isinstance(value, str) else value


def _double(value: Any) -> Any:
    """A number; JSON has none for infinity, which stays a text so that its row is refused."""
    if isinstance(value, str) and not is_number(value):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return number if math.isfinite(number) else str(value)


def _day(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == value.time().min else value.isoformat()
    return value.isoformat() if isinstance(value, date) else value


def placed(fields: Mapping[str, Any], contract: Contract, kept: Mapping[str, Any]) -> dict[str, Any]:
    """A message of a contract: the standard fields where it has them, among what is kept of the record.

    Parameters
    ----------
    fields : mapping
        An event's fields by their names, those that the standard event lacks among them.
    contract : Contract
        Says where each standard field is.
    kept : mapping
        What of the record the shop's own fields need.
    """
    moved = {field.name: field.steps for field in contract.moved}
    found = {**kept, **{name: value for name, value in fields.items() if name not in moved}}
    for name, steps in moved.items():
        if name in fields:
            _put(found, steps, fields[name])
    return found


def _put(found: dict[str, Any], steps: Sequence[Step], value: Any) -> None:
    """Put a value at a path; objects and lists on the way are made, or copied, so that no record is changed."""
    holder: Any = found
    for step, following in pairwise(steps):
        empty: Any = [] if isinstance(following, int) else {}
        inner: Any = holder.get(step) if isinstance(holder, dict) else holder[step]
        holder[step] = inner.copy() if isinstance(inner, type(empty)) else empty
        holder = holder[step]
        if isinstance(following, int):
            holder.extend([None] * (following + 1 - len(holder)))
    holder[steps[-1]] = value
