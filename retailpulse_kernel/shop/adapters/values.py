"""Careful reading of values of any type: what is not exact says so, what has to be changed is told to who counts it."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

import msgspec

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.ground.spans import moment_at

__all__ = [
    "canonical",
    "category_path",
    "coupon_of",
    "currency_code",
    "day_session",
    "decimal_of",
    "digest",
    "exact_number",
    "exact_price",
    "first_of",
    "fitted",
    "is_cut",
    "is_nothing",
    "is_number",
    "nested",
    "text",
    "utc_time",
    "whole",
]

#: Digits that a binary float can hold; a number that has as many was computed by a machine, and not written by a shop.
_FLOAT_DIGITS: Final = 15
_PLACES: Final = Decimal("0.0001")
_LONGEST_NUMBER: Final = 40
#: From here on a binary float does not tell neighbours apart: an id that came through one has lost its last digits.
_EXACT_FLOATS: Final = 2**53
#: Digits of a time behind its milliseconds, of which one is not zero.
_BELOW_MS: Final = re.compile(r"\.\d{3}\d*[1-9]", re.ASCII)
#: Characters of an id of the contract.
_LONGEST_ID: Final = 128
# Minutes are optional in an offset, and so is the colon before them (ISO 8601).
_OFFSET: Final = re.compile(r"(?<=[0-9])\s*([+-])(\d\d):?(\d\d)?$", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_WHOLE_FLOAT: Final = re.compile(r"(-?\d+)\.0+", re.ASCII)

_PATH: Final = re.compile(r"\s*[/>]\s*")

_decode_json = msgspec.json.Decoder(float_hook=Decimal).decode


def text(value: Any) -> str | None:
    """An identifier or a name as text; None when there is nothing.

    Parameters
    ----------
    value : object
        As the file has it.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):  # some writers leave text in Parquet as plain bytes
        try:
            return value.decode()
        except UnicodeDecodeError:
            if len(value) == 16:
                raise EventError("type:row", "16 bytes that are not text: a UUID is stored as plain bytes") from None
            return value.decode(errors="surrogateescape")
    if isinstance(value, float | Decimal):
        return _number(value)
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value)
    raise EventError("type:row", f"a text was expected, found {type(value).__name__}")


def _number(value: float | Decimal) -> str | None:
    """A number as an identifier: a column of ids with gaps becomes float on its way through pandas, and 17.0 was 17."""
    if isinstance(value, float) and _EXACT_FLOATS <= abs(value) < math.inf:
        raise EventError(
            "type:row", f"{value!r} is a float, whose last digits are not known: store ids as text or as whole numbers"
        )
    exact = decimal_of(value)
    if not exact.is_finite():
        return None
    if abs(exact.adjusted()) > _LONGEST_NUMBER:
        return str(value)
    return format(exact.to_integral_value() if exact == exact.to_integral_value() else exact, "f")


def is_cut(time: Any) -> bool:
    """Whether a time is finer than the milliseconds that an event keeps.

    Parameters
    ----------
    time : object
        RFC 3339, or milliseconds since 1970.
    """
    return isinstance(time, str) and _BELOW_MS.search(time) is not None


def is_nothing(value: Any) -> bool:
    """Whether a value is none: null, an empty text, or the NaN that pandas writes for a gap.

    Parameters
    ----------
    value : object
        As the file has it.
    """
    if isinstance(value, Decimal):  # a short float, with all of its digits
        return value.is_nan()
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def first_of(*values: Any) -> Any:
    """The first of several values that is set; None where none is.

    Parameters
    ----------
    *values : object
        As the file has them.
    """
    return next((value for value in values if not is_nothing(value)), None)


