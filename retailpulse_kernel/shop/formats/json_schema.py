"""JSON that a JSON Schema describes. The message's own text goes on, so that its numbers stay as they were written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.formats.framing import DESERIALIZER, HEAD, Framed
from retailpulse_kernel.shop.formats.opening import Opener
from retailpulse_kernel.shop.formats.registry import SchemaRegistry

__all__ = ["opener"]


class _Documents:
    """Reads documents."""

    def __init__(self, registry: SchemaRegistry) -> None:
        from confluent_kafka.schema_registry.json_schema import JSONDeserializer

        self._deserialize: Any = JSONDeserializer(
            None, schema_registry_client=registry.client, conf=DESERIALIZER, json_decode=_decoded
        )

    def read(self, message: bytes, number: int) -> bytes:
        """A document that is valid."""
        from confluent_kafka.serialization import SerializationError

        try:
            self._deserialize(message)
        except SerializationError as error:
            # The deserialiser keeps the sentence of what is not valid; where, only its cause tells.
            where = getattr(error.__context__, "json_path", None)
            if where is None:
                raise
            raise EventError("not_valid", f"{where}: {str(error)[:200]}") from None
        return message[HEAD:]


def _decoded(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except ValueError as error:
        raise EventError("not_json", str(error)) from None


def opener(format: str, options: Mapping[str, str]) -> Opener:
    """What opens messages of JSON that a schema describes.

    Parameters
    ----------
    format : str
        The format's name in a contract.
    options : mapping of str to str
        As `registry.registry_options` gives them.
    """
    registry = SchemaRegistry(options)
    return Framed(format, "JSON", registry, _Documents(registry))
