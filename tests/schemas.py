"""What the tests of a Schema Registry share: schemas, and messages that confluent-kafka's serialisers write."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from retailpulse_kernel.ground.settings import Settings

__all__ = ["EVENT", "WIDER_EVENT", "Schemas", "message_type"]

_FIELDS: list[dict[str, Any]] = [
    {"name": "event_id", "type": "string"},
    {"name": "event_type", "type": {"type": "enum", "name": "Kind", "symbols": ["view", "add_to_cart", "purchase"]}},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    *({"name": name, "type": "string"} for name in ("user_id", "session_id", "product_id")),
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}},
    {"name": "quantity", "type": "int"},
    {"name": "order_id", "type": ["null", "string"], "default": None},
    {"name": "order_line", "type": ["null", "int"], "default": None},
]
#: The standard event in Avro.
EVENT = {"type": "record", "name": "Event", "namespace": "shop", "fields": _FIELDS}
#: The same with a field that has a default, and a type that is wider.
WIDER_EVENT = EVENT | {
    "fields": [
        *(field | {"type": "long"} if field["name"] == "quantity" else field for field in _FIELDS),
        {"name": "category", "type": "string", "default": "unknown"},
    ]
}


class Schemas:
    """Writes messages as a shop's own programs do, and registers their schemas."""

    def __init__(self, settings: Settings) -> None:
        self.client = SchemaRegistryClient({"url": settings.profile.registry.url})
        # A registry takes schemas of one type under a subject, and keeps them from test to test.
        self._context = SerializationContext(f"events-{uuid.uuid4()}", MessageField.VALUE)

    def avro(self, schema: Mapping[str, Any]) -> Any:
        """What turns a dictionary into a message."""
        return self._with_context(AvroSerializer(self.client, json.dumps(schema), conf=_BY_TOPIC))

    def json_schema(self, schema: Mapping[str, Any]) -> Any:
        """What turns a dictionary into a message."""
        return self._with_context(JSONSerializer(json.dumps(schema), self.client, conf=_BY_TOPIC))

    def protobuf(self, kind: Any) -> Any:
        """What turns an object of generated code into a message."""
        return self._with_context(ProtobufSerializer(kind, self.client, conf=_BY_TOPIC))

    def _with_context(self, serialize: Any) -> Any:
        return lambda value: serialize(value, self._context)


_BY_TOPIC: dict[str, Any] = {"subject.name.strategy.type": "TOPIC"}


def message_type(file: str, fields: Mapping[str, tuple[str, ...]], *imports: str) -> Any:
    """A type of Protobuf's as generated code has it: `fields` gives the kind of each name, and ``repeated``."""
    described = descriptor_pb2.FileDescriptorProto(name=file, package="shop", syntax="proto3", dependency=imports)
    kinds = described.enum_type.add(name="Kind")
    for number, name in enumerate(("view", "add_to_cart", "purchase")):
        kinds.value.add(name=name, number=number)
    described.message_type.add(name="Before")  # so that the message's index is not the usual one
    event = described.message_type.add(name="Event")
    of = descriptor_pb2.FieldDescriptorProto
    for number, (name, (kind, *more)) in enumerate(fields.items(), start=1):
        label = of.LABEL_REPEATED if "repeated" in more else of.LABEL_OPTIONAL
        if kind.startswith("."):
            is_enum = kind == ".shop.Kind"
            event.field.add(
                name=name, number=number, label=label, type=of.TYPE_ENUM if is_enum else of.TYPE_MESSAGE, type_name=kind
            )
        else:
            event.field.add(name=name, number=number, label=label, type=of.Type.Value(f"TYPE_{kind}"))
    pool = descriptor_pool.DescriptorPool()
    for needed in imports:
        _copy(pool, needed)
    pool.Add(described)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Event"))


def _copy(pool: Any, name: str) -> None:
    """A file of the default pool, which has what was imported, into another one."""
    file = descriptor_pool.Default().FindFileByName(name)
    for needed in file.dependencies:
        _copy(pool, needed.name)
    pool.AddSerializedFile(file.serialized_pb)
