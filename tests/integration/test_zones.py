"""A shop in Berlin in the night in which its clock is put back: every store equals a plain fold, after a kill, too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import nbformat
import pandas as pd
import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.comparison import comparable
from retailpulse_kernel.shop.events import Event, parse_event
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, ORDERS, REVENUE, UNITS
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import FigureTable, grain_of
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import JobProcess, consumed, produce, run_here, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

BERLIN = Calendar("Europe/Berlin", "sunday")
WIDTHS = ("15m", "1h", "6h", "1d", "1w", "1mo")
TABLE = FigureTable(
    "nights",
    (EVENTS, UNITS, REVENUE, ORDERS, ACTIVE_USERS),
    ("currency", "category"),
    tuple(grain_of(width, BERLIN) for width in WIDTHS),
)
JOB = f"""
import retailpulse_kernel as rp
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, ORDERS, REVENUE, UNITS

job = rp.job("nights", run=run)
events = job.events(rejects="count")
figures = [EVENTS, UNITS, REVENUE, ORDERS, ACTIVE_USERS]
every = {list(WIDTHS)}
job.write(events.figures(*figures, by=["currency", "category"], every=every, table="nights"), to=rp.cassandra)
job.write(events.figures(*figures, by=["currency", "category"], every=every, table="darks"), to=rp.hbase)
job.run()
"""
PARAMETERS = (
    'from typing import Literal\n\nrun: Literal["continuous", "available_now", "backfill"] = "available_now"  # how'
)
#: From the evening of the day of 25 hours to the day after it, in steps that meet each of its hours.
FIRST, STEP = datetime(2026, 10, 24, 20, 20, tzinfo=UTC), timedelta(minutes=35)


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("berlin")
    (folder / "shop.toml").write_text('[shop]\nzone = "Europe/Berlin"\nweek_start = "sunday"\n')
    # The local servers without a Connect server: that of a test's stack may run older code.
    (folder / "local.toml").write_text('contract = "shop.toml"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_PROFILE", str(folder / "local.toml"))
        made = Settings.load(namespace="t_zones")
        drop(made)
        ensure_topics(made)
        yield made
        drop(made)


def sent(settings: Settings, steps: range) -> list[Event]:
    """A few seconds of events at each step, each once."""
    found: list[Event] = []
    for step in steps:
        generator = Generator(
            rate=20, seconds=4, seed=step, duplicates=0.05, late=0, bad=0, currencies={"EUR": 1, "USD": 3},
            start=FIRST + step * STEP,
        )  # fmt: skip
        messages: list[Any] = [(message.key, message.value) for message in generator.messages()]
        produce(settings, messages)
        found += {(one := parse_event(value)).event_id: one for _, value in messages}.values()
    return found


@pytest.fixture(scope="module")
def events(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The events that the job has taken, in a run that was killed and in one that went on."""
    folder = tmp_path_factory.mktemp("nights")
    notebook = folder / "nights.ipynb"
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(JOB)]
    kernel = {"kernelspec": {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebook)
    found = sent(settings, range(10))
    job = JobProcess(settings, str(notebook.with_suffix("")), folder / "log")
    try:
        wait_until(lambda: job.process.poll() is not None or consumed(settings, "nights") > 0, "the first batch")
        assert job.process.poll() is None, (folder / "log").read_text()
        found += sent(settings, range(10, 20))
    finally:
        job.kill()
    found += sent(settings, range(20, 50))
    run_here(settings, notebook)
    return found


@pytest.fixture(scope="module")
def rp(settings: Settings, events: list[Event]) -> Iterator[Workbench]:
    made = Workbench(namespace=settings.namespace_name)
    yield made
    made.cassandra.close()
    made.hbase.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_each_store_equals_the_plain_fold(rp: Workbench, events: list[Event], width: str) -> None:
    grain = grain_of(width, BERLIN)
    truth = {TABLE.key(row, grain): comparable(TABLE, row) for row in fold(events, TABLE, grain)}
    for name, store in (("nights", rp.cassandra), ("darks", rp.hbase)):
        table = FigureTable(name, TABLE.figures, TABLE.by, TABLE.every)
        found = {table.key(row, grain): comparable(table, row) for row in store.read(table, grain)}
        assert found == truth, (name, width)


def test_the_day_is_read_in_the_shops_time(rp: Workbench, events: list[Event]) -> None:
    night, next_night = datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)
    of_day = [one for one in events if night <= one.event_time < next_night]
    days = rp.figures("events", by="bucket", every="day", table="nights", since="2026-10-25", until="2026-10-26")
    assert set(days["bucket"]) == {pd.Timestamp("2026-10-25", tz="Europe/Berlin")}, "a row for each currency"
    assert days["events"].sum() == len(of_day)
    hours = rp.figures("events", by="bucket", every="hour", table="nights", since="2026-10-25", until="2026-10-26")
    starts = sorted(set(hours["bucket"]))
    assert len(starts) == 25 and [f"{one:%H%z}" for one in starts[:5]] == [
        "00+0200", "01+0200", "02+0200", "02+0100", "03+0100",
    ]  # fmt: skip
    assert hours["events"].sum() == len(of_day)


def test_what_was_killed_and_resumed_is_reconciled(settings: Settings, events: list[Event]) -> None:
    result = reconcile(settings)
    assert result.outcome == "equal", [*result.differences, *result.unchecked]
    rows = {check.table: check.rows for check in result.tables if check.job == "nights"}
    assert len(rows) == 2 * len(WIDTHS) and all(rows.values())
