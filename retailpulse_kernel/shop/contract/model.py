"""A contract as data: the fields of a shop's messages, its words for events, its topics and reference tables.

It is frozen, compares by value, and becomes plain values and back (`Contract.plain`, `Contract.of_plain`), so that
Spark's workers get it as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import msgspec

from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.shop.contract.mapping.formats import RecordFormat
from retailpulse_kernel.shop.contract.paths import Step, steps_of
from retailpulse_kernel.shop.currencies import CURRENCIES

__all__ = [
    "CHOICES",
    "IN_FRONT",
    "NEVER",
    "OTHER",
    "PRICES",
    "REGISTERED",
    "ROLES",
    "TOOLS",
    "USERS",
    "WITHOUT_PRICES",
    "Contract",
    "EventTypes",
    "Field",
    "ReferenceTable",
    "Shop",
    "Topic",
    "Value",
]

#: A value in a contract. Decimals, dates and times stand as text: JSON has no other exact form of them.
Value = str | int | float | bool | None

#: What a reference table says that is read once.
NEVER: Final = "never"

#: Formats whose messages name a schema in a Schema Registry.
REGISTERED: Final = ("avro", "json_schema", "protobuf")
#: The formats of other tools' records, which are mapped to the standard event (`shop/adapters`).
TOOLS: Final = ("ga4", "rees46", "retailrocket", "segment", "shopify", "snowplow")
#: What becomes of a price with more than four decimal places.
PRICES: Final = ("computed", "exact", "round")
#: What becomes of a hit whose user gave no consent, and so has no id.
USERS: Final = ("own", "reject")
#: Those of them whose records have no prices: a file of items has them.
WITHOUT_PRICES: Final = ("retailrocket",)
#: What a shop can choose for such records, and of what.
CHOICES: Final = {"currency": tuple(sorted(CURRENCIES)), "prices": PRICES, "users": USERS}

#: The role of an event that no figure knows by itself.
OTHER: Final = "other"

#: The roles of the standard fields: what they mean to the figures.
ROLES: Final = (
    "id", "event_type", "time", "user", "session", "product", "category", "brand", "price", "quantity", "currency",
    "order", "order_line", "version",
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A field of the messages.

    Attributes
    ----------
    name : str
        The column's name.
    type : str
        ``string``, ``bool``, ``int``, ``long``, ``double``, ``decimal(p,s)``, ``date``, ``timestamp``, or
        ``list<...>`` of one of these.
    path : str
        Where in the message it is; its name when empty.
    role : str
        One of `ROLES` for a standard field; empty for one of the shop's own.
    required : bool
        Whether a message without it is bad.
    default : Value
        What an event has where the message has nothing; None for null.
    allowed : tuple of Value
        The only values, where there are any.
    min, max : Value
        The bounds, both included.
    min_length, max_length : int, optional
        The bounds of a text's length, in characters.
    title, unit : str
        Words for people.
    dimension : bool
        Whether figures may go by it.
    personal : bool
        Whether it says who somebody is.
    """

    name: str
    type: str = "string"
    path: str = ""
    role: str = ""
    required: bool = False
    default: Value = None
    allowed: tuple[Value, ...] = ()
    min: Value = None
    max: Value = None
    min_length: int | None = None
    max_length: int | None = None
    title: str = ""
    unit: str = ""
    dimension: bool = False
    personal: bool = False

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps from the message to the field."""
        return (steps_of(self.path) or (self.name,)) if self.path else (self.name,)

    @property
    def is_moved(self) -> bool:
        """Whether the field is elsewhere than under its name."""
        return self.steps != (self.name,)

    @property
    def is_own(self) -> bool:
        """Whether it is a field of the shop's own, not one of the standard event."""
        return not self.role


#: The columns that every event has, of whatever shape its message is.
IN_FRONT: Final = (
    Field("event_id", role="id", required=True),
    Field("event_time", "timestamp", role="time", required=True),
)


