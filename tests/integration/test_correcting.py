"""Late events on the real servers: corrected once in every table, through kills and a new epoch, as a closed day is."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, REVENUE, Figure, average_of, last, median_of
from retailpulse_kernel.shop.tables import CATEGORY, CORRECTED_AT, SESSION, USER, FigureTable, late_part
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.registry import figure_store, serving_store
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.run.context import RunContext, using_context
from retailpulse_kernel.upkeep.closing import close_day
from retailpulse_kernel.upkeep.correcting import correct
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import JOBS, killed, produce, run_here, totals, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(900)]

SHOP = """
[fields.device]
path = "context.device"
default = "unknown"
dimension = true

[fields.points]
type = "int"
"""
POINTS = average_of("points", name="mean_points")
NEWEST = Figure("newest", "Newest", last("event_time"))
TYPICAL = Figure("typical_points", "Typical points", median_of("points"))
START = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
MESSAGES, LATE = 3_000, 0.06
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "batch" / "correct.ipynb"


def messages() -> list[dict[str, Any]]:
    """Two hours of a shop; some events came five minutes later, some an hour or two, and some came twice."""
    chance, found = random.Random(3), []
    for number in range(MESSAGES):
        lot, word = chance.random(), chance.choice(["view", "add_to_cart", "purchase"])
        back = chance.uniform(3, 8) if lot < LATE / 2 else chance.uniform(20, 120) if lot < LATE else 0
        at = START + timedelta(seconds=2.4 * number) - timedelta(minutes=back)
        message: dict[str, Any] = {
            "event_id": f"e{number}", "event_type": word, "session_id": f"s{number % 70}", "product_id": "p",
            "event_time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "user_id": f"u{number % 40}",
            "price": f"{chance.randrange(10**6) / 100:.2f}", "quantity": chance.randint(1, 5),
            "currency": chance.choice(["USD", "EUR"]), "category": chance.choice(["books", "shoes.sport"]),
            "points": chance.randrange(100), "context": {"device": chance.choice(["phone", "desktop"])},
        }  # fmt: skip
        if word == "purchase":
            message |= {"order_id": f"o{number}", "order_line": 1}
        found.append(message)
        if chance.random() < 0.03:
            found.append(chance.choice(found[-200:]))
    return found


def truth() -> dict[str, dict[str, Any]]:
    """Events, revenue and orders of all events by currency, each once, by nothing but arithmetic."""
    sums: dict[str, dict[str, Any]] = defaultdict(lambda: {"events": 0, "revenue": Decimal(0), "orders": 0})
    for message in {message["event_id"]: message for message in messages()}.values():
        row, bought = sums[message["currency"]], message["event_type"] == "purchase"
        row["events"] += 1
        row["revenue"] += Decimal(message["price"]) * message["quantity"] if bought else 0
        row["orders"] += bought
    return sums


def follow(settings: Settings, name: str, run: Callable[[], None], folder: Path, *, epoch: int = 1) -> None:
    """Run a job continuously until an epoch of it has taken all messages."""
    stop_file = folder / f"{name}-{epoch}"

    def watch() -> None:
        with contextlib.suppress(AssertionError):  # the counts tell
            wait_until(lambda: taken(settings, name, epoch) >= len(messages()), f"{name} in epoch {epoch}")
        stop_file.touch()

    watching = threading.Thread(target=watch)
    watching.start()
    with using_context(RunContext(stop_file=str(stop_file))):
        run()
    watching.join()
    assert taken(settings, name, epoch) == len(messages())


def taken(settings: Settings, name: str, epoch: int) -> int:
    return sum(one.consumed for one in read_accounts(settings) if (one.job, one.epoch) == (name, epoch))


def devices(rp: Workbench) -> None:
    """A job of a shop's own: a dimension and a field of its own, only some events, a shorter watermark."""
    job = rp.job("devices", run="continuous")
    events = job.events(watermark="2m", rejects="count").where("event_type != 'add_to_cart'")
    figures = events.figures(
        EVENTS, REVENUE, ACTIVE_USERS, NEWEST, POINTS, TYPICAL, by=["device", "currency"], every=["5 minutes", "1 day"],
        table="devices",
    )  # fmt: skip
    job.write(figures, to=rp.cassandra)
    job.run()


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A namespace whose jobs have followed the topic: the order of its messages has made some late."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.toml").write_text(SHOP)
    (folder / "local.toml").write_text('contract = "shop.toml"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_PROFILE", str(folder / "local.toml"))
        made = Settings.load(namespace="t_correcting")
        drop(made)
        ensure_topics(made)
        produce(made, [(message["user_id"], json.dumps(message).encode()) for message in messages()])
        follow(made, "devices", lambda: devices(Workbench(namespace=made.namespace_name)), folder)
        for name in JOBS:
            follow(made, name, partial(run_here, made, name, run="continuous"), folder)
        late = {name: totals(read_accounts(made), name)["late"] for name in (*JOBS, "devices")}
        assert late["devices"] > late["metrics"] > 50, "each job has called events late, by its own watermark"
        yield made
        drop(made)


def kept(settings: Settings) -> dict[str, dict[Any, Any]]:
    """What corrections keep beside each table, without the time of the correction."""
    rp, found = Workbench(namespace=settings.namespace_name), {}
    (of_devices,) = (entry.figures for entry in rp.tables().catalogue.entries if entry.name == "devices")
    tables: list[tuple[str, FigureTable]] = [
        ("cassandra", CATEGORY), ("hbase", SESSION), ("hbase", USER), ("cassandra", of_devices),
    ]  # fmt: skip
    for name, table in tables:
        store, part = figure_store(name, settings), late_part(table)
        for grain in table.every:
            rows = store.read(part, grain)
            found[table.physical(grain)] = {
                part.key(row, grain): {name: one for name, one in row.items() if name != CORRECTED_AT.name}
                for row in rows
            }
        store.close()
    return found


def require_equal(settings: Settings) -> None:
    result = reconcile(settings)
    assert result.ok, result.differences
    states = {check.table: check.state for check in result.tables if "_late_" in check.table}
    assert states == dict.fromkeys(
        ["category_late_minute", "category_late_hour", "category_late_day", "session_late_hour", "user_late_day",
         "devices_late_5m", "devices_late_day"], "equal",
    )  # fmt: skip


def test_all_tables_are_corrected_and_equal_the_fold_before_and_after(settings: Settings) -> None:
    before = reconcile(settings)
    assert before.ok, before.differences
    assert not [check for check in before.tables if "_late_" in check.table], "nothing is corrected yet"
    done = correct(settings)
    assert done.notes == []
    assert {table.table for table in done.tables if table.changed} == set(kept(settings))
    require_equal(settings)
    assert correct(settings).changed == 0


def test_the_figures_are_those_of_all_events_and_of_the_closed_days(settings: Settings) -> None:
    correct(settings)
    rp = Workbench(namespace=settings.namespace_name)
    frame = rp.figures("events", "revenue", "orders", by="currency")
    assert {
        row["currency"]: {k: row[k] for k in ("events", "revenue", "orders")} for row in frame.to_dict("records")
    } == truth()
    streamed = rp.figures("events", by="currency", late="exclude")
    assert streamed["events"].sum() == totals(read_accounts(settings), "metrics")["accepted"]
    assert "late" not in streamed.attrs
    assert frame.attrs["late"]["events"] == frame["events"].sum() - streamed["events"].sum()

    days = {(START + timedelta(hours=hours)).date() for hours in (-2, 0, 2)}
    closed: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(int))
    for day in days:
        for row in close_day(settings, day).to_dict("records"):
            for name in ("events", "revenue", "orders"):
                closed[row["currency"]][name] += row[name]
    assert closed == truth()

    series = rp.figures("revenue", by="bucket", every="hour")
    assert series["corrected"].any()
    assert series.groupby("currency", observed=True)["revenue"].sum().to_dict() == {
        currency: sums["revenue"] for currency, sums in truth().items()
    }
    own = rp.figures("mean_points", "newest", by="device", table="devices")
    counted = [m for m in {m["event_id"]: m for m in messages()}.values() if m["event_type"] != "add_to_cart"]
    for row in own.to_dict("records"):
        mine = [m for m in counted if (m["context"]["device"], m["currency"]) == (row["device"], row["currency"])]
        assert row["newest"] == max(datetime.fromisoformat(m["event_time"]) for m in mine)
        assert float(row["mean_points"]) == pytest.approx(sum(m["points"] for m in mine) / len(mine), abs=1e-3)


