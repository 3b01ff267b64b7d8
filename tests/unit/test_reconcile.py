"""The fold of a topic for several jobs, without a server: who takes what, what is late, and every figure."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import CheckFailed, EventError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import moment_at, ms_of
from retailpulse_kernel.reconcile import Difference, JobCheck, Reconciliation, TableCheck, Totals
from retailpulse_kernel.reconcile.comparing import Range, compare_figures
from retailpulse_kernel.reconcile.folded import FoldedTopic, _deleted, _problems, _retained_from, _retained_note
from retailpulse_kernel.reconcile.sums import Limits, TableSums
from retailpulse_kernel.reconcile.tables import ARCHIVE, Share, share_of, without_plan
from retailpulse_kernel.reconcile.topic import JobFold, TopicFold
from retailpulse_kernel.shop.events import Event, parse_event, to_message
from retailpulse_kernel.shop.figures import REVENUE, Figure, count, sum_of
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.lateness import UNSTAMPED
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, SESSION, USER, FigureTable
from retailpulse_kernel.stores.kafka.store import Message
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.batches import COUNTS, newest_epochs
from retailpulse_kernel.streaming.intake.judging import Intake, Stretch
from retailpulse_kernel.streaming.intake.opening import Chunk
from retailpulse_kernel.streaming.plan.data import FigurePlan, Plan, TablePlan
from tests.memory import MemoryStore

TOPIC = "t.retail.events"
TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOON = TEN + 120 * MINUTE  # when all messages came
ALL = Range(None, None)
SHARES = {
    "metrics": Share("metrics", (("cassandra", CATEGORY),)),
    "engagement": Share("engagement", (("hbase", SESSION), ("hbase", USER))),
    "archive": Share("archive", archive=TablePlan("events", "hive")),
}


def account(ends: dict[int, int], batch: int = 0, *, job: str = "metrics", epoch: int = 1, **more: Any) -> Account:
    counts = dict.fromkeys(("consumed", "accepted", "duplicate", "late", "bad", "rows"), 0)
    times = dict.fromkeys(("watermark_ms", "started_ms", "finished_ms"), 0)
    offsets = {TOPIC: {str(partition): end for partition, end in ends.items()}}
    return Account(**{"job": job, "epoch": epoch, "batch": batch, "offsets": offsets} | counts | times | more)


def message(offset: int, minute: float, *, id: str | None = None, partition: int = 0, **more: Any) -> Message:
    event = Event(
        event_id=id or f"{partition}-{offset}", event_type="view", event_time=TEN + minute * MINUTE, user_id="u",
        session_id="s", product_id="p", **more,
    )  # fmt: skip
    return Message(partition, offset, ms_of(NOON), b"u", to_message(event))


def came(minute: float, one: Message) -> Message:
    """A message that the broker took so many minutes after ten."""
    return replace(one, arrival_ms=ms_of(TEN + minute * MINUTE))


def intake_of(delay_ms: int, messages: list[Message], stretch: Stretch, *, held: bool) -> tuple[dict[str, Any], Any]:
    """What a job counts, and its clock afterwards; without `held` as jobs did it before the broker's time held it."""
    values, offsets = [one.value for one in messages], [one.offset for one in messages]
    arrivals = [one.arrival_ms if held else UNSTAMPED for one in messages]
    judging = Intake((), TOPIC, delay_ms=delay_ms).rows([Chunk(values, offsets, arrivals)], stretch)
    while True:
        try:
            counts = next(judging).to_pylist()[-1]
        except StopIteration as end:
            return counts, end.value


def folded(accounts: list[Account], messages: Iterable[Message], **given: Any) -> TopicFold:
    result = TopicFold(newest_epochs(accounts, TOPIC).values(), **{"shares": SHARES} | given)
    result.run(messages)
    return result


def found(result: TopicFold, job: str = "metrics") -> list[tuple[int, ...]]:
    return [tuple(batch.found[name] for name in COUNTS) for batch in result.folds[job].job.batches]


