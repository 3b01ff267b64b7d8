"""The formats of messages beside JSON, and what a shop chooses for a topic that holds records of other tools."""

from __future__ import annotations

from typing import Final

from retailpulse_kernel.ground.errors import did_you_mean
from retailpulse_kernel.shop.contract.checking import Faults, Reading
from retailpulse_kernel.shop.currencies import CURRENCIES

__all__ = ["CHOICES", "PRICES", "REGISTERED", "TOOLS", "USERS", "read_options"]

#: The formats of other tools' records, which are mapped to the standard event (`shop/adapters`).
TOOLS: Final = ("ga4", "rees46", "retailrocket", "segment")
#: Formats whose messages name a schema in a Schema Registry.
REGISTERED: Final = ("avro", "json_schema", "protobuf")
#: What becomes of a price with more than four decimal places.
PRICES: Final = ("computed", "exact", "round")
#: What becomes of a hit whose user gave no consent, and so has no id.
USERS: Final = ("own", "reject")
#: What can be chosen, and of what.
CHOICES: Final = {"currency": tuple(sorted(CURRENCIES)), "prices": PRICES, "users": USERS}


def read_options(faults: Faults, said: Reading, format: str) -> tuple[tuple[str, str], ...]:
    """What a contract chooses for the records of a topic, sorted by the choices' names.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    said : Reading
        The topic's table of the file.
    format : str
        The topic's format.
    """
    found = {}
    for name, known in CHOICES.items():
        if name not in said.values:
            continue
        chosen = said.take(name, "text", known[0])
        if format not in TOOLS:
            reason = f"{name} is a choice for records of other tools, and the format is {format!r}."
            faults.add((*said.keys, name), reason, f"Leave it out, or name a format: {', '.join(TOOLS)}.")
        elif chosen not in known:
            reason = f"{chosen!r} can't be chosen for {name}."
            such = "Such as EUR." if name == "currency" else f"There is: {', '.join(known)}."
            faults.add((*said.keys, name), reason, f"{did_you_mean(chosen, known)}{such}")
        found[name] = chosen
    return tuple(sorted(found.items()))
