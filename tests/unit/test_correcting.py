"""Late events are corrected: which ones they are, what they add, and that a kill anywhere leaves nothing wrong."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from fastapi.testclient import TestClient

from retailpulse_kernel.answers.corrected import additions, corrected
from retailpulse_kernel.answers.reading import grouped, money, read_rows, summarise
from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.catalogue.answering import Asking, answer
from retailpulse_kernel.catalogue.tables import Catalogue
from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import moment_at, ms_of
from retailpulse_kernel.reconcile.comparing import Range
from retailpulse_kernel.reconcile.late import Kept, _stored, check_late
from retailpulse_kernel.reconcile.tables import Share
from retailpulse_kernel.reconcile.topic import TopicFold
from retailpulse_kernel.shop.comparison import comparable
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.events import Event, to_message
from retailpulse_kernel.shop.figures import EVENTS, REVENUE
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import (
    CATEGORY,
    CORRECTED_AT,
    GRAINS,
    LATE_EVENTS,
    USER,
    FigureTable,
    Grain,
    Row,
    late_part,
)
from retailpulse_kernel.stores.hive.archive import Archive
from retailpulse_kernel.stores.kafka.store import Message
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.batches import JobBatches, newest_epochs
from retailpulse_kernel.streaming.checkpoint.corrections import Backfilled, add_backfilled, read_corrected
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.plan.data import ExpectationPlan, Plan, TablePlan, write_plan
from retailpulse_kernel.upkeep.correcting.job import correct_job, has_gone_back
from retailpulse_kernel.upkeep.correcting.jobs import FigureJob, figure_jobs
from tests.archived import archive_events
from tests.memory import MemoryStore

TOPIC = "t.retail.events"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOW = NOON + timedelta(days=1)
TABLES = (("memory", CATEGORY), ("memory", USER))


class Sent(NamedTuple):
    """An event in the topic."""

    partition: int
    offset: int
    arrival: datetime
    event: Event


def stream(seed: int, count: int = 400) -> list[Sent]:
    """Events of two hours in three partitions: some hours old, some fast, some of which the id comes again."""
    chance, ends, sent = random.Random(seed), [0, 0, 0], []
    for i in range(count):
        at = NOON + i * 18 * timedelta(seconds=1)
        lot = chance.random()
        back = chance.uniform(3, 9) if lot < 0.05 else chance.uniform(20, 170) if lot < 0.1 else -5 * (lot > 0.97)
        purchase = chance.random() < 0.5
        event = Event(
            event_id=f"e{i}", event_type="purchase" if purchase else "view",
            event_time=moment_at(ms_of(at - back * MINUTE)), user_id=f"u{i % 9}", session_id="s", product_id="p",
            category=chance.choice(["books", "shoes.sport"]), price=Decimal(chance.randrange(1, 9999)) / 100,
            currency=chance.choice(["EUR", "USD"]), order_id=f"o{i}" if purchase else None,
            order_line=1 if purchase else None,
        )  # fmt: skip
        if sent and chance.random() < 0.05:
            event = chance.choice(sent).event
        partition = int(event.user_id[1:]) % 3
        sent.append(Sent(partition, ends[partition], at, event))
        ends[partition] += 1
    return sent


def account(job: str, batch: int, ends: dict[int, int], *, epoch: int = 1, **more: Any) -> Account:
    counts = dict.fromkeys(("consumed", "accepted", "duplicate", "late", "bad", "rows"), 0)
    times = dict.fromkeys(("watermark_ms", "started_ms", "finished_ms"), 0)
    offsets = {TOPIC: {str(partition): end for partition, end in ends.items()}}
    given = {"job": job, "epoch": epoch, "batch": batch, "offsets": offsets, "held": True, "delay_ms": 120_000}
    return Account(**given | counts | times | more)


def ends_of(sent: Iterable[Sent]) -> dict[int, int]:
    return {one.partition: one.offset + 1 for one in sent}


def batches_of(sent: list[Sent], *, epoch: int = 1, parts: int = 5, bounded: frozenset[int] = frozenset(),
               **more: Any) -> JobBatches:  # fmt: skip
    """The micro-batches of a job that has taken the topic in some parts."""
    cuts = [len(sent) * (part + 1) // parts for part in range(parts)]
    accounts = [
        account("metrics", number, ends_of(sent[:cut]), epoch=epoch, bounded=number in bounded, **more)
        for number, cut in enumerate(cuts)
    ]
    return newest_epochs(accounts, TOPIC)["metrics"]


def messages(sent: Iterable[Sent]) -> Iterable[Message]:
    return (
        Message(one.partition, one.offset, ms_of(one.arrival), b"u", to_message(one.event)) for one in sent
    )  # fmt: skip


def topic_fold(sent: list[Sent], job: JobBatches) -> TopicFold:
    result = TopicFold([job], {"metrics": Share("metrics", TABLES)}, corrected={"metrics": job.ends})
    result.run(messages(sent))
    return result


def archive_of(path: Path, sent: list[Sent], *, batch: int = 0, before: Iterable[Sent] = ()) -> Archive:
    """What the job "archive" keeps, whose watermark is ten minutes: each accepted id once, and all late events."""
    job = newest_epochs([account("archive", 0, ends_of([*before, *sent]), delay_ms=600_000)], TOPIC)["archive"]
    seen = {one.event.event_id for one in before}
    result = TopicFold([job], {"archive": Share("archive", TABLES)}, corrected={"archive": job.ends})
    result.run(messages([*before, *sent]))
    late = {one.event_id for one in result.late_events("archive")}
    kept = [one for one in sent if one.event.event_id in late or not (one.event.event_id in seen
            or seen.add(one.event.event_id))]  # fmt: skip
    archive = Archive(path)
    archive_events(archive, [one.event for one in kept], batch=batch,
                   places=[(one.partition, one.offset, one.arrival) for one in kept])  # fmt: skip
    return archive


class Ended(Exception):
    """Ends a correction as a kill does: nothing after it is done."""


class Mortal(MemoryStore):
    """A store whose writer is killed after some writes."""

    def __init__(self) -> None:
        super().__init__()
        self.left: float = float("inf")
        self.written = 0

    def write(self, table: FigureTable, grain: Grain, rows: Any, *, version: int) -> None:
        if self.left <= 0:
            raise Ended
        self.left -= 1
        self.written += len(rows)
        super().write(table, grain, rows, version=version)


class Shop:
    """A job's tables with their corrections, in a folder."""

    def __init__(self, folder: Path, sent: list[Sent], job: JobBatches | None = None) -> None:
        self.sent, self.job = sent, job or batches_of(sent)
        self.archive = archive_of(folder / "archive", sent)
        self.folder, self.store = str(folder / "metrics"), Mortal()
        for _, table in TABLES:
            self.store.create(table)

    @property
    def figure_job(self) -> FigureJob:
        return FigureJob(self.job, TABLES, lambda _: True)

    def correct(self, now: datetime = NOW, ends: dict[int, int] | None = None) -> Any:
        return correct_job(self.figure_job, self.archive, self.folder, ends or self.job.ends,
                           store_of=lambda _: self.store, now=now)  # fmt: skip

    def late(self) -> list[Event]:
        """The late events by the fold of the topic."""
        return topic_fold(self.sent, self.job).late_events("metrics")

    def check(self) -> set[str]:
        """What reconciliation says of the corrections."""
        note = read_corrected(self.folder)
        assert note is not None and not note.under_way
        share = Share("metrics", TABLES)
        kept = Kept(note, (), list(_stored(share, lambda _: self.store)))
        return {check.state for check in check_late("metrics", kept, self.late(), Range(None, None))}

    def rows(self, table: FigureTable, grain: Grain) -> dict[Any, Row]:
        part = late_part(table)
        found = self.store.read(part, grain)
        return {part.key(row, grain): row for row in found if row[LATE_EVENTS.name]}


