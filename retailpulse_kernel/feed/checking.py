"""What a file or a topic holds, without sending or writing anything."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from retailpulse_kernel.feed.adapters import Reading, Reject, Row, Rows, Rules, adapter, read_rows
from retailpulse_kernel.ground.errors import EventError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop.adapters.retailpulse import RetailPulse
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import ORDERS, REVENUE
from retailpulse_kernel.shop.formats.opening import JSON
from retailpulse_kernel.shop.formats.options import options_of
from retailpulse_kernel.shop.formats.reading import TopicReader
from retailpulse_kernel.shop.personal import told_detail

if TYPE_CHECKING:
    from retailpulse_kernel.stores.kafka.store import Message

__all__ = ["Check", "check_file", "check_topic"]

_EVERY = 1024  # rows between two looks at progress


class First(NamedTuple):
    """The first row that was rejected for a reason: its line (in a topic partition and offset), why, and the row."""

    place: str
    detail: str
    raw: str


@dataclass
class Check:
    """Counts and sums of what was read, as the figures show them after a real replay: an id counts once.

    Attributes
    ----------
    topic : str
        The topic's full name; empty for a file.
    format, known_by : str
        The format, and what told it when nobody named one.
    rows : int
        Rows of the file, or messages of the topic.
    sent : int
        Events, those that repeat an id too: what a replay sends.
    by_type, orders : Counter
        Events by type, orders by currency.
    revenue : dict of str to Decimal
        Purchases less refunds, by currency.
    since, until : datetime or None
        The first and the last event time, UTC.
    rejected : Counter
        Rows by the reason why they are no events.
    first : dict of str to First
        The first row of each reason.
    repeated_ids, conflicting_ids : int
        Events whose id came before, and those of them that say something else than the one before.
    changed : Counter
        Rows in which a value was rounded, derived, chosen or defaulted, by which.
    ignored : tuple of str
        Columns of a table that the format does not read.
    fields : dict of str to int
        The fields of the shop's or the topic's own, and how many of the events have a value there.
    """

    topic: str = ""
    format: str = ""
    known_by: str = ""
    rows: int = 0
    sent: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    revenue: dict[str, Decimal] = field(default_factory=dict)
    orders: Counter[str] = field(default_factory=Counter)
    since: datetime | None = None
    until: datetime | None = None
    rejected: Counter[str] = field(default_factory=Counter)
    first: dict[str, First] = field(default_factory=dict)
    repeated_ids: int = 0
    conflicting_ids: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    ignored: tuple[str, ...] = ()
    fields: dict[str, int] = field(default_factory=dict)
    _users: set[str] = field(default_factory=set)
    _ids: dict[bytes, int] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """Events of different ids."""
        return len(self._ids)

    @property
    def users(self) -> int:
        """Different users of these events."""
        return len(self._users)

    def accept(self, event: Any) -> None:
        """Count an event.

        Parameters
        ----------
        event : Event
            A valid one, the standard event or one of a topic of another shape.
        """
        self.sent += 1
        # An id may be long, and there may be millions: 16 bytes of a hash tell them apart.
        key = hashlib.blake2b(event.event_id.encode(errors="surrogateescape"), digest_size=16).digest()
        content = hash(event)
        if key in self._ids:
            self.repeated_ids += 1
            self.conflicting_ids += self._ids[key] != content
            return
        self._ids[key] = content
        for name in self.fields:
            self.fields[name] += getattr(event, name) is not None
        self.since = min(self.since or event.event_time, event.event_time)
        self.until = max(self.until or event.event_time, event.event_time)
        if not isinstance(event, Event):
            return  # of another shape: there are no types, users and amounts that all topics have
        self.by_type[event.event_type] += 1
        self._users.add(event.user_id)
        if amount := REVENUE.of_event(event):
            self.revenue[event.currency] = self.revenue.get(event.currency, Decimal(0)) + amount
        self.orders[event.currency] += ORDERS.of_event(event) or 0

    def reject(self, reason: str, place: str, detail: str, raw: str) -> None:
        """Count a row that is no event.

        Parameters
        ----------
        reason : str
            A short code, as in `EventError.reason`.
        place : str
            Where the row is.
        detail : str
            The reason for a human.
        raw : str
            The row as it is.
        """
        self.rejected[reason] += 1
        self.first.setdefault(reason, First(place, detail, raw))

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON; amounts are texts."""
        return {
            "topic": self.topic or None,
            "format": self.format,
            "known_by": self.known_by or None,
            "rows": self.rows,
            "events": self.events,
            "by_type": dict(self.by_type),
            "revenue": {currency: format(amount, "f") for currency, amount in sorted(self.revenue.items())},
            "orders": {currency: count for currency, count in sorted(self.orders.items()) if count},
            "users": self.users,
            "since": self.since and iso_text(self.since, "milliseconds"),
            "until": self.until and iso_text(self.until, "milliseconds"),
            "rejected": dict(self.rejected.most_common()),
            "rejected_first": {reason: first._asdict() for reason, first in self.first.items()},
            "repeated_ids": self.repeated_ids,
            "conflicting_ids": self.conflicting_ids,
            "changed": dict(self.changed.most_common()),
            "ignored_columns": list(self.ignored),
            "fields": self.fields,
        }