class TestBatches:
    def test_each_starts_where_the_one_before_ended(self) -> None:
        job = newest_epochs([account({0: 5}, 0), account({0: 7, 1: 3}, 4)], TOPIC)["metrics"]
        assert [batch.spans for batch in job.batches] == [{0: (0, 5)}, {0: (5, 7), 1: (0, 3)}]
        assert job.ends == {0: 7, 1: 3}
        assert job.problems == []
        assert job.has_all({0: 7, 1: 3})
        assert not job.has_all({0: 7, 1: 4})

    def test_only_the_newest_epoch_counts(self) -> None:
        job = newest_epochs([account({0: 5}, 9), account({0: 2}, 0, epoch=2)], TOPIC)["metrics"]
        assert (job.epoch, job.ends) == (2, {0: 2})

    def test_a_job_of_another_topic_is_none_of_ours(self) -> None:
        assert newest_epochs([account({0: 5})], "other") == {}

    def test_a_query_of_two_topics_counts_both_and_is_compared_with_neither(self) -> None:
        settings = Settings.load(namespace="t_reconcile")
        topic = settings.namespace.topic
        alone, other = topic("retail.events"), topic("shop.payments")
        accounts = [
            replace(account({0: 5}, job="alone"), offsets={alone: {"0": 5}}),
            replace(account({0: 5}, job="joined"), offsets={alone: {"0": 5}, other: {"0": 3}}),
        ]
        assert [*FoldedTopic(settings, "retail.events", accounts).jobs] == ["alone"]
        assert FoldedTopic(settings, "shop.payments", accounts).jobs == {}

    def test_an_account_that_does_not_add_up_is_named(self) -> None:
        job = newest_epochs([account({0: 5}, consumed=5, accepted=3, late=1)], TOPIC)["metrics"]
        assert job.problems == ["batch 0: consumed 5 is not accepted + duplicate + late + bad, 4"]

    def test_an_offset_that_goes_back_is_named(self) -> None:
        job = newest_epochs([account({0: 5}, 0), account({0: 4}, 1)], TOPIC)["metrics"]
        assert job.problems == ["batch 1: partition 0 goes back from offset 5 to 4"]