def test_the_read_api_tells_which_windows_were_corrected(settings: Settings) -> None:
    correct(settings)
    store = serving_store(settings)
    sources = Sources(store, settings)
    asked = {"from": (START - timedelta(hours=3)).isoformat(), "to": datetime.now(UTC).isoformat(), "grain": "hour"}
    with TestClient(create_app(store, sources=sources)) as client:
        added = client.get("/api/v1/corrections", params=asked).json()["rows"]
        late = sum(row["late_events"] for row in added)
        assert late == totals(read_accounts(settings), "metrics")["late"] - repeated_late(settings)
        revenue = client.get("/api/v1/figures/revenue", params=asked).json()["rows"]
        assert {row["currency"]: Decimal(row["decimal"]) for row in revenue} == {
            currency: sums["revenue"] for currency, sums in truth().items()
        }
        series = client.get("/api/v1/figures/revenue", params={**asked, "by": "bucket"}).json()["rows"]
        marked = {(row["bucket"], row["currency"]) for row in series if "corrected_at" in row}
        assert marked == {(row["bucket"], row["currency"]) for row in added}
        own = client.get("/api/v1/corrections", params={**asked, "table": "devices", "grain": "day"})
        assert {"events", "revenue"} <= own.json()["rows"][0]["added"].keys()
    sources.close()