def whole(value: Any) -> Any:
    """A count: 2, "2" and 2.0 are the same; anything else is left to the contract to refuse.

    Parameters
    ----------
    value : object
        As the file has it.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        plain = value.strip()
        if found := _WHOLE_FLOAT.fullmatch(plain):
            plain = found[1]
        return int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 19 else value
    if isinstance(value, (float, Decimal)):
        if is_nothing(value):
            return None
        if abs(value) == math.inf:
            return str(value)  # JSON has no infinity: a null in its place would count as one piece
        if -(10**18) < value < 10**18 and value == int(value):
            return int(value)
    return value


def is_number(value: str) -> bool:
    """Whether a text is a number in plain digits; Python's own reading also takes ``1_000`` and ``١٢``.

    Parameters
    ----------
    value : str
        The text.
    """
    return _NUMBER.fullmatch(value.strip()) is not None


def decimal_of(number: str | int | float | Decimal) -> Decimal:
    """A number with the digits that it is written with: a float has those of its shortest text.

    Parameters
    ----------
    number : str or int or float or Decimal
        The number.

    Raises
    ------
    decimal.InvalidOperation
        The text is no number.
    """
    return Decimal(repr(number) if isinstance(number, float) else number)


def exact_number(value: Any) -> Decimal | None:
    """An amount with all of its digits; None when there is nothing.

    Parameters
    ----------
    value : object
        A number, or a text that holds one.

    Raises
    ------
    EventError
        It is no number, or none that an amount could be.
    """
    if is_nothing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise EventError("type:price", f"a price was expected, found {type(value).__name__}")
    if isinstance(value, str):
        value = value.strip()
        if len(value) > _LONGEST_NUMBER:
            raise EventError("format:price", f"{value[:40]!r} is too long for a price")
        if not is_number(value):
            raise EventError("format:price", f"{value!r} is not a number")
    try:
        number = decimal_of(value)
        if not number.is_finite() or number.adjusted() > 15:
            raise EventError("range:price", f"{str(value)[:40]} is not an amount")
        number.quantize(_PLACES)
    except (InvalidOperation, ValueError):
        raise EventError("format:price", f"{str(value)[:40]!r} is not a number") from None
    return number


def exact_price(
    value: Any,
    changed: list[str] | None = None,
    *,
    computed: bool = True,
    every: bool = False,
    name: str = "price",
) -> str | None:
    """A price as decimal text of at most four places.

    The noise of a binary float is taken off. A number that was computed, with as many digits as a binary float has, is
    rounded half to even; a price that somebody wrote with more than four places is not, unless told to.

    Parameters
    ----------
    value : Any
        A number, or a text that holds one.
    changed : list of str, optional
        Told ``rounded:price`` where the price was rounded.
    computed, every : bool
        Whether computed prices are rounded, and whether all are.
    name : str
        What the amount is, where it is rounded.

    Raises
    ------
    EventError
        It is not a number, or has more than four decimal places.
    """
    price = exact_number(value)
    if price is None:
        return None
    rounded = price.quantize(_PLACES)
    if not rounded:
        price, rounded = abs(price), abs(rounded)  # zero has no sign
    if price == rounded:
        exponent = int(price.as_tuple().exponent)
        return format(price if -4 <= exponent <= 0 else rounded, "f")
    machine_made = len(price.as_tuple().digits) >= _FLOAT_DIGITS
    if (
        isinstance(value, float | Decimal)
        and (machine_made or isinstance(value, float))
        and abs(price - rounded) < 1e-9
    ):
        return format(rounded.normalize(), "f")
    if every or (computed and machine_made):
        if changed is not None:
            changed.append(f"rounded:{name}")
        return format(rounded, "f")
    raise EventError("range:price", f"{str(value)[:40]} has more than 4 decimal places")


def category_path(value: Any) -> str:
    """A category as a dot path: ``Apparel/Shoes`` and ``Apparel > Shoes`` are one.

    Parameters
    ----------
    value : object
        As the file has it.
    """
    return ".".join(part for part in _PATH.split((text(value) or "").strip()) if part)


def coupon_of(coupon: str | None) -> dict[str, str]:
    """A coupon as a further field of an event; no field where there is none.

    Parameters
    ----------
    coupon : str or None
        Its code.
    """
    return {"coupon": coupon} if coupon else {}


def currency_code(value: Any) -> str | None:
    """A currency's code in upper case, as ISO 4217 writes it.

    Parameters
    ----------
    value : object
        As the file has it.
    """
    code = text(value)
    return code.strip().upper() or None if code else None


def utc_time(value: Any, changed: list[str] | None = None) -> Any:
    """A time in RFC 3339; one without a zone is UTC.

    Parameters
    ----------
    value : object
        As the file has it.
    changed : list of str, optional
        Told ``defaulted:zone``.
    """
    told = [] if changed is None else changed
    if isinstance(value, datetime):
        if value.tzinfo is None:
            told.append("defaulted:zone")
            value = value.replace(tzinfo=UTC)
        value = value.isoformat()
    elif isinstance(value, date):
        value = value.isoformat()  # a day is no time, in Parquet as in text: the contract refuses it
    if not isinstance(value, str):
        return value
    value = value.strip()
    bare = value.removesuffix(" UTC")
    if len(bare) < 19 or bare[-1] in "Zz":
        return bare
    if offset := _OFFSET.search(bare, 19):
        return f"{bare[: offset.start()]}{offset[1]}{offset[2]}:{offset[3] or '00'}"
    if "+" in bare[19:] or "-" in bare[19:]:
        return bare
    if bare == value:
        told.append("defaulted:zone")
    return bare + "Z"


def day_session(user: str | None, time: Any) -> str | None:
    """A session for a record without one: the user's day in UTC, whatever zone the time was written in.

    Parameters
    ----------
    user : str or None
        The user's id; no session without one.
    time : object
        RFC 3339, or milliseconds since 1970.
    """
    if user is None:
        return None
    day = str(time)[:10]
    try:
        if isinstance(time, int):
            moment = moment_at(time) if abs(time) < 10**13 else None
        else:
            moment = datetime.fromisoformat(time)
        day = moment.astimezone(UTC).date().isoformat() if moment else ""
    except (TypeError, ValueError, OverflowError):
        pass  # the contract refuses such a time
    return f"{fitted(user, _LONGEST_ID - 11)}-{day}"


def fitted(name: str, longest: int = _LONGEST_ID) -> str:
    """A name that fits into an id; a longer one ends in a hash of itself, so that two names stay two.

    Parameters
    ----------
    name : str
        What may be too long.
    longest : int
        Characters.
    """
    return name if len(name) <= longest else f"{name[: longest - 17]}~{digest(name)}"


def nested(value: Any, kind: type, name: str) -> Any:
    """A record or a list; in CSV, where a cell holds text, its JSON. Nothing is None.

    Parameters
    ----------
    value : object
        As the file has it.
    kind : type
        `dict` or `list`.
    name : str
        The field, for the error.

    Raises
    ------
    EventError
        It is something else.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = _decode_json(value)
        except (ValueError, RecursionError):
            value = ""
    if kind is list and isinstance(value, Mapping) and value.keys() == {"list"} and isinstance(value["list"], list):
        # Parquet's own layers of a list, which some programs leave in: {"list": [{"element": ...}]}.
        value = [one.get("element") if isinstance(one, Mapping) else one for one in value["list"]]
    if not isinstance(value, kind):
        what = "a list" if kind is list else "an object"
        raise EventError(f"type:{name}", f"{name} is {what}")
    return value


def canonical(value: Any) -> str:
    """A value's content as text, the same whichever container it came from.

    A field that is null or empty is as one that is absent, ``5``, ``5.0`` and ``"5"`` are one number.

    Parameters
    ----------
    value : object
        As the file has it, however deep.
    """
    if isinstance(value, Mapping):
        fields = ((str(key), canonical(inner)) for key, inner in value.items())
        return "{" + ",".join(f"{key}:{inner}" for key, inner in sorted(fields) if inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(canonical(inner) for inner in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal) and (exact := decimal_of(value)).is_finite():
        # A column of decimals writes 1.10, one of floats 1.1.
        return text(exact.normalize() if exact else Decimal(0)) or ""
    if isinstance(value, str) and (found := _WHOLE_FLOAT.fullmatch(value)):
        return found[1]
    try:
        return text(value) or ""
    except EventError:
        return str(value)


def digest(content: str, size: int = 8) -> str:
    """A short hash of a text.

    Parameters
    ----------
    content : str
        What is hashed.
    size : int
        Bytes of the hash; each gives two hex digits.
    """
    return hashlib.blake2b(content.encode(errors="replace"), digest_size=size).hexdigest()