def figures(table: FigureTable, grain: Grain, rows: Iterable[Row]) -> dict[Any, Row]:
    """Rows by key, without the time of the correction."""
    part = late_part(table)
    return {part.key(row, grain): comparable(part, row) | {CORRECTED_AT.name: None} for row in rows}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, stream(1))


@pytest.mark.parametrize("seed", range(6))
def test_it_adds_what_the_topic_says_is_late(tmp_path: Path, seed: int) -> None:
    sent = stream(seed)
    shop = Shop(tmp_path, sent, batches_of(sent, bounded=frozenset({seed % 5}) if seed % 2 else frozenset()))
    late = shop.late()
    assert len(late) > 10
    shop.correct()
    for _, table in TABLES:
        for grain in table.every:
            stored = figures(table, grain, shop.rows(table, grain).values())
            assert stored == figures(table, grain, fold(late, late_part(table), grain))
    assert shop.check() == {"equal"}


def test_the_watermark_is_the_jobs_and_not_the_archives(tmp_path: Path) -> None:
    sent = stream(3)
    for number, minutes in enumerate((1, 5, 30)):
        job = batches_of(sent, delay_ms=minutes * 60_000)
        shop = Shop(tmp_path / str(number), sent, job)
        shop.correct()
        found = sum(row[LATE_EVENTS.name] for row in shop.rows(CATEGORY, GRAINS["day"]).values())
        assert found == len(shop.late()) > 0


