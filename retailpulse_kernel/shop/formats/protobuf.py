"""Messages in Protobuf. The registry has their types, so that no generated code is needed."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from decimal import Decimal
from importlib import import_module
from typing import Any, Final

import orjson

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.shop.formats.framing import DESERIALIZER, Framed
from retailpulse_kernel.shop.formats.opening import Opener
from retailpulse_kernel.shop.formats.registry import SchemaRegistry

__all__ = ["opener"]

_TYPE: Final = "PROTOBUF"
#: In this form a registry gives the types as Protobuf's own description of them, not as text.
_FORM: Final = "serialized"


class _Messages:
    """Reads messages of the types that a registry has."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self._deserializers: dict[tuple[int, ...], Any] = {}

    def read(self, message: bytes, number: int) -> bytes:
        """A message as JSON."""
        from confluent_kafka.schema_registry.serde import SchemaId

        head = SchemaId(_TYPE)
        head.from_bytes(io.BytesIO(message))
        place = tuple(head.message_indexes or (0,))
        deserialize = self._deserializers.get((number, *place))
        if deserialize is None:
            deserialize = self._deserializers[number, *place] = self._deserializer(number, place)
        return orjson.dumps(_plain(deserialize(message)))

    def _deserializer(self, number: int, place: tuple[int, ...]) -> Any:
        from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
        from google.protobuf.descriptor_pool import DescriptorPool
        from google.protobuf.message_factory import GetMessageClass

        pool = DescriptorPool()
        file = self._added(pool, self._registry.client.get_schema(number, fmt=_FORM), f"schema-{number}.proto")
        names = [file.package] if file.package else []
        kinds = file.message_type
        for index in place:
            if index < 0:
                raise IndexError(f"there is no type {index}")
            names.append(kinds[index].name)
            kinds = kinds[index].nested_type
        kind: Any = GetMessageClass(pool.FindMessageTypeByName(".".join(names)))
        return ProtobufDeserializer(kind, conf=DESERIALIZER)

    def _added(self, pool: Any, schema: Any, name: str) -> Any:
        """The description of a schema, which is in the pool then, with all that it refers to."""
        from google.protobuf.descriptor_pb2 import FileDescriptorProto

        try:
            file = FileDescriptorProto.FromString(base64.b64decode(schema.schema_str, validate=True))
        except Exception:
            raise RetailPulseError(
                "The registry gives a Protobuf schema as text, and can't give it in its serialized form.",
                remedy="Register the schema with confluent-kafka's serialiser for Python, or use a registry that knows "
                "`format=serialized`, as Confluent's does.",
            ) from None
        file.name = name
        there = set()
        for reference in schema.references or ():
            version = self._registry.client.get_version(reference.subject, reference.version, fmt=_FORM)
            self._added(pool, version.schema, reference.name)
            there.add(reference.name)
        for needed in file.dependency:
            if needed not in there:
                _add_known(pool, needed)
        pool.Add(file)
        return file


def _add_known(pool: Any, name: str) -> None:
    """Put a type of Google's or Confluent's into a pool, with all that it refers to: these are in no registry."""
    try:
        pool.FindFileByName(name)
        return
    except KeyError:
        pass
    own = "confluent_kafka.schema_registry." if name.startswith("confluent/") else ""
    file = import_module(f"{own}{name.removesuffix('.proto').replace('/', '.')}_pb2").DESCRIPTOR
    for needed in file.dependencies:
        _add_known(pool, needed.name)
    pool.AddSerializedFile(file.serialized_pb)


def _plain(message: Any) -> Any:
    """A message as plain values. A field that knows whether it was set is left out where it was not."""
    kind = message.DESCRIPTOR.full_name
    if kind in _KNOWN:
        return _KNOWN[kind](message)
    if kind.startswith("google.protobuf."):
        return _of_google(message)
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of = field.message_type.fields_by_name["value"]
            found[field.name] = {_key(key): _element(of, value[key]) for key in value}
        elif field.is_repeated:
            found[field.name] = [_element(field, one) for one in value]
        elif not field.has_presence or message.HasField(field.name):
            found[field.name] = _element(field, value)
    return found


def _element(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _of_google(message: Any) -> Any:
    """One of Protobuf's own types: a time as text, a wrapped value as the value."""
    from google.protobuf.json_format import MessageToDict

    fields = message.DESCRIPTOR.fields
    if message.DESCRIPTOR.name.endswith("Value") and [field.name for field in fields] == ["value"]:
        return _element(fields[0], message.value)
    return MessageToDict(message, preserving_proto_field_name=True)


def _decimal(message: Any) -> str:
    """Confluent's decimal: a whole number in bytes, and how many of its digits stand behind the point."""
    whole = int.from_bytes(message.value, "big", signed=True)
    return format(Decimal(whole).scaleb(-message.scale), "f")


_KNOWN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "google.type.Decimal": lambda message: message.value,
    "google.type.Date": lambda message: f"{message.year:04}-{message.month:02}-{message.day:02}",
    "confluent.type.Decimal": _decimal,
}


def opener(format: str, options: Mapping[str, str]) -> Opener:
    """What opens messages in Protobuf.

    Parameters
    ----------
    format : str
        The format's name in a contract.
    options : mapping of str to str
        As `registry.registry_options` gives them.
    """
    registry = SchemaRegistry(options)
    return Framed(format, _TYPE, registry, _Messages(registry), _FORM)