class TestCounts:
    def test_every_message_goes_to_its_batch(self) -> None:
        messages = [message(0, 0), message(1, 0, id="0-0"), Message(0, 2, 0, None, b"{"), message(3, 0), message(4, 0)]
        result = folded([account({0: 2}, 0), account({0: 4}, 1)], messages)
        assert found(result) == [(2, 1, 1, 0, 0), (2, 1, 0, 0, 1)]
        assert result.messages == 5, "the fifth belongs to no batch yet"

    def test_an_order_of_its_own_makes_a_message_late(self) -> None:
        messages = [message(0, 20), message(1, 10), message(2, 10.1), message(0, 0, partition=1)]
        assert found(folded([account({0: 3, 1: 1})], messages)) == [(4, 3, 0, 1, 0)]

    def test_a_fast_event_makes_no_other_late(self) -> None:
        messages = [came(0, message(0, 5)), came(0, message(1, 0)), came(0, message(2, -1))]
        accounts = [account({0: 3}, delay_ms=60_000, held=True)]
        assert found(folded(accounts, messages)) == [(3, 2, 0, 1, 0)]

    def test_a_batch_of_before_is_judged_as_it_was(self) -> None:
        messages = [came(0, message(0, 5)), came(0, message(1, 0))]
        assert found(folded([account({0: 2}, delay_ms=60_000)], messages)) == [(2, 1, 0, 1, 0)]

    def test_a_job_goes_on_from_a_clock_of_before_as_far_as_the_brokers_time(self) -> None:
        """What the intake does with such a clock, job by job."""
        messages = [came(0, message(0, 5)), *(came(2, message(offset, minute)) for offset, minute in
                    ((1, 1.5), (2, 1), (3, 3)))]  # fmt: skip
        accounts = [
            account({0: 1}, 0, delay_ms=60_000), account({0: 2}, 1, delay_ms=60_000),
            account({0: 4}, 2, delay_ms=60_000, held=True), account({0: 4}, job="archive", delay_ms=60_000, held=True),
        ]  # fmt: skip
        result = folded(accounts, messages)
        assert found(result) == [(1, 1, 0, 0, 0), (1, 0, 0, 1, 0), (2, 1, 0, 1, 0)]
        assert found(result, "archive") == [(4, 4, 0, 0, 0)]

    @hypothesis.given(
        st.lists(st.tuples(st.integers(-3, 12), st.integers(0, 3)), min_size=1, max_size=30),
        st.integers(0, 30), st.integers(0, 30), st.integers(0, 5),
    )  # fmt: skip
    def test_it_judges_as_the_intake_does_over_a_change_of_the_rule(
        self, events: list[tuple[int, int]], first: int, second: int, delay: int
    ) -> None:
        messages, at = [], 0
        for offset, (lead, step) in enumerate(events):
            at += step
            messages.append(came(at, message(offset, at + lead - 2)))
        ends = sorted({min(first, len(messages)), min(second, len(messages)), len(messages)} - {0})
        accounts, begin, stretch = [], 0, Stretch(0)
        for number, end in enumerate(ends):
            rows, clock_ms = intake_of(delay * 60_000, messages[begin:end], stretch, held=number > 0)
            stretch = Stretch(0, clock_ms=clock_ms, held=number > 0)
            counts = {"accepted": rows["n_accepted"], "late": rows["n_late"], "bad": rows["n_bad"]}
            accounts.append(account({0: end}, number, delay_ms=delay * 60_000, held=number > 0, **counts))
            begin = end
        judged = [(batch[1], batch[3], batch[4]) for batch in found(folded(accounts, messages))]
        assert judged == [(one.accepted, one.late, one.bad) for one in accounts]

    def test_the_delay_is_the_batchs(self) -> None:
        messages = [message(0, 20), message(1, 10), message(2, 10)]
        accounts = [account({0: 2}, 0, delay_ms=1_800_000), account({0: 3}, 1)]
        assert found(folded(accounts, messages)) == [(2, 2, 0, 0, 0), (1, 0, 0, 1, 0)]

    def test_no_order_makes_a_message_late_in_a_bounded_run_but_its_clock_goes_on(self) -> None:
        messages = [message(0, 20), message(1, 10), message(2, 10)]
        accounts = [account({0: 2}, 0, bounded=True), account({0: 3}, 1)]
        assert found(folded(accounts, messages)) == [(2, 2, 0, 0, 0), (1, 0, 0, 1, 0)]

    def test_the_logged_watermark_holds_in_every_run(self) -> None:
        messages = [message(0, 1), message(1, 1.1)]
        accounts = [account({0: 2}, bounded=True, watermark_ms=ms_of(TEN + MINUTE))]
        assert found(folded(accounts, messages)) == [(2, 1, 0, 1, 0)]

    def test_a_late_message_leaves_its_id_free_and_is_no_duplicate(self) -> None:
        messages = [message(0, 0, id="a"), message(1, 20), message(2, 0, id="a"), message(3, 0, id="b"),
                    message(0, 0, id="b", partition=1)]  # fmt: skip
        assert found(folded([account({0: 4, 1: 1})], messages)) == [(5, 3, 0, 2, 0)]

    def test_each_job_is_folded_up_to_its_own_offsets(self) -> None:
        messages = [message(n, 0) for n in range(6)]
        result = folded([account({0: 4}), account({0: 2}, job="archive"), account({0: 5}, 1, job="archive")], messages)
        assert found(result) == [(4, 4, 0, 0, 0)]
        assert found(result, "archive") == [(2, 2, 0, 0, 0), (3, 3, 0, 0, 0)]

    def test_partitions_may_come_mixed(self) -> None:
        one, two = [message(n, n) for n in range(4)], [message(n, 30 - n, partition=1) for n in range(4)]
        accounts = [account({0: 2, 1: 1}, 0), account({0: 4, 1: 4}, 1)]
        mixed = [m for pair in zip(one, two, strict=True) for m in pair]
        assert found(folded(accounts, mixed)) == found(folded(accounts, [*two, *one])) == [
            (3, 3, 0, 0, 0), (5, 5, 0, 0, 0),
        ]  # fmt: skip

    def test_a_count_that_differs_is_named_by_its_batch(self) -> None:
        accounts = [account({0: 2}, 0, consumed=2, accepted=2), account({0: 4}, 3, consumed=3, accepted=2, late=1)]
        result = folded(accounts, [message(n, 0) for n in range(4)])
        assert _problems(result.folds["metrics"], []) == [
            "batch 3: consumed 3 by its account, 2 in the topic",
        ]  # fmt: skip

    def test_what_the_topic_has_deleted_is_not_counted_and_its_windows_are_left_out(self) -> None:
        accounts = [account({0: 5}, 0, consumed=5, accepted=5), account({0: 7}, 1, consumed=2, accepted=2)]
        result = folded(accounts, [message(n, 0) for n in range(3, 7)])
        job = result.folds["metrics"].job
        lost = _deleted(job, {0: 3})
        assert lost == job.batches[:1]
        assert _problems(result.folds["metrics"], lost) == []
        assert _retained_from(result, {0: 3, 1: 0}) == ms_of(NOON + 10 * MINUTE)
        assert _retained_from(result, {0: 0}) is None
        assert _deleted(job, {0: 0}) == [], "without retention, missing messages are a difference"
        assert "from 2026" in _retained_note(ms_of(NOON), ms_of(NOON))

    def test_an_empty_topic_leaves_nothing_to_compare(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        retained_from = _retained_from(folded([account({0: 5})], []), {0: 5})
        assert retained_from is not None
        assert _retained_note(retained_from, now_ms).endswith("no window can be compared yet.")

    def test_a_topic_that_was_young_when_the_job_began_has_lost_nothing(self) -> None:
        result = folded([account({0: 5}, consumed=2, accepted=2)], [message(n, 0) for n in (3, 4)])
        assert _deleted(result.folds["metrics"].job, {0: 3}) == []


@pytest.fixture(scope="module")
def stream() -> tuple[list[Message], list[Event]]:
    """Messages in two partitions, and the events that a plain loop accepts."""
    generator = Generator(
        rate=50, seconds=200, seed=5, duplicates=0.05, late=0.05, bad=0.05, currencies={"EUR": 1, "USD": 2}, start=TEN
    )
    messages: list[Message] = []
    offsets = [0, 0]
    for sent in generator.messages():
        partition = sum(sent.key) % 2
        messages.append(Message(partition, offsets[partition], ms_of(TEN + 5 * MINUTE), sent.key, sent.value))
        offsets[partition] += 1
    accepted: dict[str, Event] = {}
    for one in messages:
        try:
            event = parse_event(one.value, arrival_ms=one.arrival_ms)
        except EventError:
            continue
        accepted.setdefault(event.event_id, event)
    return messages, list(accepted.values())


class TestFigures:
    @pytest.mark.parametrize("job, table", [("metrics", CATEGORY), ("engagement", SESSION), ("engagement", USER)])
    def test_all_are_those_of_the_plain_fold(
        self, stream: tuple[list[Message], list[Event]], job: str, table: FigureTable
    ) -> None:
        messages, events = stream
        result = folded([account({0: 10**6, 1: 10**6}, job=job, bounded=True)], messages)
        sums = result.folds[job].tables[table.name]
        for grain in table.every:
            plain = {
                (ms_of(row[grain.name]), *(row[d] for d in table.by)): tuple(row[f.name] for f in table.figures)
                for row in fold(events, table, grain)
            }
            rows = sums.rows(grain)
            assert rows.keys() == plain.keys()
            assert all(_same(table, rows[key], plain[key]) for key in plain)

    def test_many_small_chunks_are_one_sum(self, stream: tuple[list[Message], list[Event]]) -> None:
        messages, _ = stream
        accounts = [account({0: 10**6, 1: 10**6}, bounded=True)]
        whole = folded(accounts, messages).folds["metrics"].tables["category"].rows(GRAINS["hour"])
        limits = Limits(events=37, shapes=20, waiting=50)
        parts = folded(accounts, messages, limits=limits).folds["metrics"].tables["category"].rows(GRAINS["hour"])
        assert parts.keys() == whole.keys()
        assert all(_same(CATEGORY, parts[key], whole[key]) for key in whole)

    def test_the_archive_has_late_events_apart(self) -> None:
        messages = [message(0, 20), message(1, 10, id="late"), message(2, 10, id="late")]
        one = folded([account({0: 3}, job="archive")], messages).folds["archive"]
        assert one.late is not None
        hour = ms_of(TEN)
        key = (hour, "USD", "unknown", "view")
        assert one.tables["events"].rows(GRAINS["hour"]) == {key: (1, 0, Decimal(0), 0)}
        assert one.late.rows(GRAINS["hour"]) == {key: (2, 0, Decimal(0), 0)}
        assert one.ids.keys() == {(hour, False), (hour, True)}

    def test_only_the_range_is_summed_and_all_is_judged(self) -> None:
        messages = [message(n, n) for n in range(5)]
        start, end = ms_of(TEN + MINUTE), ms_of(TEN + 3 * MINUTE)
        result = folded([account({0: 5})], messages, since_ms=start, until_ms=end)
        rows = result.folds["metrics"].tables["category"].rows(GRAINS["minute"])
        assert sorted(key[0] for key in rows) == [start, start + 60_000]
        assert found(result) == [(5, 5, 0, 0, 0)]

    def test_only_windows_that_lie_within_are_given(self) -> None:
        sums = folded([account({0: 3})], [message(n, 30 * n) for n in range(3)]).folds["metrics"].tables["category"]
        until = ms_of(TEN + 61 * MINUTE)
        assert len(sums.rows(GRAINS["hour"], None, until)) == 1
        assert len(sums.rows(GRAINS["minute"], None, until)) == 3
        assert sums.rows(GRAINS["day"], None, until) == {}

    def test_nothing_has_no_rows(self) -> None:
        assert TableSums(CATEGORY).rows(GRAINS["day"]) == {}


class TestOtherJobs:
    """A fourth job is folded by its plan, as the shipped ones are."""

    OWN = FigureTable(
        "own",
        (
            Figure("events", "Purchase lines", count(), where="purchase"),
            REVENUE,
            Figure("top", "Top", sum_of("quantity")),
        ),
        ("brand", "currency"),
        (GRAINS["day"],),
    )

    def plan(self, **more: Any) -> Plan:
        given = {"job": "own", "topic": "retail.events", "unique_by": "event_id", "watermark_ms": 600_000,
                 "conditions": (), "output": "change", "rejects": "count",
                 "tables": (TablePlan.describing(self.OWN, "hbase"),)}  # fmt: skip
        return Plan(**given | more)

    def share(self, **more: Any) -> Share:
        return share_of(self.plan(**more), others=())

    def test_its_conditions_and_its_own_figures_beside_those_of_the_same_name(
        self, stream: tuple[list[Message], list[Event]]
    ) -> None:
        messages, events = stream
        share = self.share(conditions=("currency = 'EUR'", "event_type IN ('purchase', 'view')"))
        accounts = [account({0: 10**6, 1: 10**6}, job=job, bounded=True) for job in ("own", "metrics")]
        result = folded(accounts, messages, shares=SHARES | {"own": share})
        day = GRAINS["day"]
        for job, table, chosen in [
            ("own", self.OWN, [e for e in events if e.currency == "EUR" and e.event_type in ("purchase", "view")]),
            ("metrics", CATEGORY, events),
        ]:
            plain = {
                (ms_of(row["day"]), *(row[d] for d in table.by)): tuple(row[f.name] for f in table.figures)
                for row in fold(chosen, table, day)
            }
            rows = result.folds[job].tables[table.name].rows(day)
            assert plain and rows.keys() == plain.keys()
            assert all(_same(table, rows[key], plain[key]) for key in plain)
        assert found(result, "own") == found(result), "what does not meet the conditions counts as accepted"

    def test_an_archive_of_some_events(self) -> None:
        share = self.share(tables=(TablePlan("events", "hive"),), conditions=("product_id = 'p'", "brand <> 'a'"))
        one = folded([account({0: 3}, job="own")], [message(n, n) for n in range(3)], shares={"own": share}).folds[
            "own"
        ]
        assert one.tables["events"].rows(GRAINS["hour"]) == {}
        assert found(folded([account({0: 3}, job="own")], [message(n, n) for n in range(3)]), "own") == [
            (3, 3, 0, 0, 0)
        ]

    def test_one_that_takes_an_order_once_is_counted_so(self) -> None:
        messages = [message(n, n, order_id=order) for n, order in enumerate(["a", "a", None, "b"])]
        accounts = [account({0: 4}, job=job) for job in ("own", "metrics")]
        result = folded(accounts, messages, shares=SHARES | {"own": self.share(unique_by="order_id")})
        assert found(result, "own") == [(4, 3, 1, 0, 0)]
        assert found(result) == [(4, 4, 0, 0, 0)]

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"contract": 2}, "version 2 of the contract"),
            ({"unique_by": "order_id"}, "which only the job knows"),
            ({"conditions": ("brand RLIKE '^a'",)}, "RLIKE"),
        ],
    )
    def test_what_can_t_be_told_is_not_checked(self, changed: dict[str, Any], why: str) -> None:
        share = self.share(**changed)
        assert (share.tables, share.archive, share.compared) == ((), None, [])
        (check,) = share.unchecked
        assert (check.store, check.table, check.job, check.state) == ("hbase", "own_day", "own", "not checked")
        assert why in check.reason and not check.reason.endswith(".")

    @pytest.mark.parametrize(
        ("table", "why"),
        [
            (TablePlan("x", "nowhere", ("day",), (), (FigurePlan("events", "count", "1", ""),)), "'nowhere'"),
            (TablePlan("x_events", "nowhere"), "'nowhere'"),
            (TablePlan("x", "hbase", ("fortnight",), (), (FigurePlan("events", "count", "1", ""),)), "fortnight"),
            (TablePlan("x", "hbase", ("day",), (), (FigurePlan("f", "median", "price", ""),)), "median"),
            (TablePlan("x", "hbase", ("day",), (), (FigurePlan("f", "sum", "colour", ""),)), "colour"),
            (TablePlan("x", "hbase", ("day",), (), (FigurePlan("f", "first", "brand", ""),)), "folded here"),
            (TablePlan("x", "hbase", ("day",), (), (FigurePlan("f", "least", "brand", ""),)), "folded here"),
            (
                TablePlan("x", "hbase", ("day",), (), (FigurePlan("f", "money", "price * price * price", ""),)),
                "calculated exactly",
            ),
        ],
    )
    def test_a_table_that_can_t_be_folded_leaves_the_others_compared(self, table: TablePlan, why: str) -> None:
        share = self.share(tables=(table, TablePlan.describing(USER, "hbase")))
        assert share.tables == (("hbase", USER),)
        (check,) = share.unchecked
        assert check.table.startswith("x_") and why in check.reason

    def test_a_table_that_another_job_has_is_that_job_s(self) -> None:
        share = share_of(self.plan(), others=[("hbase", "own_day")])
        assert (share.tables, share.unchecked, share.taken) == ((), (), ("own_day",))

    def test_a_job_of_no_known_plan_is_not_checked(self) -> None:
        (check,) = without_plan("lost").unchecked
        assert (check.job, check.state) == ("lost", "not checked") and "plan" in check.reason
        assert found(folded([account({0: 2}, job="lost")], [message(n, n) for n in range(2)]), "lost") == [
            (2, 2, 0, 0, 0)
        ]