def test_an_event_that_was_accepted_in_time_is_not_late_again(tmp_path: Path) -> None:
    first, others = stream(1)[0], [one for one in stream(1, 40) if one.partition == 0]
    again = others[-1]._replace(event=first.event, offset=others[-1].offset + 1)
    sent = [*others, again, again._replace(offset=again.offset + 1)]
    shop = Shop(tmp_path, sent, batches_of(sent, parts=1))
    archive_events(shop.archive, [first.event] * 2, batch=7, late=True,
                   places=[(one.partition, one.offset, one.arrival) for one in sent[-2:]])  # fmt: skip
    shop.correct()
    assert first.event.event_id not in {event.event_id for event in shop.late()}
    assert shop.check() <= {"equal", "nothing"}


def test_a_second_correction_changes_nothing(shop: Shop) -> None:
    assert shop.correct()
    before, written = shop.rows(CATEGORY, GRAINS["minute"]), shop.store.written
    assert shop.correct(NOW + MINUTE) == [], "the archive has got nothing"
    Path(shop.folder, "corrected.json").unlink()
    assert sum(table.changed for table in shop.correct(NOW + MINUTE)) == 0, "all of it is computed, nothing differs"
    assert shop.store.written == written
    assert shop.rows(CATEGORY, GRAINS["minute"]) == before


@pytest.mark.parametrize("writes", range(4))
def test_a_correction_that_was_killed_is_done_again(shop: Shop, writes: int) -> None:
    shop.store.left = writes
    with pytest.raises(Ended):
        shop.correct()
    note = read_corrected(shop.folder)
    assert note is not None and note.under_way, "reconciliation knows that not all is written"
    shop.store.left = float("inf")
    shop.correct()
    assert shop.check() == {"equal"}


def test_more_events_are_corrected_from_where_the_last_one_ended(tmp_path: Path) -> None:
    sent = stream(5, 600)
    half = sent[:300]
    shop = Shop(tmp_path, half)
    shop.correct()
    archive_of(tmp_path / "archive", sent[300:], batch=1, before=half)
    shop.sent, shop.job = sent, batches_of(sent)
    shop.correct()
    assert shop.check() == {"equal"}


def test_events_that_the_job_has_not_taken_yet_wait_for_it(shop: Shop) -> None:
    whole, some = shop.sent, shop.sent[:250]
    shop.sent, shop.job = some, batches_of(some)
    shop.correct()
    assert shop.check() == {"equal"}
    shop.sent, shop.job = whole, batches_of(whole)
    assert shop.correct(), "the archive is the same, and the job has gone on"
    assert shop.check() == {"equal"}


