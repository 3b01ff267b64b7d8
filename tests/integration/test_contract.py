"""Fields of a shop's own, from its messages to figures, archive and tail; compared with a plain fold."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import functions as F

from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.contract.loading import load_contract
from retailpulse_kernel.shop.figures import EVENTS, REVENUE, Figure, average_of, least_of, sum_of
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.run.job import Job, RunMode
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import produce, totals

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SHOP = """
[event_types]
bought = "purchase"
wishlist = "other"

[fields.user_id]
path = "user.id"

[fields.device]
path = "context.device"
default = "unknown"
dimension = true

[fields.campaign]
path = "context.campaign.name"
default = "none"
dimension = true

[fields.discount]
path = "items[0].discount"
type = "decimal(10,4)"
min = 0

[fields.points]
type = "int"

[fields.seen_at]
type = "timestamp"

[fields.coupons]
type = "list<string>"

[fields.fresh]
path = "more.fresh"
type = "bool"

[fields.weight]
path = "more.weight"
type = "double"

[fields.born]
path = "more.born"
type = "date"

[fields.serial]
path = "more.serial"
type = "long"

[fields.costs]
path = "more.costs"
type = "list<decimal(9,2)>"
"""
DISCOUNTS = Figure("discounts", "Discounts", sum_of("discount * quantity", money=True), where="purchase")
POINTS = Figure("points_given", "Points", sum_of("points"))
MESSAGES = 3_000
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)


def messages() -> list[dict[str, Any]]:
    """A stream in which each kind of value, and of absence, comes."""
    chance, found = random.Random(7), []
    for number in range(MESSAGES):
        word = chance.choice(["view", "bought", "purchase", "wishlist"])
        message: dict[str, Any] = {
            "event_id": f"e{number}", "event_type": word, "session_id": "s", "product_id": f"p{number % 9}",
            "event_time": (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z"),
            "user": {"id": f"u{number % 40}"}, "price": f"{chance.randrange(10**6) / 100:.2f}",
            "quantity": chance.randint(1, 5), "currency": chance.choice(["USD", "EUR"]),
        }  # fmt: skip
        if word in ("bought", "purchase"):
            message |= {"order_id": f"o{number}", "order_line": 1}
        if chance.random() < 0.8:
            campaign = chance.choice([None, {"name": "spring"}, {"name": "summer"}, {"name": None}])
            message["context"] = {"device": chance.choice(["phone", "desktop", None]), "campaign": campaign, "os": "x"}
        if chance.random() < 0.7:
            discount = chance.choice([f"{chance.randrange(10**6)}.{chance.randrange(10**4):04}", chance.randrange(99)])
            message["items"] = [{"discount": discount, "sku": "s"}, {"discount": "not looked at"}]
        if chance.random() < 0.5:
            message |= {"points": chance.randrange(1000), "coupons": ["a", f"c{number % 3}"][: chance.randint(0, 2)]}
            message["seen_at"] = f"2026-01-31T10:00:00.{number:06}+02:00"
        if chance.random() < 0.5:
            message["more"] = {"fresh": number % 2 == 0, "weight": number / 8, "born": "1999-12-31",
                               "serial": 2**40 + number, "costs": ["1.50", number]}  # fmt: skip
        if number % 50 == 7:
            message["points"] = "many"
        if number % 50 == 9:
            message["context"] = "phone"
        found.append(message)
    return found


def is_bad(message: dict[str, Any]) -> bool:
    return message.get("points") == "many" or message.get("context") == "phone"


def folded() -> dict[tuple[Any, ...], dict[str, Any]]:
    """What the table should hold, by nothing but arithmetic."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(
        lambda: {"events": 0, "revenue": Decimal(0), "discounts": Decimal(0), "points_given": 0}
    )
    for message in messages():
        if is_bad(message):
            continue
        context = message.get("context") or {}
        moment = datetime.fromisoformat(message["event_time"])
        device = context.get("device") or "unknown"
        campaign = (context.get("campaign") or {}).get("name") or "none"
        row = rows[moment.replace(minute=0, second=0), device, campaign, message["currency"]]
        row["events"] += 1
        row["points_given"] += message.get("points", 0)
        if message["event_type"] in ("bought", "purchase"):
            row["revenue"] += Decimal(message["price"]) * message["quantity"]
            if "items" in message:
                row["discounts"] += Decimal(str(message["items"][0]["discount"])) * message["quantity"]
    return rows


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A namespace of a shop with a contract, in which a job of figures and one of the archive have run."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.toml").write_text(SHOP)
    # The local servers without a Connect server: that of a test's stack may run older code.
    (folder / "local.toml").write_text('contract = "shop.toml"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_PROFILE", str(folder / "local.toml"))
        made = Settings.load(namespace="t_contract")
        drop(made)
        ensure_topics(made)
        produce(made, [(message["user"]["id"], json.dumps(message).encode()) for message in messages()])
        rp = Workbench(namespace="t_contract")
        devices(rp).run()
        archive(rp)
        yield made
        drop(made)


def devices(rp: Workbench, run: RunMode = "available_now") -> Job:
    job = rp.job("devices", run=run)
    figures = job.events().figures(
        EVENTS, REVENUE, DISCOUNTS, POINTS, by=["device", "campaign", "currency"], every=["1 hour"], table="devices"
    )
    job.write(figures, to=rp.cassandra)
    return job


def archive(rp: Workbench) -> None:
    job = rp.job("keep")
    job.write(job.events(rejects="count"), to=rp.hive)
    job.run()


def discounted(rp: Workbench) -> Job:
    """A job that writes a DataFrame of own fields: purchases and discounts by device and currency."""
    job = rp.job("discounted")
    bought = job.events(rejects="count").df.where("event_type = 'purchase'")
    sums = bought.groupBy("device", "currency").agg(F.count("*").alias("lines"), F.sum("discount").alias("discount"))
    job.write(sums, to=rp.cassandra, table="discounted", key=["device", "currency"])
    return job


def discounts(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], tuple[int, Decimal]]:
    """What the job's table should hold of some messages, by nothing but arithmetic."""
    found: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for message in rows:
        if message["event_type"] in ("bought", "purchase") and not is_bad(message):
            key = (message.get("context") or {}).get("device") or "unknown", message["currency"]
            lines, discount = found.get(key, (0, Decimal(0)))
            more = Decimal(str(message["items"][0]["discount"])) if "items" in message else Decimal(0)
            found[key] = lines + 1, discount + more
    return found


