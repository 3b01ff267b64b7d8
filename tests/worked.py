"""The worked notebooks' oracle: what each should have written, by nothing but a loop over the messages."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from retailpulse_kernel.feed.generator import Generator, Message
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.checkpoint.log import newest_batch
from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["CONTRACT", "FOLDER", "WORKED", "Event", "differences", "notebook", "sent", "shop"]

FOLDER = Path(__file__).parents[1] / "notebooks" / "worked"
CONTRACT = FOLDER / "shop.toml"

Event = dict[str, Any]
Rows = dict[tuple[Any, ...], tuple[Any, ...]]


def notebook(name: str) -> Path:
    return FOLDER / f"{name}.ipynb"


def shop(start: datetime, seconds: int, *, rate: float = 1.0, seed: int = 7) -> Iterator[Message]:
    """Hours of a shop with some duplicates and bad messages; none of it is late."""
    generator = Generator(
        rate=rate, seconds=seconds, seed=seed, start=start, users=3_000, duplicates=0.03, bad=0.01,
        currencies={"USD": 0.7, "EUR": 0.3}, context=True,
    )  # fmt: skip
    return generator.messages()


def sent(messages: Iterable[Message]) -> list[Event]:
    """The events, each once, in the order of sending; times as datetimes, prices as decimals."""
    events: dict[str, Event] = {}
    for message in messages:
        if message.kind != "bad":
            event = json.loads(message.value, parse_float=Decimal)
            event["event_time"] = datetime.fromisoformat(event["event_time"])
            event["price"] = Decimal(event["price"])
            events.setdefault(event["event_id"], event)
    return list(events.values())


# -- the folds: events and the watermark that the job has come to, to rows by their key ------------------------------


def conversion(events: list[Event], watermark: datetime) -> Rows:
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for event in events:
        at, context = event["event_time"], event["context"]
        start = at.replace(minute=at.minute // 5 * 5, second=0, microsecond=0)
        row = found[start, context["device"], context.get("campaign", {}).get("name", "none")]
        row[0] += event["event_type"] == "view"
        row[1] += event["event_type"] == "add_to_cart"
        row[2] += event["event_type"] == "purchase" and event["order_line"] == 1
    return {key: tuple(row) for key, row in found.items()}


def margin(events: list[Event], watermark: datetime) -> Rows:
    with (FOLDER / "products.csv").open() as file:
        products = {row["product_id"]: (row["supplier"], Decimal(row["cost"])) for row in csv.DictReader(file)}
    found: Rows = {}
    for event in events:
        if event["event_type"] in ("purchase", "refund"):
            supplier, cost = products.get(event["product_id"], ("unknown", None))
            pieces = event["quantity"] * (1 if event["event_type"] == "purchase" else -1)
            key = event["event_time"].replace(minute=0, second=0, microsecond=0), supplier, event["currency"]
            revenue, costs, _ = found.get(key, (0, 0, 0))
            revenue += pieces * event["price"]
            costs = None if cost is None else costs + pieces * cost
            found[key] = revenue, costs, None if costs is None else revenue - costs
    return found


def abandoned(events: list[Event], watermark: datetime) -> Rows:
    gap, visits = timedelta(minutes=30), defaultdict[tuple[str, str], list[list[Event]]](list)
    for event in sorted(events, key=lambda event: event["event_time"]):
        known = visits[event["user_id"], event["currency"]]
        if not known or event["event_time"] > known[-1][-1]["event_time"] + gap:
            known.append([])
        known[-1].append(event)
    found: Rows = {}
    for (user, currency), known in visits.items():
        for visit in known:
            signs = {"add_to_cart": 1, "remove_from_cart": -1}
            changes = [(signs[e["event_type"]] * e["quantity"], e) for e in visit if e["event_type"] in signs]
            pieces = sum(change for change, _ in changes)
            bought = any(event["event_type"] == "purchase" for event in visit)
            if pieces > 0 and not bought and visit[-1]["event_time"] + gap <= watermark:
                amount = sum(change * event["price"] for change, event in changes)
                added = max(event["event_time"] for change, event in changes if change > 0)
                found[user, visit[0]["event_time"], currency] = pieces, amount, added
    return found


def cart_to_purchase(events: list[Event], watermark: datetime) -> Rows:
    added, found = defaultdict[tuple[str, str], list[Event]](list), Rows()
    for event in events:
        if event["event_type"] == "add_to_cart":
            added[event["user_id"], event["product_id"]].append(event)
    for event in events:
        for cart in added[event["user_id"], event["product_id"]] if event["event_type"] == "purchase" else ():
            waited = event["event_time"] - cart["event_time"]
            if timedelta(0) <= waited <= timedelta(hours=6):
                key = event["event_id"], cart["event_id"]
                found[key] = event["user_id"], event["product_id"], waited // timedelta(milliseconds=1)
    return found


def basket(events: list[Event], watermark: datetime) -> Rows:
    keep, changes = timedelta(hours=2), {"add_to_cart": 1, "remove_from_cart": -1, "purchase": -1}
    baskets: dict[str, Counter[str]] = defaultdict(Counter)
    changed: dict[str, datetime] = {}
    for event in events:
        if event["event_type"] in changes:
            user, product, at = event["user_id"], event["product_id"], event["event_time"]
            if user in changed and at > changed[user] + keep:
                baskets[user].clear()
            pieces = baskets[user][product] + changes[event["event_type"]] * event["quantity"]
            baskets[user][product], changed[user] = max(0, pieces), at
    kept = {user: +baskets[user] for user, at in changed.items() if at + keep > watermark}
    return {(user,): (sorted(pieces), pieces.total(), changed[user]) for user, pieces in kept.items()}


def score(events: list[Event], watermark: datetime) -> Rows:
    found: Rows = {}
    for event in events:
        if event["event_type"] in ("view", "add_to_cart"):
            sums = -1.0 - 0.5 * math.log1p(float(event["price"])) + 2.0 * (event["event_type"] == "add_to_cart")
            exact = Decimal(repr(1 / (1 + math.exp(-sums))))
            found[event["event_id"],] = event["user_id"], exact.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    return found


Fold = Callable[[list[Event], datetime], Rows]

#: Of each notebook its fold, and what it writes: table, store, columns of the key, and the columns that are compared.
WORKED: dict[str, tuple[Fold, tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...]]] = {
    "conversion": (
        conversion,
        (("conversion_5m", "cassandra", ("minutes_5", "device", "campaign"), ("views", "carts", "orders")),),
    ),
    "margin": (
        margin,
        (("margin", "cassandra", ("start", "supplier", "currency"), ("revenue", "cost", "margin")),),
    ),
    "abandoned": (
        abandoned,
        (("abandoned_carts", "kafka", ("user_id", "start", "currency"), ("pieces", "amount", "last_added")),),
    ),
    "cart_to_purchase": (
        cart_to_purchase,
        (("cart_to_purchase", "cassandra", ("purchase_id", "cart_id"), ("user_id", "product_id", "milliseconds")),),
    ),
    "basket": (basket, (("baskets", "hbase", ("user_id",), ("products", "pieces", "changed")),)),
    "score": (
        score,
        (
            ("scores", "cassandra", ("event_id",), ("user_id", "score")),
            ("scores", "hive", ("event_id",), ("user_id", "score")),
        ),
    ),
}


def watermark_of(settings: Settings, job: str) -> datetime:
    """How far the job's queries have come: what has ended by then is closed."""
    epoch = find_epoch(f"{settings.checkpoints}/{job}")
    assert epoch is not None
    batches = [newest_batch(str(path)) for path in Path(epoch.path).glob("outputs/*")] or [newest_batch(epoch.path)]
    return datetime.fromtimestamp(min(batch.watermark_ms for batch in batches if batch) / 1_000, UTC)


def differences(settings: Settings, name: str, events: list[Event]) -> list[str]:
    """How the tables of a worked notebook differ from the fold, in words."""
    fold, tables = WORKED[name]
    expected = fold(events, watermark_of(settings, name))
    said = [] if len(expected) > 5 else [f"{name}: only {len(expected)} rows are expected"]
    for table, store, key, columns in tables:
        rows = Workbench(namespace=settings.namespace_name).table(table, store=store, limit=None, as_="arrow")
        found = [(tuple(row[one] for one in key), tuple(row[one] for one in columns)) for row in rows.to_pylist()]
        said += [
            f"{store} {table}: {one} is there {n} times" for one, n in Counter(k for k, _ in found).items() if n > 1
        ]
        stored = dict(found)
        for one in [one for one in {**expected, **stored} if expected.get(one) != stored.get(one)][:5]:
            said.append(f"{store} {table}: {one} is {stored.get(one)}, not {expected.get(one)}")
    if name == "abandoned":
        messages = KafkaStore(settings).messages(settings.namespace.topic("abandoned_carts"))
        keys = Counter(message.key for message in messages)
        said += [f"kafka: {one!r} was sent {n} times" for one, n in keys.items() if n > 1]
    return said
