"""Records of other tools as a topic has them, one JSON object a message, mapped by the adapters that files have."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import msgspec

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import Adapter, Rules
from retailpulse_kernel.shop.adapters.formats import adapters_of
from retailpulse_kernel.shop.adapters.records import Mapped, assumed, json_of, message_of
from retailpulse_kernel.shop.contract.mapping.formats import RecordFormat
from retailpulse_kernel.shop.contract.mapping.items import ITEMS, Items
from retailpulse_kernel.shop.contract.model import CHOICES
from retailpulse_kernel.shop.formats.opening import MAPPING, Opener
from retailpulse_kernel.shop.formats.options import CONTENT, KEPT

__all__ = ["opener"]


class _Records:
    """Opens the records of one tool."""

    def __init__(
        self,
        kind: type[Adapter],
        rules: Rules,
        kept: Sequence[str],
        items: Items | None,
        changed: Counter[str] | None = None,
    ) -> None:
        self._kind, self._rules, self._kept, self._items, self._changed = kind, rules, kept, items, changed

    def open(self, message: bytes, partition: int, offset: int) -> Sequence[bytes | EventError]:
        """One message for each event of a record."""
        # An adapter counts an order's lines from record to record, so each message has one of its own.
        mapping = self._kind(source=str(partition), items=self._items, rules=self._rules, alone=True)
        record = self._kind.opened(message)
        events = _once(mapping.adapt(record, offset))
        if self._changed is not None:
            lost = [f"left_out:{name}" for name in (*mapping.lost, *mapping.owed)]
            mapped = [one for one in events if not isinstance(one, EventError)]
            filled = [what for one in mapped for what in assumed(one, one.get("event_type"), one.get("price"))]
            self._changed.update({*mapping.changed, *lost, *filled})
        kept: dict[str, Any] = {name: json_of(record[name]) for name in self._kept if name in record}
        return [message_of(event if isinstance(event, EventError) else kept | event) for event in events]


def _once(events: Sequence[Mapped]) -> list[Mapped]:
    """The events of a message, the first of each id: a job tells an event that comes again by its message."""
    known: set[Any] = set()
    found: list[Mapped] = []
    for event in events:
        name = None if isinstance(event, EventError) else event.get("event_id")
        if name is not None and name in known:
            event = EventError("repeated:event_id", f"the message has an event {name!r} already"[:200])
        found.append(event)
        known.add(name)
    return found


def opener(format: str, options: Mapping[str, str], changed: Counter[str] | None = None) -> Opener:
    """What opens the records of a tool.

    Parameters
    ----------
    format : str
        A name of `retailpulse_kernel.shop.adapters.formats.FORMATS`, or one of the shop's own.
    options : mapping of str to str
        The shop's rules by the names of `Rules`, what of a record is kept for the shop's own fields, the mapping of a
        format of its own, and the products' prices.
    changed : Counter, optional
        Counts the messages in which a value was changed, by what was done.
    """
    rules = {name: options[name] for name in CHOICES if name in options}
    own = [msgspec.json.decode(options[MAPPING], type=RecordFormat)] if MAPPING in options else []
    kept = json.loads(options.get(KEPT, "[]"))
    return _Records(adapters_of(own)[format], Rules(**rules), kept, _items(options), changed)


def _items(options: Mapping[str, str]) -> Items | None:
    if CONTENT not in options:
        return None
    text = zlib.decompress(base64.b85decode(options[CONTENT])).decode("utf-8-sig")
    return Items.read(StringIO(text, newline=""), options[ITEMS])