def test_a_new_epoch_keeps_the_corrections(shop: Shop) -> None:
    shop.correct()
    before = shop.rows(CATEGORY, GRAINS["hour"])
    shop.job = batches_of(shop.sent, epoch=2, parts=3)
    written = shop.store.written
    shop.correct()
    assert shop.rows(CATEGORY, GRAINS["hour"]) == before
    assert shop.store.written == written, "lateness is a fact of the topic"


def test_an_epoch_that_reads_the_topic_again_is_waited_for(shop: Shop) -> None:
    shop.correct()
    behind = batches_of(shop.sent[:100], epoch=2)
    assert has_gone_back(replace(shop.figure_job, batches=behind), shop.folder, behind.ends)
    assert not has_gone_back(shop.figure_job, shop.folder, shop.job.ends)


def test_what_a_new_epoch_has_counted_itself_is_taken_back(shop: Shop) -> None:
    shop.correct()
    assert shop.rows(CATEGORY, GRAINS["hour"])
    shop.job = batches_of(shop.sent, epoch=2, bounded=frozenset(range(5)))
    shop.correct()
    assert shop.rows(CATEGORY, GRAINS["hour"]) == {}, "no order makes an event late in a bounded run"


def test_a_window_whose_events_have_left_the_archive_keeps_its_correction(shop: Shop) -> None:
    shop.correct()
    days, hours = shop.rows(CATEGORY, GRAINS["day"]), shop.rows(CATEGORY, GRAINS["hour"])
    oldest, *_ = shop.archive.partitions()
    for file in oldest.iterdir():
        file.unlink()
    oldest.rmdir()
    shop.job = batches_of(shop.sent, epoch=2)
    shop.correct()
    assert shop.rows(CATEGORY, GRAINS["day"]) == days
    assert shop.rows(CATEGORY, GRAINS["hour"]) == hours


def test_what_was_found_before_is_not_read_again_and_found_again_where_it_is_lost(shop: Shop) -> None:
    shop.correct()
    files = sorted(Path(shop.archive.root, "_late", "metrics").iterdir())
    assert len(files) > 3
    before = shop.rows(CATEGORY, GRAINS["hour"])
    files[1].unlink()
    shop.correct(NOW + MINUTE)
    assert shop.rows(CATEGORY, GRAINS["hour"]) == before
    assert sorted(Path(shop.archive.root, "_late", "metrics").iterdir()) == files


def test_a_late_event_leaves_with_its_hour(shop: Shop) -> None:
    shop.correct()
    files = sorted(Path(shop.archive.root, "_late", "metrics").iterdir())
    oldest, *_ = shop.archive.partitions()
    for file in oldest.iterdir():
        file.unlink()
    oldest.rmdir()
    shop.job = batches_of(shop.sent, epoch=2)
    shop.correct()
    assert sorted(Path(shop.archive.root, "_late", "metrics").iterdir()) == files[1:]


class TestBackfills:
    """A backfill may count late events in the table itself."""

    def backfill(self, shop: Shop, *, late: bool, until: datetime = NOON + timedelta(hours=1)) -> None:
        add_backfilled(shop.folder, Backfilled(1, NOON, until, late, shop.job.ends))

    def test_what_it_counted_is_not_added_again(self, shop: Shop) -> None:
        shop.correct()
        before = shop.rows(CATEGORY, GRAINS["hour"])
        assert NOON in {key[0] for key in before}
        self.backfill(shop, late=True)
        shop.correct()
        after = shop.rows(CATEGORY, GRAINS["hour"])
        assert after == {key: row for key, row in before.items() if key[0] != NOON}
        assert shop.rows(CATEGORY, GRAINS["day"]), "a window that it has not written as a whole keeps its correction"

    def test_one_without_late_events_brings_the_correction_back(self, shop: Shop) -> None:
        shop.correct()
        before = figures(CATEGORY, GRAINS["hour"], shop.rows(CATEGORY, GRAINS["hour"]).values())
        self.backfill(shop, late=True)
        shop.correct()
        self.backfill(shop, late=False)
        shop.correct()
        assert figures(CATEGORY, GRAINS["hour"], shop.rows(CATEGORY, GRAINS["hour"]).values()) == before
        self.backfill(shop, late=True)
        self.backfill(shop, late=False, until=NOON + timedelta(hours=2))
        shop.correct()
        assert figures(CATEGORY, GRAINS["hour"], shop.rows(CATEGORY, GRAINS["hour"]).values()) == before


