"""RetailRocket's records in a topic, with their items' prices in a file: to the cent, whatever becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import JobProcess, consumed, produce, run_here, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
SHOP = '[topics.events]\nformat = "retailrocket"\ncurrency = "EUR"\nitems = "data/items.csv"\n'
#: Every seventh item has no price.
PRICES = {item: Decimal(item) + Decimal("0.99") for item in range(40) if item % 7}


def write_items(folder: Path, times: int = 1) -> None:
    lines = [f"{item},Shop > {item % 3},{times * price}" for item, price in PRICES.items()]
    (folder / "data" / "items.csv").write_text("\n".join(["itemid,category,price", *lines]) + "\n")


def record(number: int) -> dict[str, Any]:
    kind = ("view", "addtocart", "transaction")[number % 3]
    bought = {"transactionid": number // 6} if kind == "transaction" else {}
    return {"timestamp": ms_of(START + timedelta(seconds=number)), "visitorid": number % 9, "event": kind,
            "itemid": number % 40, **bought}  # fmt: skip


RECORDS = [record(number) for number in range(900)]
BOUGHT = [PRICES.get(one["itemid"]) for one in RECORDS if one["event"] == "transaction"]


def send(settings: Settings, records: list[dict[str, Any]]) -> None:
    produce(settings, [(str(one["visitorid"]), json.dumps(one).encode()) for one in records])


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Iterator[Settings]:
    (tmp_path / "data").mkdir()
    (tmp_path / "shop.toml").write_text(SHOP)
    (tmp_path / "local.toml").write_text('contract = "shop.toml"\n')
    write_items(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_PROFILE", str(tmp_path / "local.toml"))
        made = Settings.load(namespace="t_items")
        drop(made)
        ensure_topics(made)
        yield made
        drop(made)


def test_transactions_have_the_prices_that_the_job_began_with(settings: Settings, tmp_path: Path) -> None:
    send(settings, RECORDS[:400])
    first = JobProcess(settings, "metrics", tmp_path / "first.log")
    try:
        wait_until(lambda: consumed(settings, "metrics") >= 400, f"a batch; log: {tmp_path}/first.log")
        write_items(tmp_path, times=2)
        send(settings, RECORDS[400:600])
        wait_until(lambda: consumed(settings, "metrics") >= 600, "the messages after the file was written anew")
        send(settings, RECORDS[600:])
    finally:
        first.kill()
    with pytest.raises(RetailPulseError, match="items_version"):
        run_here(settings, "metrics", run="available_now")
    write_items(tmp_path)
    run_here(settings, "metrics", run="available_now")

    frame = Workbench(namespace=settings.namespace.name).figures("revenue", "orders", by="currency")
    known = [price for price in BOUGHT if price is not None]
    assert frame[["currency", "revenue", "orders"]].to_numpy().tolist() == [["EUR", sum(known), len(known)]]
    accounts = read_accounts(settings)
    assert sum(one.bad for one in accounts) == len(BOUGHT) - len(known) > 0
    assert reconcile(settings).outcome == "equal"
