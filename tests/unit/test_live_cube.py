"""The join of stored figures and tail: at every moment what is shown is a plain fold of what came in."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.live.stream.cube import Cube, Reading
from retailpulse_kernel.live.stream.stored import Batches, VersionedRow
from retailpulse_kernel.live.stream.tail import ADDITIVE, TABLE, Judge, Key, Parts
from retailpulse_kernel.shop.events import Event, parse_event, to_message
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import GRAINS
from retailpulse_kernel.stores.figure_rows import version_of
from retailpulse_kernel.stores.kafka.store import Message
from retailpulse_kernel.streaming.checkpoint.accounts import Account

TOPIC = "t"
DELAY_MS = 600_000
START = datetime(2026, 1, 1, 10, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
EPOCH_MS = START_MS - 5_000
PARTITIONS = 3
Figures = dict[tuple[int, Key], Parts]


def messages(seconds: float = 150, rate: float = 5, seed: int = 1) -> list[Message]:
    generator = Generator(rate=rate, seconds=seconds, seed=seed, start=START, duplicates=0.05, late=0.03, bad=0.03,
                          currencies={"USD": 0.7, "EUR": 0.3})  # fmt: skip
    ends = [0] * PARTITIONS
    made = []
    for message in generator.messages():
        partition = sum(message.key) % PARTITIONS
        made.append(Message(partition, ends[partition], START_MS + int(message.at * 1000), message.key, message.value))
        ends[partition] += 1
    return made


def folded(events: list[Event]) -> Figures:
    return {
        (int(row["minute"].timestamp()), tuple(row[d] for d in TABLE.by)): tuple(row[f.name] for f in ADDITIVE)
        for row in fold(events, TABLE, GRAINS["minute"])
    }


class Accepting:
    """Which messages count, told by a second judge."""

    def __init__(self) -> None:
        self._judge = Judge(DELAY_MS)

    def events(self, some: list[Message]) -> list[Event]:
        return [parse_event(m.value, arrival_ms=m.arrival_ms) for m in some if self._judge.judge(m)]


class Job:
    """The job "metrics" in small: rows first, its account later, as the runner does it."""

    def __init__(self, epoch: int = 1, start_ms: int = EPOCH_MS) -> None:
        self.epoch, self.start_ms = epoch, start_ms
        self.rows: dict[tuple[int, Key], VersionedRow] = {}
        self._accepting, self._events, self._batch, self._ends = Accepting(), list[Event](), -1, dict[int, int]()

    def write(self, some: list[Message]) -> Account:
        self._batch += 1
        new = self._accepting.events(some)
        self._events += new
        whole = folded(self._events)
        for place in folded(new):
            self.rows[place] = VersionedRow(*place, whole[place], version_of(self.start_ms, self._batch))
        self._ends |= {m.partition: m.offset + 1 for m in some}
        offsets = {TOPIC: {str(p): end for p, end in self._ends.items()}}
        return Account("metrics", self.epoch, self._batch, offsets, len(some), len(new), 0, 0, 0, 0, 0, 0, 0)


def read(job: Job, batches: Batches, minutes: set[int]) -> Reading:
    rows = [row for row in job.rows.values() if row.window in minutes]
    return Reading(frozenset(minutes), rows, batches.number, batches.reached())


def shown(cube: Cube) -> Figures:
    return {(cell.minute, cell.key): cell.parts for cell in cube.cells() if any(cell.parts)}


@pytest.mark.parametrize("seed", range(4))
def test_at_every_moment_it_is_a_plain_fold_of_what_came(seed: int) -> None:
    chance = random.Random(seed)
    stream = messages(seed=seed)
    every = {minute for minute, _ in folded(Accepting().events(stream))}
    cube, judge, batches, job = Cube(), Judge(DELAY_MS), Batches(TOPIC), Job()
    taken = done = 0
    account: Account | None = None
    reading: Reading | None = None
    stale: set[int] = set()
    assert cube.adopt(read(job, batches, every), batches)
    moves = 0
    while done < len(stream) or account or reading or cube.tail.events:
        match chance.randrange(5):
            case 0:
                some = stream[taken : taken + chance.randrange(60)]
                cube.append(event for m in some for event in judge.judge(m))
                taken += len(some)
            case 1 if account is None and done < taken:
                upto = done + chance.randrange(1, taken - done + 1)
                account = job.write(stream[done:upto])
                done = upto
            case 2 if account is not None:
                batches.add(account, EPOCH_MS)
                account = None
            case 3 if reading is None:
                stale |= cube.settle(batches)
                reading, stale = read(job, batches, stale), set()
            case 4 if reading is not None and cube.adopt(reading, batches):
                reading = None
        moves += 1
        assert shown(cube) == folded(Accepting().events(stream[:taken]))
    assert moves > 50
    assert shown(cube) == {place: row.parts for place, row in job.rows.items()}


def test_a_tail_that_began_in_the_middle_is_wrong_no_longer_than_until_the_job_took_it() -> None:
    original = messages(30)[:100]
    repeated = [Message(0, 10_000 + i, m.arrival_ms, m.key, m.value) for i, m in enumerate(original)]
    job, batches, cube = Job(), Batches(TOPIC), Cube()
    batches.add(job.write(original), EPOCH_MS)
    minutes = {window for window, _ in job.rows}
    cube.adopt(read(job, batches, minutes), batches)
    judge = Judge(DELAY_MS)  # it has not seen the first ones, so it takes the repeated ones for events
    cube.append(event for m in repeated for event in judge.judge(m))
    assert shown(cube) != {place: row.parts for place, row in job.rows.items()}
    batches.add(job.write(repeated), EPOCH_MS)
    cube.adopt(read(job, batches, cube.settle(batches)), batches)
    assert shown(cube) == {place: row.parts for place, row in job.rows.items()}


def test_rows_of_the_batch_that_is_being_written_wait_for_its_account() -> None:
    stream = messages(10)
    job, batches, cube = Job(), Batches(TOPIC), Cube()
    batches.add(job.write(stream[:25]), EPOCH_MS)
    account = job.write(stream[25:])
    reading = read(job, batches, {window for window, _ in job.rows})
    assert not cube.adopt(reading, batches)
    assert not shown(cube)
    assert not Cube().adopt(reading, Batches(TOPIC)), "nor is anything known before the job's first account"
    batches.add(account, EPOCH_MS)
    assert cube.adopt(reading, batches)


def test_a_new_epoch_that_reads_again_counts_nothing_twice() -> None:
    stream = messages(30)
    first, batches, cube, judge = Job(), Batches(TOPIC), Cube(), Judge(DELAY_MS)
    batches.add(first.write(stream), EPOCH_MS)
    cube.append(event for m in stream for event in judge.judge(m))
    second = Job(epoch=2, start_ms=EPOCH_MS + 10_000_000)
    batches.add(second.write(stream[:10]), second.start_ms)
    second.rows = {**first.rows, **second.rows}
    minutes = {window for window, _ in second.rows}
    assert cube.adopt(read(second, batches, minutes), batches)
    assert shown(cube) == folded(Accepting().events(stream)), "rows of the old epoch stand, the new one's are completed"


def test_what_a_backfill_wrote_is_taken_as_it_is() -> None:
    stream = messages(10)
    job, batches, cube = Job(), Batches(TOPIC), Cube()
    batches.add(job.write(stream), EPOCH_MS)
    place, row = next(iter(job.rows.items()))
    job.rows[place] = VersionedRow(
        row.window, row.key, row.parts, EPOCH_MS + int(timedelta(days=2).total_seconds() * 1000)
    )
    assert cube.adopt(read(job, batches, {row.window}), batches)
    assert shown(cube)[place] == row.parts


def test_changes_are_told_since_any_version() -> None:
    stream = messages(10)
    cube, judge, batches, job = Cube(), Judge(DELAY_MS), Batches(TOPIC), Job()
    events = [event for m in stream for event in judge.judge(m)]
    cube.adopt(read(job, batches, {event.minute for event in events}), batches)
    cube.append(events[:25])
    version = cube.version
    assert not list(cube.cells(version))
    cube.append(events[25:30])
    changed = {(cell.minute, cell.key) for cell in cube.cells(version)}
    assert changed == {(event.minute, event.key) for event in events[25:30]}


def test_a_tail_that_is_read_again_counts_nothing_twice() -> None:
    stream = messages(30)
    job, batches, cube = Job(), Batches(TOPIC), Cube()
    account = job.write(stream[:50])
    batches.add(account, EPOCH_MS)
    minutes = {minute for minute, _ in folded(Accepting().events(stream))}
    cube.adopt(read(job, batches, minutes), batches)

    def follow() -> None:
        judge = Judge(DELAY_MS)
        cube.append(event for m in stream for event in judge.judge(m))

    follow()
    whole = shown(cube)
    assert whole == folded(Accepting().events(stream))
    assert cube.clear_tail()
    assert shown(cube) == {place: row.parts for place, row in job.rows.items()}
    follow()
    assert shown(cube) == whole


def test_old_minutes_are_forgotten() -> None:
    stream = messages(200)
    cube, judge, batches, job = Cube(), Judge(DELAY_MS), Batches(TOPIC), Job()
    events = [event for m in stream for event in judge.judge(m)]
    cube.adopt(read(job, batches, {event.minute for event in events}), batches)
    cube.append(events)
    newest = max(event.minute for event in events)
    cube.forget(newest)
    assert {cell.minute for cell in cube.cells()} == {newest} == cube.minutes


def test_a_fast_event_is_shown_and_makes_no_other_late() -> None:
    noon_ms = START_MS + 7_200_000
    judge = Judge(60_000)

    def taken(offset: int, lead_ms: int) -> bool:
        time = datetime.fromtimestamp((noon_ms + lead_ms) / 1000, UTC)
        event = Event(
            event_id=str(offset), event_type="view", event_time=time, user_id="u", session_id="s", product_id="p"
        )
        return bool(judge.judge(Message(0, offset, noon_ms, b"u", to_message(event))))

    assert [taken(0, 300_000), taken(1, -59_999), taken(2, -60_000)] == [True, True, False]
    assert judge.late == 1