def repeated_late(settings: Settings) -> int:
    """The late messages of events that were late before, or were taken in time."""
    frame = Workbench(namespace=settings.namespace_name).hive.events()
    counts = totals(read_accounts(settings), "metrics")
    return counts["accepted"] + counts["late"] - frame["event_id"].nunique()


def forget_corrections(settings: Settings) -> None:
    """Remove what was corrected, so that all of it is to be done again."""
    for name, table in (("cassandra", CATEGORY), ("hbase", SESSION), ("hbase", USER)):
        figure_store(name, settings).remove(late_part(table))
    for job in (*JOBS, "devices"):
        Path(settings.checkpoints, job, "corrected.json").unlink(missing_ok=True)


def test_a_correction_that_is_killed_at_any_moment_is_completed_by_the_next(settings: Settings) -> None:
    correct(settings)
    before, chance = kept(settings), random.Random(11)
    command = [sys.executable, "-m", "retailpulse_kernel.cli", "correct"]
    forget_corrections(settings)
    started = time.monotonic()
    subprocess.run(command, env={**os.environ, **environment(settings)}, check=True)
    whole = time.monotonic() - started  # so that the kills fall into a run, on a slow machine and on a fast one
    forget_corrections(settings)
    ended = 0
    for _ in range(8):
        process = subprocess.Popen(command, env={**os.environ, **environment(settings)}, start_new_session=True)
        end = time.monotonic() + chance.uniform(0.3, 0.95) * whole
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        ended += process.poll() is not None
        killed(process)
    assert ended < 8, "some were killed on the way"
    correct(settings)
    assert same(kept(settings), before)
    require_equal(settings)


def test_a_new_epoch_keeps_the_corrections(settings: Settings, tmp_path: Path) -> None:
    correct(settings)
    before = kept(settings)
    with pytest.raises(SystemExit, match="0"):
        main(["epochs", "metrics", "--new", "--namespace", settings.namespace_name])
    follow(settings, "metrics", partial(run_here, settings, "metrics", run="continuous"), tmp_path, epoch=2)
    correct(settings)
    assert same(kept(settings), before)
    require_equal(settings)


def test_the_scheduled_notebook_runs(settings: Settings) -> None:
    run_notebook(settings, NOTEBOOK, {})
    require_equal(settings)


def same(one: dict[str, dict[Any, Any]], other: dict[str, dict[Any, Any]]) -> bool:
    """Whether the rows are the same, whatever the bytes that sketches are stored as."""
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].keys() == other[name].keys(), name
        for key, row in one[name].items():
            plain = {k: v for k, v in row.items() if not isinstance(v, bytes)}
            assert plain == {k: v for k, v in other[name][key].items() if not isinstance(v, bytes)}, (name, key)
    return True