def stored_discounts(job: Job) -> dict[tuple[str, str], tuple[int, Decimal]]:
    (output,) = job.writes.rows
    rows = output.store.read_rows(output.table).to_pylist()
    return {(row["device"], row["currency"]): (row["lines"], row["discount"]) for row in rows}


def test_figures_by_own_dimensions_and_of_own_fields_equal_a_plain_fold(settings: Settings) -> None:
    rp = Workbench(namespace=settings.namespace_name)
    assert_devices_equal_a_plain_fold(rp)
    devices(rp, run="backfill").run()
    assert_devices_equal_a_plain_fold(rp)


def assert_devices_equal_a_plain_fold(rp: Workbench) -> None:
    frame = rp.cassandra.query("select * from devices_hour", limit=None)
    keys = zip(frame["hour"], frame["device"], frame["campaign"], frame["currency"], strict=True)
    names = ("events", "revenue", "discounts", "points_given")
    values = (dict(zip(names, row, strict=True)) for row in zip(*(frame[name] for name in names), strict=True))
    found = {(key[0].to_pydatetime(), *key[1:]): row for key, row in zip(keys, values, strict=True)}
    assert found == folded()
    assert len(found) > 12


def test_a_wrong_value_is_a_dead_letter_with_its_reason(settings: Settings) -> None:
    rp = Workbench(namespace=settings.namespace_name)
    reasons = rp.kafka.consume("dlq", limit=None)["reason"].value_counts().to_dict()
    bad = [message for message in messages() if is_bad(message)]
    assert reasons == {
        "type:points": sum(message.get("points") == "many" for message in bad),
        "type:device": sum(message.get("points") != "many" for message in bad),
    }
    counts = totals(read_accounts(settings), "devices")
    assert (counts["bad"], counts["accepted"]) == (len(bad), MESSAGES - len(bad))