@dataclass(frozen=True)
class EventTypes:
    """The words for events, with their roles.

    Attributes
    ----------
    words : tuple of (str, str)
        Each word and its role: one of the standard event's types, or `OTHER`.
    """

    words: tuple[tuple[str, str], ...]

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """What the column of event types holds for each word: the role, and the word itself where that is `OTHER`."""
        return {word: word if role == OTHER else role for word, role in self.words}

    @cached_property
    def values(self) -> tuple[str, ...]:
        """Everything that the column may hold."""
        return tuple(dict.fromkeys(self.columns.values()))

    @property
    def are_plain(self) -> bool:
        """Whether each word is its own role."""
        return all(word == role for word, role in self.words)


@dataclass(frozen=True)
class Topic:
    """A topic of the shop's.

    Attributes
    ----------
    name : str
        What it is called in the contract.
    topic : str
        Its name in Kafka, within the namespace.
    format : str
        How its messages are written.
    fields : tuple of Field
        What its messages hold in place of the standard event; they hold that where there are none.
    id : str
        The one of these fields by which a message is taken once; each message counts where it is empty.
    time : str
        The one of these fields that is the event time; that is the broker's time where it is empty.
    options : tuple of (str, str)
        What the shop has chosen for that format, such as the currency of amounts that name none.
    """

    name: str
    topic: str
    format: str = "json"
    fields: tuple[Field, ...] = ()
    id: str = ""
    time: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ReferenceTable:
    """A table that events are looked up in, such as the products.

    Attributes
    ----------
    name : str
        What it is called.
    source : str
        What it is read from: ``file``, ``hive``, ``cassandra`` or ``topic``.
    place : str
        Where it is there: the file's path, relative to the contract; the table's or the topic's name in the namespace.
    key : tuple of str
        The columns that tell a row from another.
    columns : tuple of (str, str)
        Its columns with their types.
    every : str
        How often a job reads it again, such as ``10m``; or `NEVER`.
    references : tuple of (str, str)
        Columns that are keys of other reference tables, with the tables' names.
    """

    name: str
    source: str
    place: str
    key: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    every: str = "10m"
    references: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Shop:
    """What holds for the whole shop.

    Attributes
    ----------
    name : str
        The shop's name.
    zone : str
        Its time zone, a name of the IANA database.
    week_start : str
        The first day of its week, such as ``monday``.
    currency : str
        That of its books, ISO 4217: the base currency.
    rates : str
        What converts money into that currency: the name of a reference table, or the path of a file of the European
        Central Bank's, relative to the contract. Empty where nothing is converted.
    """

    name: str = "shop"
    zone: str = "UTC"
    week_start: str = "monday"
    currency: str = "USD"
    rates: str = ""

    @property
    def has_rate_file(self) -> bool:
        """Whether the rates are in a file of the bank's, and not in a reference table."""
        return "." in self.rates

    @property
    def calendar(self) -> Calendar:
        """Where the shop's days and weeks begin."""
        return Calendar(self.zone, self.week_start)


