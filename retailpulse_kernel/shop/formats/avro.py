"""Records in Avro. Each is read with the schema that it was written with."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

import orjson

from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop.formats.framing import DESERIALIZER, Framed, Payload
from retailpulse_kernel.shop.formats.opening import Opener
from retailpulse_kernel.shop.formats.registry import SchemaRegistry

__all__ = ["opener"]

#: Times are written as the contract's quick path reads them.
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME


class _Records:
    """Reads records."""

    def __init__(self, registry: SchemaRegistry) -> None:
        from confluent_kafka.schema_registry.avro import AvroDeserializer

        self._payload = Payload()
        config = {**DESERIALIZER, "schema.id.deserializer": self._payload}
        self._deserialize: Any = AvroDeserializer(registry.client, conf=config)

    def read(self, message: bytes, number: int) -> bytes:
        """A record as JSON."""
        record = self._deserialize(message)
        self._payload.require_read()
        return orjson.dumps(record, default=_plain, option=_OPTIONS)


def _plain(value: Any) -> str:
    """A value of a logical type as text: JSON has none for it."""
    if isinstance(value, Decimal):
        return format(value, "f")  # a number would be rounded by those who read it as one
    if isinstance(value, datetime) and value.tzinfo is not None:
        return iso_text(value.astimezone(UTC), "microseconds" if value.microsecond % 1000 else "milliseconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"a value of the type {type(value).__name__} has no form in JSON")


def opener(format: str, options: Mapping[str, str]) -> Opener:
    """What opens messages in Avro.

    Parameters
    ----------
    format : str
        The format's name in a contract.
    options : mapping of str to str
        As `registry.registry_options` gives them.
    """
    registry = SchemaRegistry(options)
    return Framed(format, "AVRO", registry, _Records(registry))
