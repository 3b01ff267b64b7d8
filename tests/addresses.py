"""Addresses in what the product makes: none of them may lead off the machine."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["addresses_elsewhere"]

_ADDRESS = re.compile(
    r"(?:\b\w+:|[\"'(=\s])//(?:[^\s/@\"'<>]*@)?(\[[\da-fA-F:.]+\]|[\w-]+(?:\.[\w-]+)+|localhost)", re.ASCII
)
#: The names of XML's vocabularies look like addresses; nobody asks for them.
_NAMES = {"www.w3.org"}


def addresses_elsewhere(text: str) -> list[str]:
    """Addresses in a text whose host is not this machine."""
    return [match[0] for match in _ADDRESS.finditer(text) if match[1] not in _NAMES and not _loopback(match[1])]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
