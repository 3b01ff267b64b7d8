"""From a topic's messages to rows: every event is judged once, here.

The function runs in Spark's workers. A message is one event, or in some formats several. Each is *accepted*, *late* or
*bad*, and an accepted one that was taken before is a duplicate. A message that can't be opened is one bad event. A
valid event that violates an expectation of the job is bad too, and takes part in the clocks alone. Late and bad ones go
to their topics at once and come out only as counts, unless the job wants the late rows themselves; duplicates come out
only as a count.

Whether an event is late depends on the topic alone: see `retailpulse_kernel.shop.lateness`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.types import sql_type
from retailpulse_kernel.shop.formats.opening import Opener, opener_of, place_of
from retailpulse_kernel.shop.lateness import held_back, leads, running_clocks
from retailpulse_kernel.shop.personal import told_detail
from retailpulse_kernel.streaming.intake.opening import Chunk, Opened, opened
from retailpulse_kernel.streaming.intake.parsing import EVENT_TYPES, Parsed, parse_events
from retailpulse_kernel.streaming.intake.refusing import REFUSED, Refusing, reason_of
from retailpulse_kernel.streaming.intake.rejects import RejectTopics, reject_record
from retailpulse_kernel.streaming.intake.shapes import column_types
from retailpulse_kernel.streaming.state.dedup_index import DedupIndex

__all__ = [
    "ACCEPTED",
    "AHEAD",
    "BAD",
    "EVENT_COLUMNS",
    "FURTHER",
    "LATE",
    "OBSERVED_EXPECTED",
    "OBSERVED_INTAKE",
    "OBSERVED_UNIQUE",
    "Intake",
    "Stretch",
]

ACCEPTED, LATE, BAD = "accepted", "late", "bad"

#: Valid events that were ahead of the broker's time; they are among the accepted or late ones.
AHEAD = "ahead"

#: Events that are not the first of their message, among all of them: events less these are the messages.
FURTHER = "further"

#: Names under which a batch's counts are observed, before and after deduplication.
OBSERVED_INTAKE, OBSERVED_UNIQUE = "intake", "unique"
#: The name under which the events are observed that violate an expectation and go on.
OBSERVED_EXPECTED = "expected"

_TIME = pa.timestamp("us", tz="UTC")

#: Every column of an event of the shipped contract.
EVENT_COLUMNS = tuple(EVENT_TYPES)
_MESSAGE_TYPES = {
    "partition": pa.int32(),
    "offset": pa.int64(),
    "arrival": _TIME,
    "raw": pa.string(),
}
#: By what Spark finds duplicates, where it has to: the id, and the time by which it is forgotten.
_KEY_TYPES = {"dedup_key": pa.string(), "clock": _TIME}
#: What every row has: whether it is late. The last row of a stretch has only the counts, of which accepted ones
#: still hold the duplicates; how many valid events were ahead of the broker's time, and by how much at most; the
#: broker's time of the stretch's oldest message; and how far Spark's watermark may go.
_VERDICT_TYPES = {
    "late": pa.bool_(),
    "n_accepted": pa.int64(),
    "n_late": pa.int64(),
    "n_bad": pa.int64(),
    "n_ahead": pa.int64(),
    "n_further": pa.int64(),
    "ahead_ms": pa.int64(),
    "arrived_ms": pa.int64(),
    "low": _TIME,
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SQL_TYPES = {
    pa.string(): "string",
    _TIME: "timestamp",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.bool_(): "boolean",
}


@dataclass(frozen=True)
class Stretch:
    """A partition's part of a micro-batch, and what was known before it.

    Attributes
    ----------
    partition : int
        Of the topic.
    batch_id : int
        The micro-batch.
    watermark_ms : int
        Spark's watermark in this batch; nothing that is older finds its state any more. 0 for none.
    clock_ms : int, optional
        The partition's clock before this stretch.
    held : bool
        Whether the broker's time held that clock back. One that was kept before that rule may be ahead: it counts as
        far as the broker's time of the stretch's first message.
    low_ms : int, optional
        The smallest such clock of all partitions: how far Spark's watermark may follow.
    """

    partition: int
    batch_id: int = -1
    watermark_ms: int = 0
    clock_ms: int | None = None
    held: bool = True
    low_ms: int | None = None


@dataclass(frozen=True)
class Intake:
    """How a job takes messages in. Sent to the workers, so it holds plain values only.

    Parameters
    ----------
    columns : tuple of str
        Which columns of event and message the job needs; fewer are faster.
    topic : str
        Where the messages come from, for the rejects' records.
    delay_ms : int, optional
        How far a partition's clock may run ahead of an event before it is late; None calls none late.
    keep_late : bool
        Whether late rows come out as rows, flagged, or as a count.
    rejects : RejectTopics, optional
        Where bad and late messages go; None only counts them.
    labels : dict
        Put into every reject's record: job, epoch.
    unique_by : str
        The event's column by which it is deduplicated; one without a value there goes by its ``event_id``.
    horizon_ms : int, optional
        How long after its time has passed behind the watermark an id is remembered in the workers' index, at least.
        None leaves it to Spark to find duplicates; the rows have what it needs for that.
    unordered : dict
        Offsets ``[start, end)`` by partition that a bounded run took: their order makes no event late.
    contract : dict, optional
        What the messages hold, as `Contract.plain` gives it; the shipped contract when absent.
    options : dict of str to str
        What the opener of the messages' format needs to know; see `formats.opening`.
    refuses : tuple of (str, str)
        The name and the condition of each expectation by which events are refused.
    only_refused : bool
        Whether, of what is rejected, only the refused events go to their topic: another job sends the rest.
    """

    columns: tuple[str, ...]
    topic: str
    delay_ms: int | None = None
    keep_late: bool = False
    rejects: RejectTopics | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    unique_by: str = "event_id"
    horizon_ms: int | None = None
    unordered: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    contract: dict[str, Any] | None = None
    options: dict[str, str] = field(default_factory=dict)
    refuses: tuple[tuple[str, str], ...] = ()
    only_refused: bool = False

    @cached_property
    def refusing(self) -> Refusing:
        """The rules by which events are refused."""
        return Refusing(self.refuses, self.shop)

    @cached_property
    def shop(self) -> Contract:
        """What the messages hold."""
        return shipped() if self.contract is None else Contract.of_plain(self.contract)

    @cached_property
    def opener(self) -> Opener | None:
        """What opens the messages; None where they are JSON."""
        return opener_of(self.shop.format, self.options)

    @property
    def schema(self) -> pa.Schema:
        """The rows' schema."""
        types = {**column_types(self.shop), **_MESSAGE_TYPES}
        verdict = _VERDICT_TYPES if self.horizon_ms is not None else _KEY_TYPES | _VERDICT_TYPES
        refused = {f"{REFUSED}{number}": pa.int64() for number in range(len(self.refuses))}
        return pa.schema([*(verdict | refused).items(), *((name, types[name]) for name in self.columns)])

    @property
    def ddl(self) -> str:
        """The rows' schema as Spark writes it."""
        fields = {field.name: sql_type(field.type) for field in self.shop.columns}
        return ", ".join(f"`{f.name}` {fields.get(f.name) or _SQL_TYPES[f.type]}" for f in self.schema)

    def rows(
        self, chunks: Iterable[Chunk], stretch: Stretch, index: DedupIndex | None = None
    ) -> Generator[pa.RecordBatch, None, int | None]:
        """Judge a stretch of messages; the last batch is one row with the counts.

        Parameters
        ----------
        chunks : iterable of Chunk
            The messages.
        stretch : Stretch
            Where they come from.
        index : DedupIndex, optional
            The ids that the job has taken; needed where `horizon_ms` is given.

        Returns
        -------
        int or None
            The partition's clock after the stretch, as the generator's own result (``yield from``).
        """
        clock_ms, held = stretch.clock_ms, stretch.held
        counts = dict.fromkeys((ACCEPTED, LATE, BAD, AHEAD, FURTHER), 0)
        refusals = [0] * len(self.refuses)
        arrived_ms: int | None = None
        ahead_ms = 0
        for chunk in chunks:
            if clock_ms is not None and not held:
                clock_ms, held = held_back(clock_ms, chunk.arrivals_ms[0]), True
            stamped = [arrival for arrival in chunk.arrivals_ms if arrival >= 0]
            arrived_ms = min([*stamped, *([] if arrived_ms is None else [arrived_ms])], default=None)
            wanted = [*self.columns_of_events, self.unique_by, *self.refusing.columns]
            found = opened(chunk, stretch.partition, self.opener)
            places = found.places(stretch.partition) if self.shop.counts_messages else ()
            parsed = parse_events(found.values, found.arrivals_ms, wanted, self.shop, places)
            times_ms = parsed.events["event_time"].cast(pa.int64()).to_numpy() // 1000
            arrivals_ms = np.asarray(found.arrivals_ms, dtype=np.int64)[parsed.positions]
            offsets = np.asarray(found.offsets, dtype=np.int64)[parsed.positions]
            clocks = running_clocks(times_ms, arrivals_ms, clock_ms)
            violated = self.refusing.first_violated(parsed.events)
            late = self._late(times_ms, offsets, clocks[:-1], stretch) & (violated < 0)
            if len(times_ms):
                clock_ms = int(clocks[-1])
                ahead = leads(times_ms, arrivals_ms)
                counts[AHEAD] += int(np.count_nonzero(ahead))
                ahead_ms = max(ahead_ms, int(ahead.max()))
            timely = ~late & (violated < 0)
            for number in range(len(refusals)):
                refusals[number] += int(np.count_nonzero(violated == number))
            counts[BAD] += len(parsed.bad) + int(np.count_nonzero(violated >= 0))
            counts[LATE] += int(late.sum())
            counts[ACCEPTED] += int(timely.sum())
            counts[FURTHER] += found.further
            if self.rejects is not None and (parsed.bad or not timely.all()):
                self.rejects.send(list(self._rejected(found, parsed, late, violated, stretch)))
            kept = timely | (late & self.keep_late)
            if self.horizon_ms is not None and timely.any():
                assert index is not None
                keys = self._keys(parsed.events).filter(pa.array(timely))
                kept[timely] = _first_of_message(keys, offsets[timely]) & index.claim(
                    keys,
                    partition=stretch.partition,
                    offsets=offsets[timely],
                    newest_ms=int(times_ms[timely].max()),
                    forget_ms=stretch.watermark_ms - self.horizon_ms,
                )
            yield from self._to_arrow(found, parsed, late, kept, stretch).to_batches()
        low = None if stretch.low_ms is None else _EPOCH + timedelta(milliseconds=stretch.low_ms)
        times = {"ahead_ms": ahead_ms, "arrived_ms": arrived_ms, "low": low}
        refused = {f"{REFUSED}{number}": n for number, n in enumerate(refusals)}
        last = {**{f"n_{name}": n for name, n in counts.items()}, **refused, **times}
        yield pa.RecordBatch.from_pylist([last], schema=self.schema)
        return clock_ms

    @property
    def columns_of_events(self) -> list[str]:
        """Those of the columns that are the event's own."""
        return [name for name in self.columns if name not in _MESSAGE_TYPES]

    def _late(
        self,
        times_ms: np.ndarray[Any, Any],
        offsets: np.ndarray[Any, Any],
        clocks: np.ndarray[Any, Any],
        stretch: Stretch,
    ) -> np.ndarray[Any, Any]:
        """Which events are late: by the clock of their partition before them, or by Spark's watermark."""
        late = times_ms <= stretch.watermark_ms if stretch.watermark_ms else np.zeros(len(times_ms), dtype=bool)
        if self.delay_ms is None or not len(times_ms):
            return late
        behind = times_ms <= clocks - self.delay_ms
        for start, end in self.unordered.get(str(stretch.partition), ()):
            behind &= (offsets < start) | (offsets >= end)
        return late | behind

    def _rejected(
        self,
        found: Opened,
        parsed: Parsed,
        late: np.ndarray[Any, Any],
        violated: np.ndarray[Any, Any],
        stretch: Stretch,
    ) -> Iterator[tuple[str, str, bytes]]:
        """The records for the topics of bad and late messages."""
        assert self.rejects is not None
        for place in np.flatnonzero(violated >= 0):
            name, condition = self.refuses[violated[place]]
            record = self._reject(found, int(parsed.positions[place]), stretch, reason_of(name), condition)
            yield self.rejects.bad, *record
        if self.only_refused:
            return
        for position, judged in parsed.bad:
            error = found.refused.get(position, judged)
            detail = told_detail(error.reason, error.detail, self.shop)
            yield self.rejects.bad, *self._reject(found, position, stretch, error.reason, detail)
        for position in parsed.positions[late]:
            detail = "event_time is behind the partition's clock by the watermark or more"
            yield self.rejects.late, *self._reject(found, int(position), stretch, LATE, detail)

    def _reject(self, found: Opened, position: int, stretch: Stretch, reason: str, detail: str) -> tuple[str, bytes]:
        offset, number = found.offsets[position], found.numbers[position]
        record = reject_record(
            found.messages[position],
            topic=self.topic,
            partition=stretch.partition,
            offset=offset,
            arrival_ms=found.arrivals_ms[position],
            reason=reason,
            detail=detail,
            batch=stretch.batch_id,
            **({"event": number} if found.has_several(position) else {}),
            **self.labels,
        )
        return f"{self.topic}-{place_of(stretch.partition, offset, number)}", record

    def _to_arrow(
        self,
        found: Opened,
        parsed: Parsed,
        late: np.ndarray[Any, Any],
        kept: np.ndarray[Any, Any],
        stretch: Stretch,
    ) -> pa.Table:
        """The rows that go on, in the intake's schema."""
        events, positions = parsed.events, parsed.positions
        if not kept.all():
            events, positions, late = events.filter(pa.array(kept)), positions[kept], late[kept]
        columns: dict[str, Any] = {name: events[name] for name in self.columns_of_events}
        columns |= {
            name: _message_column(name, found, positions, stretch) for name in self.columns if name not in columns
        }
        columns["late"] = pa.array(late)
        if self.horizon_ms is None:
            columns |= self._key_columns(found, events, positions, late, stretch)
        nothing = {f.name: pa.nulls(len(positions), f.type) for f in self.schema if f.name not in columns}
        columns |= nothing
        return pa.table([columns[f.name] for f in self.schema], schema=self.schema)

    def _key_columns(
        self,
        found: Opened,
        events: pa.Table,
        positions: np.ndarray[Any, Any],
        late: np.ndarray[Any, Any],
        stretch: Stretch,
    ) -> dict[str, Any]:
        """By what Spark finds the duplicates."""
        keys, clocks = self._keys(events), events["event_time"]
        if late.any():
            # A late row passes Spark's own filter just above its watermark, under a key that no event
            # has, so that it is never taken for a duplicate.
            above = _EPOCH + timedelta(milliseconds=stretch.watermark_ms + 1)
            keys, clocks = keys.to_pylist(), clocks.to_pylist()
            for i in np.flatnonzero(late):
                at = positions[i]
                keys[i] = f"\0late:{place_of(stretch.partition, found.offsets[at], found.numbers[at])}"
                clocks[i] = max(clocks[i], above)
            keys, clocks = pa.array(keys, pa.string()), pa.array(clocks, _TIME)
        return {"dedup_key": keys, "clock": clocks}

    def _keys(self, events: Any) -> Any:
        if self.unique_by == "event_id":
            return events["event_id"]
        return pc.coalesce(events[self.unique_by], events["event_id"])


def _first_of_message(keys: pa.Array, offsets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which events are the first of their message with their key; the index knows messages only."""
    first = np.ones(len(offsets), dtype=bool)
    if len(offsets) < 2 or np.diff(offsets).all():  # one event each
        return first
    seen = set[tuple[str, int]]()
    for place, one in enumerate(zip(keys.to_pylist(), offsets.tolist(), strict=True)):
        first[place] = one not in seen
        seen.add(one)
    return first


def _message_column(
    name: str, found: Opened, positions: np.ndarray[Any, Any], stretch: Stretch
) -> pa.Array | Sequence[Any]:
    match name:
        case "raw":
            return pa.array([found.values[i] for i in positions], pa.string())
        case "partition":
            return pa.array(np.full(len(positions), stretch.partition, dtype=np.int32))
        case "offset":
            return pa.array(np.asarray(found.offsets, dtype=np.int64)[positions])
        case _:
            return pa.array(np.asarray(found.arrivals_ms, dtype=np.int64)[positions] * 1000).cast(_TIME)
