"""Records of other tools as a topic has them, one JSON object a message, mapped by the adapters that files have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import Rules
from retailpulse_kernel.shop.adapters.formats import adapter
from retailpulse_kernel.shop.adapters.records import message_of, record_of
from retailpulse_kernel.shop.formats.opening import Opener

__all__ = ["opener"]


class _Records:
    """Opens the records of one tool."""

    def __init__(self, format: str, rules: Rules) -> None:
        self._format, self._rules = format, rules

    def open(self, message: bytes, partition: int, offset: int) -> Sequence[bytes | EventError]:
        """One message for each event of a record."""
        # An adapter counts an order's lines from record to record. A message says nothing of those before it, so each
        # has an adapter of its own.
        mapping = adapter(self._format, source=str(partition), rules=self._rules)
        return [message_of(fields) for fields in mapping.adapt(record_of(message), offset)]


def opener(format: str, options: Mapping[str, str]) -> Opener:
    """What opens the records of a tool.

    Parameters
    ----------
    format : str
        A name of `retailpulse_kernel.shop.adapters.formats.FORMATS`.
    options : mapping of str to str
        The shop's rules by the names of `Rules`; those of other formats are passed over.
    """
    known = {name: options[name] for name in ("currency", "prices", "users") if name in options}
    return _Records(format, Rules(**known))