def test_the_archive_has_the_own_columns_exactly(settings: Settings) -> None:
    rp = Workbench(namespace=settings.namespace_name)
    good = {message["event_id"]: message for message in messages() if not is_bad(message)}
    frame = rp.hive.events()
    assert set(frame["event_id"]) == set(good)
    for row in frame.to_dict("records"):
        message = good[row["event_id"]]
        items = message.get("items")
        assert row["user_id"] == message["user"]["id"]
        assert row["device"] == ((message.get("context") or {}).get("device") or "unknown")
        assert row["discount"] == (None if items is None else Decimal(str(items[0]["discount"])))
        if "seen_at" in message:
            assert row["seen_at"] == datetime.fromisoformat(message["seen_at"])
            assert list(row["coupons"]) == message["coupons"]
        if "more" in message:
            more = message["more"]
            assert (row["fresh"], row["weight"], row["serial"]) == (more["fresh"], more["weight"], more["serial"])
            assert (row["born"].isoformat(), list(row["costs"])) == ("1999-12-31", [*map(Decimal, more["costs"])])
    by_hive = rp.hive.query("select sum(discount) d, count(coupons) c, sum(points) p from events")
    assert by_hive["d"][0] == sum(row for row in frame["discount"] if row is not None)
    assert by_hive["c"][0] == sum("coupons" in message for message in good.values())
    assert by_hive["p"][0] == sum(message.get("points", 0) for message in good.values())


def test_tail_and_samples_show_own_fields(settings: Settings) -> None:
    rp = Workbench(namespace=settings.namespace_name)
    tail = rp.kafka.tail(last="1h", limit=None)
    given = [message["context"]["device"] for message in messages() if isinstance(message.get("context"), dict)]
    assert sorted(tail["device"].dropna()) == sorted(device for device in given if device)
    assert set(tail["user_id"]) == {f"u{number}" for number in range(40)}
    events = rp.job("look").events()
    sample = {row["event_id"]: row for row in events.sample(None).toArrow().to_pylist()}
    assert {row["device"] for row in sample.values()} == {"phone", "desktop", "unknown"}
    assert {row["event_type"] for row in sample.values()} == {"view", "purchase", "wishlist"}
    given = events.figures(EVENTS, DISCOUNTS, by=["device", "currency"], every=["1 hour"], table="looked").of(
        [{"device": "watch", "event_type": "purchase", "price": 1, "discount": "0.05", "quantity": 2}]
    )
    assert [(row["device"], row["discounts"]) for row in given] == [("watch", Decimal("0.1000"))]
    taken = Figure("taken", "Taken", sum_of("price * discount"), where="purchase - refund", unit="currency")
    lowest = Figure("lowest", "Lowest", least_of("discount"))
    weekly = events.figures(lowest, taken, average_of("discount"), by=["currency"], every=["1 week"], table="weekly")
    (row,) = weekly.of(
        [
            # 0.49994999, rounded once; by way of 0.4999500 it would be 0.5000
            {"event_type": "purchase", "price": "1.0001", "discount": "0.4999", "event_time": "2026-01-01T00:00:00Z"},
            {"event_type": "view", "discount": "0.5", "event_time": "2026-01-04T23:59:59Z"},
            {"event_type": "view", "event_time": "2025-12-29T00:00:00Z"},
        ]
    )
    assert (row["week"].date().isoformat(), row["lowest"], row["taken"]) == (
        "2025-12-29", Decimal("0.4999"), Decimal("0.4999"),
    )  # fmt: skip
    assert (row["average_discount_sum"], row["average_discount_count"]) == (Decimal("0.9999"), 2)


