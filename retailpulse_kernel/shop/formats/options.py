"""What the opener of a topic's messages needs to know, as plain values that travel to Spark's workers."""

from __future__ import annotations

import json
from typing import Final

import msgspec

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.model import REGISTERED, TOOLS, Contract
from retailpulse_kernel.shop.formats.opening import MAPPING
from retailpulse_kernel.shop.formats.registry import registry_options

__all__ = ["KEPT", "options_of"]

#: The option that names the parts of a tool's record in which the shop's own fields are, as a JSON list.
KEPT: Final = "kept"


def options_of(settings: Settings, contract: Contract) -> dict[str, str]:
    """The options of a topic's format. They may hold a password: they belong into no plan, log or record.

    Parameters
    ----------
    settings : Settings
        Of the namespace: how to reach what a format needs.
    contract : Contract
        That of the topic, see `Contract.of_topic`: what the shop has chosen, and where its own fields are.
    """
    mapped = {MAPPING: msgspec.json.encode(contract.formats[0]).decode()} if contract.formats else {}
    kept = {str(field.steps[0]) for field in contract.own} if contract.format in TOOLS or mapped else ()
    reached = registry_options(settings) if contract.format in REGISTERED else {}
    return dict(contract.options) | mapped | reached | ({KEPT: json.dumps(sorted(kept))} if kept else {})