class TestReading:
    """The figures with late events are those of all events, each id once."""

    @pytest.fixture
    def whole(self, shop: Shop) -> list[Event]:
        """The job has written what it took in time, and all is corrected."""
        late = {event.event_id for event in shop.late()}
        every = {one.event.event_id: one.event for one in reversed(shop.sent)}
        in_time = [event for name, event in every.items() if name not in late]
        for _, table in TABLES:
            for grain in table.every:
                shop.store.write(table, grain, fold(in_time, table, grain), version=1)
        shop.correct()
        return list(every.values())

    @pytest.mark.parametrize("grain", ["minute", "hour", "day"])
    def test_any_windows_by_any_keys(self, shop: Shop, whole: list[Event], grain: str) -> None:
        of, by = GRAINS[grain], ["bucket", "category"]
        found = grouped(read_rows(corrected(shop.store), CATEGORY, since=None, until=None, grain=of), by)
        rows = [row | {"bucket": row[grain]} for row in fold(whole, CATEGORY, of)]
        assert found == grouped(rows, by)
        stored = grouped(read_rows(shop.store, CATEGORY, since=None, until=None, grain=of), by)
        assert stored != found, "without them the figures are those of the job"

    @pytest.mark.parametrize("until", [NOON + 30 * MINUTE, NOON + 119 * MINUTE, NOON + timedelta(hours=11)])
    def test_the_sums_of_any_range(self, shop: Shop, whole: list[Event], until: datetime) -> None:
        since = NOON - 61 * MINUTE
        summary = summarise(corrected(shop.store), since=since, until=until, now=NOW)
        inside = [event for event in whole if since <= event.event_time < until]
        for currency, found in summary.currencies.items():
            mine = [event for event in inside if event.currency == currency]
            assert found.revenue == REVENUE.combine(REVENUE.of_event(event) for event in mine)
        assert sum(summary.events_by_type.values()) == len(inside)
        assert summary.active_users == len({event.user_id for event in inside})

    def test_what_was_added_is_told_by_window(self, shop: Shop, whole: list[Event]) -> None:
        rows = additions(shop.store, CATEGORY, since=None, until=None, grain=GRAINS["hour"], figures=[REVENUE],
                         by=["currency"])  # fmt: skip
        late = shop.late()
        assert sum(row["late_events"] for row in rows) == len(late)
        assert {row["corrected_at"] for row in rows} == {NOW}
        for row in rows:
            mine = [event for event in late if event.currency == row["currency"]
                    and GRAINS["hour"].start(event.event_time) == row["bucket"]]  # fmt: skip
            assert row["revenue"] == REVENUE.combine(REVENUE.of_event(event) for event in mine)

    def test_without_a_correction_nothing_changes(self, shop: Shop) -> None:
        rows = fold([one.event for one in shop.sent], CATEGORY, GRAINS["hour"])
        shop.store.write(CATEGORY, GRAINS["hour"], rows, version=1)
        assert corrected(shop.store).read(CATEGORY, GRAINS["hour"]) == shop.store.read(CATEGORY, GRAINS["hour"])
        assert additions(shop.store, CATEGORY, since=None, until=None, grain=GRAINS["hour"]) == []

    def test_only_some_figures_and_keys(self, shop: Shop, whole: list[Event]) -> None:
        found = corrected(shop.store).read(CATEGORY, GRAINS["day"], figures=[EVENTS], by=("currency",))
        assert {row["currency"]: row["events"] for row in found} == {
            currency: sum(event.currency == currency for event in whole) for currency in ("EUR", "USD")
        }

    def test_a_frame_says_what_was_added(self, shop: Shop, whole: list[Event]) -> None:
        catalogue = Catalogue("", "memory", (), shipped())
        asking = Asking(("revenue", "events"), by=("bucket",), every="hour")
        frame = answer(catalogue, asking, lambda _: shop.store)
        late = shop.late()
        assert set(frame[frame["corrected"]]["bucket"]) == {GRAINS["hour"].start(event.event_time) for event in late}
        assert not frame["corrected"].all()
        added = {
            c: money(REVENUE.combine(REVENUE.of_event(e) for e in late if e.currency == c)) for c in ("EUR", "USD")
        }
        said = {"events": len(late), "corrected_at": "2026-03-02T12:00:00Z",
                "added": {"revenue": added, "events": len(late)}}  # fmt: skip
        assert frame.attrs["late"] == said
        streamed = answer(catalogue, replace(asking, late="exclude"), lambda _: shop.store)
        assert "corrected" not in streamed and "late" not in streamed.attrs
        assert frame["events"].sum() - streamed["events"].sum() == len(late)

    def test_a_frame_of_some_values_says_what_was_added_to_these(self, shop: Shop, whole: list[Event]) -> None:
        asking = Asking(("events",), by=("event_type",), where={"category": ["books"], "currency": ["EUR"]})
        frame = answer(Catalogue("", "memory", (), shipped()), asking, lambda _: shop.store)
        mine = [event for event in whole if (event.category, event.currency) == ("books", "EUR")]
        assert frame["events"].sum() == len(mine)
        late = {event.event_id for event in shop.late()}
        assert frame.attrs["late"]["events"] == sum(event.event_id in late for event in mine)

    def test_a_word_that_is_neither_is_refused(self, shop: Shop) -> None:
        with pytest.raises(UsageError, match="late='some'"):
            answer(Catalogue("", "memory", (), shipped()), Asking(late="some"), lambda _: shop.store)  # type: ignore[arg-type]

    def test_the_read_api_lists_corrections_and_marks_windows(self, shop: Shop, whole: list[Event]) -> None:
        asked = {"from": (NOON - timedelta(hours=4)).isoformat(), "to": NOW.isoformat(), "grain": "hour"}
        with TestClient(create_app(shop.store)) as client:
            added = client.get("/api/v1/corrections", params=asked).json()
            series = client.get("/api/v1/figures/revenue", params={**asked, "by": "bucket"}).json()["rows"]
            some = client.get("/api/v1/corrections", params={**asked, "currency": "EUR", "limit": 1}).json()
            orders = client.get("/api/v1/figures/orders", params={**asked, "by": "bucket,category"}).json()["rows"]
            week = client.get("/api/v1/figures/revenue", params={**asked, "by": "bucket", "shift": "1d",
                              "from": (NOON + timedelta(hours=20)).isoformat(),
                              "to": (NOON + timedelta(hours=26)).isoformat()}).json()["rows"]  # fmt: skip
            absent = client.get("/api/v1/corrections", params={**asked, "table": "none"})
            wrong = client.get("/api/v1/corrections", params={**asked, "color": "red"})
        late = shop.late()
        assert sum(row["late_events"] for row in added["rows"]) == len(late)
        assert {row["corrected_at"] for row in added["rows"]} == {"2026-03-02T12:00:00Z"}
        total = sum((Decimal(row["added"]["revenue"]["decimal"]) for row in added["rows"]), Decimal(0))
        assert total == REVENUE.combine(REVENUE.of_event(event) for event in late)
        hours = {(GRAINS["hour"].start(event.event_time), event.currency) for event in late}
        assert {
            (datetime.fromisoformat(row["bucket"]), row["currency"]) for row in series if "corrected_at" in row
        } == hours
        assert (some["total_rows"], len(some["rows"])) == (sum(c == "EUR" for _, c in hours), 1)
        by_category = {(GRAINS["hour"].start(event.event_time), event.category) for event in late}
        assert {
            (datetime.fromisoformat(row["bucket"]), row["category"]) for row in orders if "corrected_at" in row
        } == (by_category)
        shown = {datetime.fromisoformat(row["bucket"]) - timedelta(days=1) for row in week if "corrected_at" in row}
        assert shown == {hour for hour, _ in hours if hour >= NOON - timedelta(hours=4)}
        assert (absent.status_code, wrong.status_code) == (404, 422)

    def test_a_part_of_a_day_is_marked_by_the_late_events_of_this_part(self, shop: Shop, whole: list[Event]) -> None:
        """Most of a day is read as the day less the hours that are left out, whatever late events these have."""
        late = [event.event_time for event in shop.late()]
        seen = set()
        with TestClient(create_app(shop.store)) as client:
            for hour in range(24):
                since = GRAINS["day"].start(NOON) + timedelta(hours=hour)
                until = GRAINS["day"].end(NOON)
                asked = {"from": since.isoformat(), "to": until.isoformat(), "grain": "day", "by": "bucket"}
                rows = client.get("/api/v1/figures/events", params=asked).json()["rows"]
                marked = any("corrected_at" in row for row in rows)
                assert marked == any(since <= moment < until for moment in late), since
                seen.add(marked)
        assert seen == {True, False}

    def test_the_read_api_reads_what_late_events_add_once(self, shop: Shop, whole: list[Event]) -> None:
        read: list[str] = []

        class Noted(MemoryStore):
            def read(self, table: FigureTable, *args: Any, **named: Any) -> list[Row]:
                read.append(table.name)
                return shop.store.read(table, *args, **named)

        asked = {"from": (NOON - timedelta(hours=4)).isoformat(), "to": NOON.isoformat(), "grain": "hour"}
        with TestClient(create_app(Noted())) as client:
            rows = client.get("/api/v1/figures/revenue", params={**asked, "by": "bucket"}).json()["rows"]
        assert any("corrected_at" in row for row in rows)
        assert sorted(read) == [CATEGORY.name, late_part(CATEGORY).name]


