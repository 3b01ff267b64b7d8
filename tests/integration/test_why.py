"""Why a figure moved, from Cassandra: the planted cause is found, and the command prints the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores import namespaces
from retailpulse_kernel.stores.cassandra.rows import keyspace_ddl
from retailpulse_kernel.workbench.workbench import Workbench

pytestmark = pytest.mark.integration

DAY = datetime(2026, 3, 9, tzinfo=UTC)
RANGE = {"since": "2026-03-09", "until": "2026-03-10", "against": "last week"}


def sales() -> list[Event]:
    """An order an hour in each category; on the day itself, half of the shoes are not sold."""
    made = []
    for day in (DAY - timedelta(days=7), DAY):
        for hour in range(24):
            for category, price in (("shoes", "40.01"), ("cups", "5")):
                if (day, category, hour % 2) == (DAY, "shoes", 1):
                    continue
                name = f"{day:%d}{hour}{category}"
                made.append(Event(f"e{name}", "purchase", day + timedelta(hours=hour), "u", "s", "p", category, None,
                                  Decimal(price), 2, "USD", f"o{name}", 1))  # fmt: skip
    return made


@pytest.fixture(scope="module")
def rp(stack: Settings) -> Iterator[Workbench]:
    bench = Workbench(namespace=f"t_why_{os.getpid()}")
    bench.cassandra.query(keyspace_ddl(bench.settings))
    bench.cassandra.create(CATEGORY)
    for grain in CATEGORY.every:
        bench.cassandra.write(CATEGORY, grain, fold(sales(), CATEGORY, grain), version=1)
    yield bench
    namespaces.drop(bench.settings)


def test_the_cause_is_found_and_adds_up(rp: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    found = rp.why("revenue", **RANGE)
    assert (found.dimension, found.change) == ("category", Decimal("-960.24"))
    assert found.frame["category"].tolist() == ["shoes", "cups"]
    assert found.frame["contribution"].tolist() == [Decimal("-960.24"), 0]
    assert found.frame["reason"][0] == "fewer orders"
    assert sum(found.effects.values()) == found.change and found.effects["price"] == 0
    assert found.change == rp.figures("revenue", by="currency", since=RANGE["since"], until=RANGE["until"],
                                      compare=RANGE["against"])["change"][0]  # fmt: skip
    options = ["--last", "1d", "--until", "2026-03-10", "--against", "2026-03-02/2026-03-03", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["why", "revenue", "--namespace", rp.settings.namespace.name, *options])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["change"] == "-960.2400"
    assert printed["dimensions"][0]["movers"][0]["value"] == "shoes"


def test_the_next_question_is_asked_of_the_store(rp: Workbench) -> None:
    within = rp.why("orders", **RANGE).by("event_type", where={"category": "shoes"})
    assert (within.before, within.after, within.change) == (24, 12, -12)
    assert within.frame["contribution"].tolist() == [-12]