def check_file(
    path: str | Path,
    format: str,
    *,
    source: str | None = None,
    items: str | Path | None = None,
    rules: Rules | None = None,
    contract: Contract | None = None,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[Check, float], None] = lambda check, fraction: None,
) -> Check:
    """Read and judge a file's rows.

    Parameters
    ----------
    path : str or Path
        The file.
    format : str
        One of `FORMATS`, or ``auto``.
    source : str, optional
        What event ids start with where the format has none.
    items : str or Path, optional
        For RetailRocket: the file with the items' categories and prices.
    rules : Rules, optional
        Choices where shops differ.
    contract : Contract, optional
        What a message holds; the shipped one when absent.
    stop, report : callable
        Asked now and then whether to end early, and told how far it is.

    Raises
    ------
    UsageError
        The file or the format is missing, or a column is.
    """
    reading = read_rows(path, format, source=source, items=items, rules=rules, contract=contract)
    return _checked(reading, lambda line: f"line {line}", stop, report)


def check_topic(
    settings: Settings,
    topic: str | None,
    format: str = "",
    *,
    rules: Rules | None = None,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[Check, float], None] = lambda check, fraction: None,
) -> Check:
    """Read and judge the messages that a topic holds now.

    Parameters
    ----------
    settings : Settings
        Of a namespace.
    topic : str, optional
        Its name; the namespace's topic of events when absent.
    format : str
        One of `FORMATS`; that which the contract gives to the topic when empty.
    rules : Rules, optional
        Choices where shops differ, with a format. Without one, those of the contract hold.
    stop, report : callable
        Asked now and then whether to end early, and told how far it is.

    Raises
    ------
    UsageError
        There is no such topic or format.
    StoreUnavailable
        Kafka does not answer.
    """
    from retailpulse_kernel.stores.kafka.store import KafkaStore

    store = KafkaStore(settings)
    topic = store.require(topic)
    held = sum(end - begin for begin, end in store.offsets(topic).values()) or 1
    contract = _contract(settings, topic)
    if format and not contract.holds_events:
        raise UsageError(
            f"The messages of {topic!r} have fields of their own in the contract, and are not read by a format.",
            remedy="Leave --format out.",
        )
    if not format and contract.format != JSON:
        changed = Counter[str]()
        reader = TopicReader(contract, options_of(settings, contract), changed)
        check = Check(changed=changed, topic=topic, format=contract.format, fields=_no_values(contract))
        for message in store.messages(topic):
            if _ends(check, check.rows, check.rows / held, stop, report):
                break
            check.rows += 1
            _judge(check, reader, message, contract)
        return check
    place = ""

    def rows() -> Iterator[Row]:
        nonlocal place
        for number, message in enumerate(store.messages(topic), start=1):
            place = f"partition {message.partition}, offset {message.offset}"
            yield Row(number, value=message.value or b"", arrival_ms=message.arrival_ms)

    own = contract_of(settings).formats
    mapping = adapter(format or RetailPulse.name, source=topic, rules=rules, own=own)
    source = Rows(None, fixed=False, each=rows(), fraction=lambda read: read / held)
    reading = Reading(mapping, source, contract=contract)
    check = _checked(reading, lambda _: place, stop, report)
    check.topic = topic
    if not contract.holds_events:
        check.format = contract.format
    return check


def _no_values(contract: Contract) -> dict[str, int]:
    """The fields that are not the standard event's, before anything was read."""
    return {field.name: 0 for field in contract.own}


def _contract(settings: Settings, topic: str) -> Contract:
    """The contract of a topic; a topic that the contract lacks has the standard event."""
    contract, full = contract_of(settings), settings.namespace.topic
    known = {full(one.topic): one.topic for one in contract.topics}
    return contract.of_topic(known.get(topic, topic))


def _judge(check: Check, reader: TopicReader, message: Message, contract: Contract) -> None:
    """Count the events of a message."""
    place = f"partition {message.partition}, offset {message.offset}"
    for event in reader.events(message.value, message.partition, message.offset, arrival_ms=message.arrival_ms):
        if isinstance(event, EventError):
            detail = told_detail(event.reason, event.detail, contract)
            check.reject(event.reason, place, detail, (message.value or b"").decode(errors="replace"))
        else:
            check.accept(event)


def _ends(
    check: Check, number: int, fraction: float, stop: Callable[[], bool], report: Callable[[Check, float], None]
) -> bool:
    """Whether to end early: now and then progress is told, and it is asked."""
    if number % _EVERY:
        return False
    report(check, fraction)
    return stop()


def _checked(
    reading: Reading,
    place: Callable[[int], str],
    stop: Callable[[], bool],
    report: Callable[[Check, float], None],
) -> Check:
    fields = _no_values(reading.contract)
    check = Check(format=reading.format, known_by=reading.known_by, ignored=reading.ignored, fields=fields)
    for number, row in enumerate(reading):
        if isinstance(row, Reject):
            check.reject(row.reason, place(row.line), row.detail, row.raw)
        else:
            check.accept(row.event)
        check.rows = reading.rows
        if _ends(check, number, reading.fraction, stop, report):
            break
    check.rows = reading.rows
    check.changed = reading.changed
    return check