class TestPlans:
    """What of a plan can be corrected, and what is said of the rest."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_correcting")

    def jobs(self, settings: Settings, **given: Any) -> tuple[list[FigureJob], list[str]]:
        table = given.pop("table", CATEGORY)
        plan = {"job": "own", "topic": "retail.events", "unique_by": "event_id", "watermark_ms": 1, "conditions": (),
                "output": "change", "rejects": "", "tables": (TablePlan.describing(table, "cassandra"),)}  # fmt: skip
        write_plan(new_epoch(f"{settings.checkpoints}/own", now_ms=1).path, Plan(**plan | given))
        return figure_jobs(settings, {"own": JobBatches("own", 1)}, shipped())

    def test_its_conditions_and_expectations_say_which_events_count(self, settings: Settings) -> None:
        refusing = ExpectationPlan("retail.events", "cheap", "price < 100", "reject")
        (job,), notes = self.jobs(settings, conditions=("event_type = 'purchase'",), expectations=(refusing,))
        assert notes == []
        assert [(store, table.name) for store, table in job.tables] == [("cassandra", "category")]
        event = next(one.event for one in stream(1) if one.event.event_type == "purchase" and one.event.price < 100)
        assert job.counts(event)
        assert not job.counts(msgspec.structs.replace(event, event_type="view"))
        assert not job.counts(msgspec.structs.replace(event, price=Decimal(200)))

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"unique_by": "order_id"}, "of all events of one order_id the job takes the first"),
            ({"topic": "shop.payments"}, "the job reads the topic 'shop.payments'"),
            ({"conditions": ("my_function(price) > 1",)}, "The table category in cassandra is not corrected"),
            ({"table": FigureTable("a" * 38, (EVENTS,), ("category",), (GRAINS["hour"],))}, "can't be the name"),
        ],
    )  # fmt: skip
    def test_what_can_not_be_corrected_is_named(self, settings: Settings, given: dict[str, Any], said: str) -> None:
        jobs, notes = self.jobs(settings, **given)
        assert jobs == []
        assert len(notes) == 1 and said in notes[0] and notes[0].endswith(".")

    @pytest.mark.parametrize("every", ["0s", "soon"])
    def test_a_time_that_is_none_is_refused(self, every: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main(["correct", "--every", every, "--namespace", "t_correcting"])
        assert left.value.code == 2
        assert every in capsys.readouterr().err