def test_a_dataframe_has_own_fields(settings: Settings) -> None:
    job = discounted(Workbench(namespace=settings.namespace_name))
    # Those that its query looks at, and the standard field that is elsewhere.
    assert [field.name for field in plan_of(job).fields] == ["device", "discount", "user_id"]
    job.run()
    assert stored_discounts(job) == discounts(messages())


def test_everything_is_reconciled(settings: Settings) -> None:
    result = reconcile(settings)
    assert not result.differences
    # Tables of rows are not compared. Not all windows are closed, and not all shipped jobs have run.
    states = {check.state for check in result.tables if check.job != "discounted"}
    assert states - {"nothing", "not run"} == {"equal"}, result.unchecked


def test_a_figure_that_would_not_be_exact_is_refused(settings: Settings) -> None:
    events = Workbench(namespace=settings.namespace_name).job("refused").events()
    for figure, said in (
        (Figure("d", "D", sum_of("device")), "is a text, and this measure is of a whole number or a decimal"),
        (Figure("d", "D", sum_of("discount * discount * discount * price")), "16 of them behind the point"),
        (Figure("d", "D", sum_of("coupons")), "is a list<string>"),
        (Figure("d", "D", sum_of("pionts")), "There is no column 'pionts' of an event. Did you mean 'points'?"),
    ):
        with pytest.raises(UsageError, match=said.replace("(", r"\(").replace("?", r"\?")):
            events.figures(figure, by=["device", "currency"], every=["1 hour"], table="refused")
    with pytest.raises(UsageError, match="Did you mean 'device'"):
        events.figures(EVENTS, by=["devise"], every=["1 hour"], table="refused")


def test_a_contract_is_proposed_from_a_topic(settings: Settings, tmp_path: Path) -> None:
    made = tmp_path / "proposed.toml"
    command = ["contract", "init", "--namespace", settings.namespace_name, "--output", str(made), "--from"]
    with pytest.raises(SystemExit) as ended:
        main([*command, settings.namespace.events_topic])
    assert not ended.value.code
    found = load_contract(made).by_name
    assert (found["user_id"].path, found["device"].path, found["campaign_name"].path) == (
        "user.id", "context.device", "context.campaign.name",
    )  # fmt: skip
    assert found["device"].dimension and found["coupons"].type == "list<string>"
    with pytest.raises(SystemExit) as ended:
        main([*command[:-3], "--output", str(tmp_path / "more.toml"), "--from", "no_such_topic"])
    assert ended.value.code == 2


def test_a_field_that_is_added_later_is_null_in_what_is_older(settings: Settings) -> None:
    assert settings.contract is not None
    settings.contract.write_text(SHOP + '\n[fields.shelf]\npath = "context.shelf"\n')
    newest = (START + timedelta(seconds=MESSAGES)).isoformat()
    new = messages()[0] | {"event_id": "late-comer", "event_time": newest, "context": {"shelf": "A7"}}
    produce(settings, [("u0", json.dumps(new).encode())])
    rp = Workbench(namespace=settings.namespace_name)
    archive(rp)
    frame = rp.hive.events().set_index("event_id")
    assert frame["shelf"].dropna().to_dict() == {"late-comer": "A7"}
    found = rp.hive.query("select event_id, shelf from events where shelf is not null")
    assert found.to_dict("records") == [{"event_id": "late-comer", "shelf": "A7"}]
    job = discounted(rp)
    job.run()  # the query means what it meant, so the job goes on
    assert stored_discounts(job) == discounts([*messages(), new])