@dataclass(frozen=True)
class Contract:
    """What a shop's messages hold; or those of one of its topics, see `of_topic`.

    Attributes
    ----------
    fields : tuple of Field
        The standard event's fields in their order, then the shop's own. Of a topic of another shape only its own.
    event_types : EventTypes
        The words for events.
    topics : tuple of Topic
        The topics.
    tables : tuple of ReferenceTable
        The reference tables.
    shop : Shop
        Zone, week and currency.
    format : str
        How the messages are written: that of the topic.
    id, time : str
        Of a topic of another shape: its fields that tell a message from another, and when it was; see `Topic`.
    options : tuple of (str, str)
        What the shop has chosen for the format.
    formats : tuple of RecordFormat
        Formats of the shop's own; of a topic that which its messages have.
    """

    fields: tuple[Field, ...]
    event_types: EventTypes
    topics: tuple[Topic, ...] = ()
    tables: tuple[ReferenceTable, ...] = ()
    shop: Shop = field(default_factory=Shop)
    format: str = "json"
    id: str = ""
    time: str = ""
    options: tuple[tuple[str, str], ...] = ()
    formats: tuple[RecordFormat, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The fields by their names."""
        return {one.name: one for one in self.fields}

    @cached_property
    def by_role(self) -> Mapping[str, Field]:
        """The standard fields by their roles."""
        return {one.role: one for one in self.fields if one.role}

    @cached_property
    def standard(self) -> tuple[Field, ...]:
        """The fields of the standard event."""
        return tuple(one for one in self.fields if not one.is_own)

    @cached_property
    def moved(self) -> tuple[Field, ...]:
        """The fields of the standard event that are elsewhere than under their names."""
        return tuple(one for one in self.standard if one.is_moved)

    @cached_property
    def own(self) -> tuple[Field, ...]:
        """The fields of the shop's own."""
        return tuple(one for one in self.fields if one.is_own)

    @cached_property
    def holds_events(self) -> bool:
        """Whether the messages are standard events, and not of another shape."""
        return "event_type" in self.by_role

    @cached_property
    def counts_messages(self) -> bool:
        """Whether each message counts, because nothing in it tells it from another."""
        return not self.holds_events and not self.id

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """The fields that are columns of events: all but the version of the message's shape.

        An event of another shape has its id and its time in front, whatever its fields are called.
        """
        if not self.holds_events:
            return (*IN_FRONT, *self.fields)
        return tuple(one for one in self.fields if one.role != "version")

    @cached_property
    def types(self) -> Mapping[str, str]:
        """The types of the columns by their names."""
        return {one.name: one.type for one in self.columns}

    @cached_property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the fields that figures may go by, sorted."""
        return tuple(sorted(one.name for one in self.fields if one.dimension))

    @cached_property
    def personal(self) -> frozenset[str]:
        """The names of the fields that say who somebody is, those of all topics."""
        fields = (*self.fields, *(one for topic in self.topics for one in topic.fields))
        return frozenset(one.name for one in fields if one.personal)

    @cached_property
    def is_plain(self) -> bool:
        """Whether messages are read as by the shipped contract."""
        return not self.own and not self.moved and self.event_types.are_plain

    @cached_property
    def decoding(self) -> Contract:
        """What of the contract says how messages are read: its fields, its words and their format."""
        return replace(self, topics=(), tables=(), shop=Shop(), formats=())

    @cached_property
    def _of_topics(self) -> Mapping[str, Contract]:
        return {one.topic: self._of_one(one) for one in self.topics}

    def _of_one(self, topic: Topic) -> Contract:
        found = self.decoding
        own = tuple(one for one in self.formats if one.name == topic.format)
        if topic.fields:
            found = Contract(topic.fields, EventTypes(()), id=topic.id, time=topic.time)
        elif topic.format in TOOLS or own:
            # A record is mapped to the event's own names; only the shop's own fields are where the record has them.
            found = replace(found, fields=tuple(map(_at_its_name, self.fields)), formats=own)
        return replace(found, format=topic.format, options=topic.options)

    def of_topic(self, topic: str) -> Contract:
        """What says how the messages of one topic are read; a topic that is not named has the standard event.

        Parameters
        ----------
        topic : str
            Its name in Kafka, within the namespace.
        """
        return self._of_topics.get(topic, self.decoding)

    def plain(self) -> dict[str, Any]:
        """The contract as plain values."""
        return msgspec.to_builtins(self)

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Contract:
        """The contract that became plain values.

        Parameters
        ----------
        values : mapping
            What `plain` gave.
        """
        return msgspec.convert(values, cls)


def _at_its_name(field: Field) -> Field:
    return field if field.is_own else replace(field, path="")
