"""Made-up events: the same for the same seed, shaped like the real ones, and true to their own truth."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from retailpulse_kernel.feed.adapters import read
from retailpulse_kernel.feed.bad_messages import BAD_REASONS
from retailpulse_kernel.feed.generator import LATE_AFTER, OWN_LATE_AGE, Generator, Message, intensity
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.events import REASONS, Event, EventError, parse_event

SAMPLE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "rees46_2019-10-01.csv"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
KNOBS: dict[str, Any] = {"rate": 200, "seconds": 120, "seed": 3, "start": START}
DIRTY = KNOBS | {"duplicates": 0.03, "late": 0.02, "bad": 0.05, "currencies": {"USD": 0.7, "EUR": 0.3}}


@pytest.fixture(scope="module")
def dirty() -> tuple[Generator, list[Message]]:
    generator = Generator(**DIRTY)
    return generator, list(generator.messages())


@pytest.fixture(scope="module")
def shop() -> list[Event]:
    """A bigger, clean stream."""
    return [parse_event(message.value) for message in Generator(rate=100, seconds=600, start=START).messages()]


def parse(message: Message) -> Event | str:
    """The event, or the reason why it is none; it arrives when the stream says."""
    arrival = START + timedelta(seconds=message.at)
    try:
        return parse_event(message.value, arrival_ms=round(arrival.timestamp() * 1000))
    except EventError as error:
        return error.reason


def test_the_same_seed_gives_the_same_bytes(dirty: tuple[Generator, list[Message]]) -> None:
    _, messages = dirty
    assert list(Generator(**DIRTY).messages()) == messages
    assert list(Generator(**DIRTY | {"seed": 4}).messages()) != messages


def test_context_is_added_by_user_and_changes_nothing_else(dirty: tuple[Generator, list[Message]]) -> None:
    _, messages = dirty
    added = list(Generator(**DIRTY, context=True).messages())
    assert [(message.key, message.kind, message.at) for message in added] == [m[:1] + m[2:] for m in messages]
    contexts = defaultdict(set)
    for message, plain in zip(added, messages, strict=True):
        if message.kind != "bad":
            fields = orjson.loads(message.value)
            contexts[message.key].add(orjson.dumps(fields.pop("context")))
            assert fields == orjson.loads(plain.value)
    assert {len(of_user) for of_user in contexts.values()} == {1}
    found = [orjson.loads(one) for of_user in contexts.values() for one in of_user]
    assert {context["device"] for context in found} == {"phone", "desktop", "tablet"}
    assert 0.4 < statistics.mean("campaign" in context for context in found) < 0.6


@pytest.mark.parametrize(("rate", "seconds"), [(0.5, 20), (10, 2.5), (1000, 1), (7, 3), (100, 61)])
def test_the_number_of_messages_is_exact(rate: float, seconds: float) -> None:
    messages = list(Generator(rate=rate, seconds=seconds, start=START).messages())
    assert len(messages) == round(rate * seconds)
    assert [message.at for message in messages] == sorted(message.at for message in messages)
    assert all(0 <= message.at <= seconds for message in messages)


def test_a_stream_without_end_goes_on() -> None:
    messages = Generator(rate=1000, seconds=None, start=START).messages()
    last = [next(messages) for _ in range(20_000)][-1]
    assert 10 < last.at < 40


def test_the_truth_is_what_an_independent_fold_finds(dirty: tuple[Generator, list[Message]]) -> None:
    generator, messages = dirty
    kinds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    seen: set[str] = set()
    revenue: defaultdict[tuple[bool, str, str], Decimal] = defaultdict(Decimal)
    orders: Counter[tuple[bool, str]] = Counter()
    types: Counter[str] = Counter()
    users: set[str] = set()
    for message in messages:
        event = parse(message)
        if isinstance(event, str):
            kinds["bad"] += 1
            reasons[event] += 1
            continue
        age = START + timedelta(seconds=message.at) - event.event_time
        kind = "duplicate" if event.event_id in seen else "late" if age > timedelta(minutes=30) else "event"
        seen.add(event.event_id)
        kinds[kind] += 1
        assert kind == message.kind
        assert message.key == event.user_id.encode()
        if kind == "duplicate":
            continue
        sign = {"purchase": 1, "refund": -1}.get(event.event_type, 0)
        late = kind == "late"
        if sign:
            assert event.price is not None
            revenue[late, event.currency, event.category] += sign * event.price * event.quantity
            orders[late, event.currency] += event.event_type == "purchase" and event.order_line == 1
        if not late:
            types[event.event_type] += 1
            users.add(event.user_id)
    truth = generator.truth.as_dict()
    assert kinds == {
        "event": truth["accepted"],
        "duplicate": truth["duplicates"],
        "late": truth["late"],
        "bad": truth["bad"],
    }
    assert kinds.total() == truth["sent"] == len(messages)
    assert dict(reasons) == truth["bad_by_reason"]
    on_time, all_of_it = truth["figures"], truth["figures_with_late"]
    assert on_time["events_by_type"] == types
    assert on_time["active_users"] == len(users)
    assert set(on_time["currencies"]) == {"USD", "EUR"}
    for currency, figures in on_time["currencies"].items():
        mine = {category: value for (late, c, category), value in revenue.items() if c == currency and not late}
        assert {category: Decimal(text) for category, text in figures["revenue_by_category"].items()} == mine
        assert Decimal(figures["revenue"]) == sum(mine.values())
        assert figures["orders"] == orders[False, currency]
        assert Decimal(figures["average_order_value"]) == round(sum(mine.values()) / orders[False, currency], 4)
        both = sum(value for (_, c, _), value in revenue.items() if c == currency)
        assert Decimal(all_of_it["currencies"][currency]["revenue"]) == both
        assert all_of_it["currencies"][currency]["orders"] == orders[False, currency] + orders[True, currency]


def test_the_knobs_are_shares_of_all_messages(dirty: tuple[Generator, list[Message]]) -> None:
    _, messages = dirty
    kinds = Counter(message.kind for message in messages)
    assert kinds["duplicate"] / len(messages) == pytest.approx(0.03, abs=0.01)
    assert kinds["bad"] / len(messages) == pytest.approx(0.05, abs=0.01)
    late_enough = sum(message.at > LATE_AFTER.total_seconds() for message in messages)
    assert kinds["late"] / late_enough == pytest.approx(0.02, abs=0.01)


def test_a_clean_stream_is_clean() -> None:
    generator = Generator(**KNOBS)
    assert {message.kind for message in generator.messages()} == {"event"}
    assert generator.truth.accepted == generator.truth.sent == 24_000


def test_every_kind_of_bad_message_is_bad_for_its_reason() -> None:
    generator = Generator(rate=1000, seconds=2, start=START, bad=0.9)
    reasons = Counter(reason for message in generator.messages() if isinstance(reason := parse(message), str))
    assert reasons == generator.truth.bad
    assert set(reasons) == set(BAD_REASONS)
    assert set(BAD_REASONS) <= REASONS


def test_a_duplicate_follows_its_original_soon(dirty: tuple[Generator, list[Message]]) -> None:
    _, messages = dirty
    first: dict[bytes, float] = {}
    for message in messages:
        if message.kind == "duplicate":
            assert 0 <= message.at - first[message.value] < 60
        else:
            first[message.value] = message.at


def test_late_events_are_late_for_any_partition(dirty: tuple[Generator, list[Message]]) -> None:
    _, messages = dirty
    late = [message for message in messages if message.kind == "late"]
    assert late and min(message.at for message in late) >= LATE_AFTER.total_seconds()
    for message in late:
        event = parse(message)
        assert isinstance(event, Event)
        age = START + timedelta(seconds=message.at) - event.event_time
        assert timedelta(hours=1) <= age <= timedelta(hours=3)


def test_late_events_within_the_streams_time_are_older_than_the_watermark_and_not_before_the_start() -> None:
    generator = Generator(rate=20, seconds=3 * 3_600, seed=7, start=START, late=0.02, late_within=True)
    late = [message for message in generator.messages() if message.kind == "late"]
    times = []
    for message in late:
        event = parse(message)
        assert isinstance(event, Event)
        assert event.event_time >= START
        assert OWN_LATE_AGE <= START + timedelta(seconds=message.at) - event.event_time <= timedelta(hours=3)
        times.append(event.event_time - START)
    assert min(message.at for message in late) < OWN_LATE_AGE.total_seconds() + 120
    assert min(times) < timedelta(minutes=2) and max(times) > timedelta(hours=2)
    truth = generator.truth
    assert truth.late == len(late) and truth.with_late.events_by_type.total() == truth.accepted + truth.late


def test_orders_are_complete(shop: list[Event]) -> None:
    lines: defaultdict[str, list[int]] = defaultdict(list)
    for event in shop:
        if event.event_type == "purchase":
            assert event.order_id and event.order_line
            lines[event.order_id].append(event.order_line)
    # Lines follow each other at once, but the stream may end between two.
    assert all(found == list(range(1, len(found) + 1)) for found in lines.values())
    assert max(len(found) for found in lines.values()) >= 2
    refunds = [event for event in shop if event.event_type == "refund"]
    bought = {(event.order_id, event.order_line, event.price) for event in shop if event.event_type == "purchase"}
    sold_here = [refund for refund in refunds if refund.order_id in lines]
    assert sold_here and all((e.order_id, e.order_line, e.price) in bought for e in sold_here)


def test_sessions_belong_to_one_user_and_pay_in_one_currency(dirty: tuple[Generator, list[Message]]) -> None:
    _, messages = dirty
    events = [event for message in messages if isinstance(event := parse(message), Event)]
    sessions = {(event.session_id, event.user_id) for event in events}
    assert len(sessions) == len({session for session, _ in sessions})
    users = {(event.user_id, event.currency) for event in events}
    assert len(users) == len({user for user, _ in users})


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the real sample is not part of the project")
def test_the_shape_is_that_of_the_real_sample(shop: list[Event]) -> None:
    real = [event for event in read(SAMPLE, "rees46") if isinstance(event, Event)]

    def shares(events: list[Event], field: str) -> dict[str, float]:
        counts = Counter(getattr(event, field) for event in events)
        return {name: count / len(events) for name, count in counts.items()}

    def median_price(events: list[Event], category: str) -> float:
        return statistics.median(float(e.price or 0) for e in events if e.category == category)

    types = shares(shop, "event_type"), shares(real, "event_type")
    assert types[0]["purchase"] == pytest.approx(types[1]["purchase"], rel=0.35)
    assert types[0]["view"] + types[0]["click"] == pytest.approx(types[1]["view"], abs=0.01)
    assert types[0]["add_to_cart"] == pytest.approx(types[1]["add_to_cart"], rel=0.35)
    categories = shares(shop, "category"), shares(real, "category")
    for category in ("unknown", "electronics.smartphone", "computers.notebook", "electronics.clocks"):
        assert categories[0][category] == pytest.approx(categories[1][category], rel=0.3)
        # The prices of a made-up shop's best sellers are its own; they stay in the same region.
        assert 1 / 3 < median_price(shop, category) / median_price(real, category) < 3
    top = [sum(count for _, count in Counter(e.product_id for e in events).most_common(20)) for events in (shop, real)]
    assert top[0] / len(shop) == pytest.approx(top[1] / len(real), rel=0.6)
    unbranded = [sum(event.brand is None for event in events) / len(events) for events in (shop, real)]
    assert unbranded[0] == pytest.approx(unbranded[1], abs=0.07)


def test_a_sessions_length_and_pauses(shop: list[Event]) -> None:
    times: defaultdict[str, list[datetime]] = defaultdict(list)
    for event in shop:
        times[event.session_id].append(event.event_time)
    # Sessions that began before the stream or go on after it are cut, so look at those of its middle.
    whole = [
        found for found in times.values() if START + timedelta(minutes=2) < found[0] < START + timedelta(minutes=5)
    ]
    assert statistics.mean(map(len, whole)) == pytest.approx(3.0, rel=0.15)
    assert sum(len(found) == 1 for found in whole) / len(whole) == pytest.approx(0.44, abs=0.08)
    pauses = [(b - a).total_seconds() for found in whole for a, b in pairwise(found)]
    assert statistics.median(pauses) == pytest.approx(31, rel=0.25)


def test_the_day_has_peaks_and_its_mean_is_one() -> None:
    day = [intensity(0, START.timestamp() + second) for second in range(0, 86_400, 7)]
    assert statistics.mean(day) == pytest.approx(1.0, abs=0.05)
    midnight = START.replace(hour=0).timestamp()
    night, evening = (
        statistics.mean(intensity(0, midnight + hour * 3600 + s) for s in range(0, 3600, 5)) for hour in (4, 20)
    )
    assert evening > 2.5 * night
    minutes = [intensity(0, midnight + 14 * 3600 + s) for s in range(600)]
    assert max(minutes) > 1.4 * min(minutes), "ten minutes hold a rush"


@pytest.mark.parametrize(
    "knobs",
    [
        {"rate": 0},
        {"rate": float("nan")},
        {"seconds": -1},
        {"users": 0},
        {"bad": 1.5},
        {"late": -0.1},
        {"bad": 0.5, "late": 0.5},
        {"start": datetime(2026, 1, 1)},
    ],
)
def test_knobs_that_can_not_be(knobs: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Generator(**knobs)
