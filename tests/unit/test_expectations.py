"""Expectations without Spark: which events are refused, what is counted and told, and what a change of one means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.reconcile.tables import share_of
from retailpulse_kernel.reconcile.topic import TopicFold
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.measuring.conditions import condition_of
from retailpulse_kernel.stores.kafka.store import Message
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.batches import COUNTS, newest_epochs
from retailpulse_kernel.streaming.intake.given import given_message
from retailpulse_kernel.streaming.intake.judging import Chunk, Intake, Stretch
from retailpulse_kernel.streaming.intake.rejects import RejectTopics
from retailpulse_kernel.streaming.intake.source import SourceConfig
from retailpulse_kernel.streaming.plan.data import ExpectationPlan, Plan, TablePlan
from retailpulse_kernel.streaming.run.changes import Effect, compare
from retailpulse_kernel.streaming.run.report import Report

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = (("price is positive", "price > 0"), ("few", "quantity <= 5"))
#: By price and quantity: one that is well, two that violate a rule each, one that violates both, one without a price.
GIVEN: Sequence[dict[str, Any]] = (
    {"price": "1.00"}, {"price": "0"}, {"price": "2", "quantity": 6}, {"price": "0", "quantity": 6}, {},
)  # fmt: skip


class Kept(RejectTopics):
    """Rejects that stay here."""

    def __init__(self) -> None:
        super().__init__((), bad="bad", late="late")
        object.__setattr__(self, "records", [])

    def send(self, records: Any) -> None:
        self.records.extend(records)  # type: ignore[attr-defined]


def messages(given: Sequence[dict[str, Any]] = GIVEN) -> list[bytes]:
    return [given_message(number, fields, shipped()).value for number, fields in enumerate(given, 1)]


def rows(intake: Intake, values: Sequence[bytes | None], **stretch: Any) -> list[dict[str, Any]]:
    chunk = Chunk(list(values), list(range(len(values))), [ms_of(NOON)] * len(values))
    return [row for batch in intake.rows([chunk], Stretch(0, **stretch)) for row in batch.to_pylist()]


class TestIntake:
    def test_an_event_that_violates_an_expectation_is_bad_and_no_value_violates_none(self) -> None:
        *taken, counts = rows(Intake(("event_id",), "t", refuses=RULES), [*messages(), b"{}"])
        assert [row["event_id"] for row in taken] == ["e1", "e5"]
        assert (counts["n_accepted"], counts["n_late"], counts["n_bad"]) == (2, 0, 4)
        assert (counts["n_refused_0"], counts["n_refused_1"]) == (2, 1), "the first that it violates"

    def test_a_refused_event_moves_the_clock_and_is_bad_where_it_is_late_too(self) -> None:
        given = [{"event_time": "2026-01-01T11:59:00Z", "price": "0"}, {"event_time": "2026-01-01T11:00:00Z"},
                 {"event_time": "2026-01-01T11:00:00Z", "price": "0"}]  # fmt: skip
        *_, counts = rows(Intake(("event_id",), "t", delay_ms=60_000, refuses=RULES), messages(given))
        assert (counts["n_accepted"], counts["n_late"], counts["n_bad"]) == (0, 1, 2)

    @pytest.mark.parametrize(("condition", "bad"), [("1 > 2", 5), ("1 < 2", 0), ("NULL", 0)])
    def test_a_condition_may_name_no_column(self, condition: str, bad: int) -> None:
        *_, counts = rows(Intake((), "t", refuses=(("constant", condition),)), messages())
        assert counts["n_bad"] == bad

    def test_it_leaves_its_id_free(self) -> None:
        given = [{"event_id": "a", "price": "0"}, {"event_id": "a", "price": "1"}]
        *taken, _ = rows(Intake(("price",), "t", refuses=RULES), messages(given))
        assert [str(row["price"]) for row in taken] == ["1.0000"]

    @pytest.mark.parametrize("only_refused", [False, True])
    def test_it_goes_to_the_dead_letters_under_its_place(self, only_refused: bool) -> None:
        rejects = Kept()
        intake = Intake(("event_id",), "t", rejects=rejects, refuses=RULES, only_refused=only_refused)
        rows(intake, [*messages(), b"{}"])
        found = [(topic, key, json.loads(record)) for topic, key, record in rejects.records]  # type: ignore[attr-defined]
        refused = [(key, record["reason"]) for topic, key, record in found if topic == "bad"]
        assert refused[:3] == [
            ("t-0-1", "expectation:price is positive"),
            ("t-0-2", "expectation:few"),
            ("t-0-3", "expectation:price is positive"),
        ]
        assert len(refused) == (3 if only_refused else 4)
        assert found[0][2]["detail"] == "price > 0" and json.loads(found[0][2]["value"])["event_id"] == "e2"

    def test_workers_are_told(self) -> None:
        config = SourceConfig({}, Intake((), "t", refuses=RULES, only_refused=True))
        assert SourceConfig.load(config.dump()) == config
        assert "refuses" not in SourceConfig({}, Intake((), "t")).dump()


def test_a_condition_says_which_columns_it_names() -> None:
    assert condition_of("PRICE > 0 and quantity in (1, 2) or price < 5").columns == ("price", "quantity")
    with pytest.raises(UsageError, match="it has sqrt"):
        condition_of("sqrt(price) > 1")


def expected(otherwise: str, condition: str = "price > 0", name: str = "positive") -> ExpectationPlan:
    return ExpectationPlan("retail.events", name, condition, otherwise)


PLAN = Plan(
    "own", "retail.events", "event_id", 600_000, (), "change", "publish", (TablePlan("events", "hive"),),
    expectations=(expected("reject"), expected("count", name="watched")),
)  # fmt: skip


class TestPlan:
    @pytest.mark.parametrize(
        ("expectations", "effect", "words"),
        [
            ((expected("reject", "price > 1"), expected("count", name="watched")), Effect.EPOCH, "from (price > 0) to"),
            ((expected("count", name="watched"),), Effect.EPOCH, "from (price > 0) to all"),
            ((expected("count"), expected("count", name="watched")), Effect.EPOCH, "to all"),
            ((expected("reject"), expected("stop", name="watched")), Effect.RESUME, "watched holds as it is now"),
            ((expected("reject"),), Effect.RESUME, "watched holds as it is now"),
        ],
    )
    def test_what_is_refused_is_the_meaning_and_what_is_counted_is_not(
        self, expectations: tuple[ExpectationPlan, ...], effect: Effect, words: str
    ) -> None:
        found = compare(PLAN, replace(PLAN, expectations=expectations))
        assert max(difference.effect for difference in found) is effect
        assert words in "; ".join(difference.reason for difference in found)

    def test_the_name_of_a_refusal_is_not_the_meaning(self) -> None:
        renamed = (expected("reject", name="above zero"), expected("count", name="watched"))
        assert compare(PLAN, replace(PLAN, expectations=renamed)) == []

    def test_it_is_read_as_it_was_written_and_plans_of_before_expect_nothing(self) -> None:
        written = msgspec.json.encode(PLAN)
        assert msgspec.json.decode(written, type=Plan) == PLAN
        before = json.loads(written)
        del before["expectations"]
        assert msgspec.convert(before, Plan).expectations == ()


def account(**counts: Any) -> Account:
    none = dict.fromkeys(
        ("consumed", "accepted", "duplicate", "late", "bad", "rows", "watermark_ms", "started_ms", "finished_ms"), 0
    )
    offsets = {"n.retail.events": {"0": 100}}
    return Account(**{"job": "own", "epoch": 1, "batch": 0, "offsets": offsets, **none, **counts})


def test_the_fold_of_a_topic_refuses_what_the_intake_refuses() -> None:
    given = [*GIVEN, {"event_id": "e2", "price": "3"}, {"event_id": "e1", "price": "1"}]
    values = messages(given)
    *_, counts = rows(Intake((), "t", refuses=(("positive", "price > 0"),)), values)
    share = share_of(PLAN, others=())
    jobs = newest_epochs([account(bounded=True)], "n.retail.events")
    fold = TopicFold(jobs.values(), {"own": share})
    fold.run(Message(0, offset, ms_of(NOON), b"u1", value) for offset, value in enumerate(values))
    (batch,) = fold.folds["own"].job.batches
    found = dict(zip(COUNTS, (batch.found[name] for name in COUNTS), strict=True))
    assert found == {"consumed": 7, "accepted": 4, "duplicate": 1, "late": 0, "bad": 2}
    assert (counts["n_accepted"], counts["n_bad"]) == (found["accepted"] + found["duplicate"], found["bad"])


def test_the_report_counts_each_expectation_over_all_batches_and_outputs() -> None:
    report = Report("own", "n", 1)
    report.add(account(expectations={"positive": [2, 10]}))
    report.add(account(expectations={"positive": [1, 10], "few": [0, 7]}, output="rows", further=True))
    assert "expected  positive: 17 of 20\nexpected  few: 7 of 7\n" in f"{report}\n"
    assert report.to_json()["expectations"] == {"positive": [3, 20], "few": [0, 7]}
