"""A contract from its file: a contract of a shop's own extends the shipped one.

>>> shipped().by_role["price"].type
'decimal(18,4)'
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from retailpulse_kernel.ground.calendars import WEEKDAYS
from retailpulse_kernel.ground.errors import ContractError, did_you_mean
from retailpulse_kernel.shop.contract.checking import Fault, Faults, Places, Reading
from retailpulse_kernel.shop.contract.fields import own_fields, read_fields
from retailpulse_kernel.shop.contract.mapping.reading import read_formats
from retailpulse_kernel.shop.contract.model import (
    OTHER,
    Contract,
    EventTypes,
    Shop,
)
from retailpulse_kernel.shop.contract.tables import check_rates, read_tables
from retailpulse_kernel.shop.contract.topics import FORMATS, read_topics, with_items
from retailpulse_kernel.shop.currencies import CURRENCIES

if TYPE_CHECKING:
    from retailpulse_kernel.ground.settings import Settings

__all__ = ["SHIPPED", "contract_of", "load_contract", "read_contract", "shipped"]

#: The shipped contract.
SHIPPED: Final = Path(__file__).with_name("shop.toml")

_ROOMS: Final = ("shop", "event_types", "topics", "fields", "formats", "tables")
#: The format of a file of events as the contract has them.
_PLAIN: Final = "retailpulse"


@cache
def shipped() -> Contract:
    """The contract that describes RetailPulse's own event."""
    return read_contract(SHIPPED.read_text(), name=SHIPPED.name, base=None)


def contract_of(settings: Settings) -> Contract:
    """The contract that settings name; the shipped one where they name none.

    Parameters
    ----------
    settings : Settings
        The file is read again when it has changed.

    Raises
    ------
    ContractError
        The file is missing, or has faults.
    """
    return shipped() if settings.contract is None else load_contract(settings.contract)


def load_contract(path: Path, *, thoroughly: bool = False) -> Contract:
    """A contract from a file.

    Parameters
    ----------
    path : Path
        The file, TOML.
    thoroughly : bool
        Whether the files of reference tables and items are read and checked, too. A job that runs does without: it has
        the versions that it has read before.

    Raises
    ------
    ContractError
        The file is missing, or has faults: the error tells all of them.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        raise ContractError(
            f"There is no contract {path}.",
            remedy="Set `contract` in the profile or RETAILPULSE_CONTRACT to a file, or leave both out.",
        ) from None
    return with_items(_read(path, path.parent) if thoroughly else _loaded(path, changed), path.parent)


@cache
def _loaded(path: Path, changed: int) -> Contract:
    return _read(path)


def _read(path: Path, folder: Path | None = None) -> Contract:
    return read_contract(path.read_text(), name=path.name, base=shipped(), folder=folder)


def read_contract(text: str, *, name: str, base: Contract | None, folder: Path | None = None) -> Contract:
    """A contract from its text.

    Parameters
    ----------
    text : str
        TOML.
    name : str
        The file's name, for errors.
    base : Contract, optional
        What it extends; None for the shipped one itself.
    folder : Path, optional
        Where the files of reference tables and of items are read and checked; without it they are not looked at.

    Raises
    ------
    ContractError
        It has faults.
    """
    places = Places(text)
    try:
        content = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        line, said = Places.of_error(error, text)
        raise _failed(name, [Fault(line, "TOML", f"{said}.", _of_syntax(said))]) from None
    faults = Faults(places)
    for key in content:
        if key not in _ROOMS:
            faults.unknown((key,), "table", key, _ROOMS)
    event_types = _event_types(faults, content.get("event_types", {}), base)
    fields = read_fields(faults, content.get("fields", {}))
    words = [*event_types.columns, *event_types.values]
    if base is not None:
        fields = own_fields(faults, fields, content.get("fields", {}), base.fields, words)
    formats = read_formats(faults, content.get("formats", {}), event_types.values, (*FORMATS, _PLAIN))
    contract = Contract(
        fields,
        event_types,
        read_topics(faults, content.get("topics", {}), base, words, formats, folder),
        read_tables(faults, content.get("tables", {}), folder),
        _shop(faults, content.get("shop", {}), base),
        formats=formats,
    )
    check_rates(faults, contract.shop, contract.tables, folder)
    if faults.found:
        raise _failed(name, sorted(faults.found, key=lambda fault: fault.line))
    return contract


def _failed(name: str, faults: Sequence[Fault]) -> ContractError:
    said = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    return ContractError("\n  ".join([f"{name} has {said}:", *map(str, faults)]))


def _of_syntax(said: str) -> str:
    twice = "twice" in said or "overwrite" in said
    return "The name stands in the file already: remove one of the two." if twice else "Correct the line."


def _event_types(faults: Faults, values: Any, base: Contract | None) -> EventTypes:
    known = dict(base.event_types.words) if base else {}
    roles = [*known.values(), OTHER] if base else None
    for word, role in Reading(faults, ("event_types",), values).values.items():
        keys = ("event_types", word)
        if not isinstance(role, str):
            faults.add(keys, "The role of an event is a text in quotes.", f'Such as {word} = "view".')
        elif roles is not None and role not in roles:
            faults.add(
                keys, f"There is no role {role!r} of events.", f"{did_you_mean(role, roles)}Known: {', '.join(roles)}."
            )
        elif known.get(word, role) != role:
            reason = f"{word!r} is a word of the standard event, with the role {known[word]!r}."
            faults.add(keys, reason, "Leave the line out, and use another word in the messages.")
        elif not 1 <= len(word) <= 128:
            faults.add(keys, "A word for an event has 1 to 128 characters.", "Shorten it.")
        else:
            known[word] = role
    return EventTypes(tuple(known.items()))


def _shop(faults: Faults, values: Any, base: Contract | None) -> Shop:
    before, said = base.shop if base else Shop(), Reading(faults, ("shop",), values)
    said.only("name", "zone", "week_start", "currency", "rates")
    shop = Shop(
        said.take("name", "text", before.name),
        said.take("zone", "text", before.zone),
        said.take("week_start", "text", before.week_start),
        said.take("currency", "text", before.currency),
        said.take("rates", "text", before.rates),
    )
    try:
        ZoneInfo(shop.zone)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        remedy = (
            f"{did_you_mean(shop.zone, available_timezones())}Use a name of the IANA database, such as Europe/Berlin."
        )
        faults.add(("shop", "zone"), f"There is no time zone {shop.zone!r}.", remedy)
    if shop.week_start not in WEEKDAYS:
        faults.unknown(("shop", "week_start"), "day", shop.week_start, WEEKDAYS)
    if shop.currency not in CURRENCIES:
        near = did_you_mean(shop.currency, CURRENCIES)
        faults.add(("shop", "currency"), f"{shop.currency!r} is not a currency of ISO 4217.", f"{near}Such as EUR.")
    return shop