def _same(table: FigureTable, one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    from retailpulse_kernel.shop.sketching import sketches

    def shown(values: tuple[Any, ...]) -> list[Any]:
        return [
            sketches.estimate(sketches.union([value, value])) if figure.name == "active_users" else value
            for figure, value in zip(table.figures, values, strict=True)
        ]

    return shown(one) == shown(other)


class TestComparing:
    @pytest.fixture
    def store(self, stream: tuple[list[Message], list[Event]]) -> MemoryStore:
        store = MemoryStore()
        store.create(CATEGORY)
        for grain in CATEGORY.every:
            store.write(CATEGORY, grain, fold(stream[1], CATEGORY, grain), version=1)
        return store

    @pytest.fixture
    def one(self, stream: tuple[list[Message], list[Event]]) -> JobFold:
        return folded([account({0: 10**6, 1: 10**6}, bounded=True)], stream[0]).folds["metrics"]

    def checks(self, store: MemoryStore, one: JobFold, within: Range = ALL) -> list[TableCheck]:
        return compare_figures(store, one, [CATEGORY], within).checks

    def test_equal_tables_are_equal(self, store: MemoryStore, one: JobFold) -> None:
        checks = self.checks(store, one)
        assert [check.state for check in checks] == ["equal"] * 3
        assert all(check.rows for check in checks)

    def test_a_figure_that_differs_is_named_alone(self, store: MemoryStore, one: JobFold) -> None:
        grain = GRAINS["hour"]
        row = min(store.read(CATEGORY, grain), key=lambda r: (r["hour"], r["currency"], r["category"], r["event_type"]))
        store.write(CATEGORY, grain, [row | {"revenue": row["revenue"] + Decimal("0.0001")}], version=2)
        (check,) = (check for check in self.checks(store, one) if check.state != "equal")
        assert (check.table, check.differing) == ("category_hour", 1)
        assert check.first == Difference(
            {name: row[name] for name in CATEGORY.key_columns(grain)},
            {"revenue": row["revenue"] + Decimal("0.0001")},
            {"revenue": row["revenue"]},
        )

    def test_other_users_are_a_difference_though_all_counts_agree(self, store: MemoryStore, one: JobFold) -> None:
        from retailpulse_kernel.shop.sketching import sketches

        row = store.read(CATEGORY, GRAINS["day"])[0]
        users = sketches.union([row["active_users"], sketches.of(["nobody we know"])])
        store.write(CATEGORY, GRAINS["day"], [row | {"active_users": users}], version=2)
        (check,) = (check for check in self.checks(store, one) if check.state != "equal")
        assert check.first is not None
        assert check.first.stored is not None
        assert check.first.stored.keys() == {"active_users"}

    def test_a_key_that_is_one_sided_is_named(self, store: MemoryStore, one: JobFold) -> None:
        row = store.read(CATEGORY, GRAINS["minute"])[0]
        surplus = row | {"minute": TEN - timedelta(days=3)}
        store.write(CATEGORY, GRAINS["minute"], [surplus], version=1)
        (check,) = (check for check in self.checks(store, one) if check.state != "equal")
        assert check.first is not None
        assert check.first.folded is None
        assert "the fold of the topic nothing" in str(check.first)

    def test_windows_that_are_open_are_left_out(self, store: MemoryStore, one: JobFold) -> None:
        last = max(store.read(CATEGORY, GRAINS["minute"]), key=lambda row: row["minute"])
        store.write(CATEGORY, GRAINS["minute"], [last | {"events": 10**6}], version=2)
        closed = Range(None, ms_of(last["minute"]))
        assert {check.state for check in self.checks(store, one, closed)} <= {"equal", "nothing"}
        assert "differs" in {check.state for check in self.checks(store, one, ALL)}

    def test_before_any_window_is_closed_there_is_nothing_to_compare(self, store: MemoryStore, one: JobFold) -> None:
        assert [check.state for check in self.checks(store, one, Range(None, 0))] == ["nothing"] * 3


class TestResult:
    def result(self, **given: Any) -> Reconciliation:
        return Reconciliation(
            **{
                "namespace": "t", "since": None, "until": TEN, "messages": 1, "seconds": 0.5, "jobs": [], "tables": [],
                "totals": [],
            } | given
        )  # fmt: skip

    def test_equal(self) -> None:
        result = self.result(tables=[TableCheck("hive", "events", "archive", "not run")])
        assert result.ok and result.outcome == "equal"
        result.require_equal()

    def test_each_kind_of_difference_is_one(self) -> None:
        difference = Difference({"day": TEN, "currency": "EUR"}, {"revenue": Decimal("1.10")}, None)
        table = TableCheck("cassandra", "category_day", "metrics", "differs", 7, 2, difference)
        job = JobCheck("metrics", 1, 1, 0, None, {}, {}, ["accepted 2 by its accounts, 3 in the topic"])
        totals = Totals("EUR", {"revenue": {"topic": Decimal(1), "hive": Decimal(2)}}, equal=False)
        for given, says in [
            (
                {"tables": [table]},
                "2 of 7 keys: day 2026-01-01T10:00+00:00, currency 'EUR': the store has revenue",
            ),
            ({"jobs": [job]}, "metrics: accepted 2"),
            ({"totals": [totals]}, "EUR"),
        ]:
            result = self.result(**given)
            assert not result.ok
            with pytest.raises(CheckFailed, match="reconcile --namespace t") as caught:
                result.require_equal()
            assert says in str(caught.value)
            written = json.loads(json.dumps(result.to_json()))
            assert written["ok"] is False
            assert written["until"] == "2026-01-01T10:00:00Z"

    def test_what_is_not_checked_is_not_equal(self) -> None:
        unchecked = TableCheck("sqlite", "own_day", "own", "not checked", reason="the store 'sqlite' is not known here")
        result = self.result(tables=[TableCheck("hive", "events", "archive", "equal", 5), unchecked])
        assert (result.outcome, result.ok, result.differences) == ("not checked", False, [])
        assert result.unchecked == ["sqlite own_day of the job own: the store 'sqlite' is not known here."]
        with pytest.raises(CheckFailed, match="Not checked: sqlite own_day"):
            result.require_equal()
        assert result.to_json()["outcome"] == "not checked"
        problem = JobCheck("own", 1, 1, 0, None, {}, {}, ["late 1 by its accounts, 2 in the topic"])
        assert self.result(tables=[unchecked], jobs=[problem]).outcome == "differs"

    def test_json_has_money_as_text(self) -> None:
        totals = Totals("EUR", {"revenue": {"topic": Decimal("1.10")}}, equal=True)
        assert self.result(totals=[totals]).to_json()["totals"][0]["figures"]["revenue"]["topic"] == "1.10"


def test_times_go_there_and_back() -> None:
    assert moment_at(ms_of(TEN + timedelta(milliseconds=7))) == TEN + timedelta(milliseconds=7)


def test_the_archive_is_compared_by_figures_that_it_can_give() -> None:
    assert [figure.name for figure in ARCHIVE.figures] == ["events", "units", "revenue", "orders"]
