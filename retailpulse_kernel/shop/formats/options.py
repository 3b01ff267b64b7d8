"""What the opener of a topic's messages needs to know, as plain values that travel to Spark's workers."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.mapping.items import ITEMS, VERSION, Items, version_of
from retailpulse_kernel.shop.contract.model import REGISTERED, TOOLS, Contract
from retailpulse_kernel.shop.formats.opening import MAPPING
from retailpulse_kernel.shop.formats.registry import registry_options

__all__ = ["CONTENT", "KEPT", "options_of"]

#: The option that names the parts of a tool's record in which the shop's own fields are, as a JSON list.
KEPT: Final = "kept"
#: The option that holds an items file, compressed: workers need no file, and one that changes changes no running job.
CONTENT: Final = "items_content"


def options_of(settings: Settings, contract: Contract) -> dict[str, str]:
    """The options of a topic's format. They may hold a password: they belong into no plan, log or record.

    Parameters
    ----------
    settings : Settings
        Of the namespace: how to reach what a format needs.
    contract : Contract
        That of the topic, see `Contract.of_topic`: what the shop has chosen, and where its own fields are.

    Raises
    ------
    UsageError
        The file of items that the topic names can't be read, or has faults.
    """
    mapped = {MAPPING: msgspec.json.encode(contract.formats[0]).decode()} if contract.formats else {}
    kept = {str(field.steps[0]) for field in contract.own} if contract.format in TOOLS or mapped else ()
    reached = registry_options(settings) if contract.format in REGISTERED else {}
    options = dict(contract.options)
    return options | mapped | reached | ({KEPT: json.dumps(sorted(kept))} if kept else {}) | _items(settings, options)


def _items(settings: Settings, options: Mapping[str, str]) -> dict[str, str]:
    """The content of the items file that a topic's options name."""
    if ITEMS not in options:
        return {}
    assert settings.contract is not None, "only a contract of the shop's own names an items file"
    return {CONTENT: _packed(settings.contract.parent / options[ITEMS], options[VERSION])}


@lru_cache(maxsize=4)
def _packed(path: Path, version: str) -> str:
    Items.load(path)
    content = base64.b85encode(zlib.compress(path.read_bytes())).decode()
    if version_of(path) != version:
        raise UsageError(f"The items file {path} was written while it was read.", remedy="Do it again.")
    return content
