"""The cutover to another epoch: tables, accounts and checkpoint, killed at every step, and the rollback.

A step is a change of a store, of an account or of a file. Changes of files are told by Python's audit events, which
come before each of them, whichever function makes it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from retailpulse_kernel.ground.names import is_name
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover import cutover, staging
from retailpulse_kernel.promotion.cutover.row_copying import bring_rows_in, compare_row_tables, set_rows_aside
from retailpulse_kernel.promotion.cutover.versions import resume_plan
from retailpulse_kernel.shop.tables import GRAINS
from retailpulse_kernel.stores.base import FigureStore, MicroBatch, RowStore, SentRows
from retailpulse_kernel.stores.registry import register
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Ledger
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, find_epoch, new_epoch
from retailpulse_kernel.streaming.checkpoint.files import write_note
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from retailpulse_kernel.streaming.plan.data import FigurePlan, Plan, RowsPlan, TablePlan, write_plan
from tests.memory import MemoryStore

DAY = GRAINS["day"]
EVENTS = FigurePlan("events", "count", "1", "")
UNITS = FigurePlan("units", "sum", "quantity", "purchase")
SHELF = TablePlan("shelf", "watched", ("day",), ("category",), (EVENTS,))
OLD = Plan("metrics", "retail.events", "event_id", 600_000, (), "change", "publish", (SHELF,))
#: A table with a key, one without, one whose columns change, one that is new or gone, and topics.
CARTS = TablePlan(
    "carts",
    "watched",
    rows=RowsPlan(
        "carts",
        (("user_id", "string"), ("items", "int")),
        ("user_id",),
        "update",
        "q1",
        (("retail.events", "event_id"), ("retail.views", "event_id")),
    ),
)


def like(name: str, store: str = "watched", **changes: Any) -> TablePlan:
    assert CARTS.rows is not None
    return TablePlan(name, store, rows=replace(CARTS.rows, output=name, **changes))


#: As long as a name may be.
LONG = "visits_of_the_whole_shop_by_hour_of_week"
SCORED = (("user_id", "string"), ("items", "long"), ("score", "double"))
OLD = replace(OLD, tables=(SHELF, CARTS, like(LONG, key=()), like("scores"), like("gone"), like("orders", "sent")))
NEW = replace(
    OLD,
    conditions=("quantity > 1",),
    tables=(
        replace(SHELF, figures=(EVENTS, UNITS)),
        like("carts", query="q2"),
        like(LONG, key=(), query="q2"),
        like("scores", columns=SCORED),
        like("added"),
        like("orders", "sent", query="q2"),
        like("alerts", "sent", key=()),
    ),
)
#: The rows of the tables of rows of both versions; the user's number of items.
ROWS: dict[int, dict[str, dict[str, int]]] = {
    1: {"carts": {"a": 1, "b": 2, "c": 3}, LONG: {"a": 1, "b": 2}, "scores": {"a": 1, "b": 2}, "gone": {"a": 1}},
    2: {"carts": {"a": 1, "b": 9, "d": 4}, LONG: {"a": 1, "e": 5}, "scores": {"b": 2, "f": 6}, "added": {"g": 7}},
}
SENT = {1: {"orders": {"a": 1}}, 2: {"orders": {"a": 2}, "alerts": {"x": 3}}}


class Killed(Exception):
    pass


class World:
    """Stores and accounts of every namespace, in memory; `die_at` ends the process before that step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = self.at_home("home")
        self.stores: dict[str, MemoryStore] = {}
        self.accounts: dict[str, dict[str, Account]] = {}
        self.steps, self.die_at = 0, -1
        #: Those that have a batch: few, as each of their files is a step.
        self.outputs = ["", "carts"]

    def at_home(self, name: str) -> Settings:
        """The live namespace in a home of its own, whose profile has the store of this module."""
        profile = self.folder / "watched.toml"
        profile.write_text("[stores.watched]\n[stores.sent]\n")
        return Settings.load(home=self.folder / name, profile=str(profile), namespace="shop")

    def store(self, settings: Settings) -> Any:
        return Watched(self, self.stores.setdefault(settings.namespace.name, MemoryStore()))

    def ledger(self, settings: Settings) -> Ledger:
        return Book(self, self.accounts.setdefault(settings.namespace.name, {}))

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.die_at:
            raise Killed

    def rows(self, plan: Plan, namespace: str = "shop") -> dict[str, tuple[int, Any]]:
        table = plan.tables[0].table
        found = self.stores[namespace].read(table, DAY)
        return {row["category"]: (row["events"], row.get("units")) for row in found}

    def fill(self, settings: Settings, plan: Plan, version: int, **rows: tuple[int, int]) -> None:
        table, store = plan.tables[0].table, self.store(settings)
        store.create(table)
        found = [
            {"day": datetime(2026, 1, 2, tzinfo=UTC), "category": name, "events": events, "units": units}
            for name, (events, units) in rows.items()
        ]
        store.write(table, DAY, found, version=version)

    def fill_rows(self, settings: Settings, plan: Plan, version: int, tables: dict[str, dict[str, int]]) -> None:
        """Write rows as a micro-batch of the job does."""
        for table in (table for table in plan.rows if table.name in tables):
            store, form = self.store(settings), table.row_table
            store.create_rows(form)
            found = [
                {name: {"user_id": user, "items": items}.get(name) for name in form.types}
                for user, items in tables[table.name].items()
            ]
            by = MicroBatch(1, version % 1_000, version, f"metrics/{table.name}")
            store.write_rows(form, pa.Table.from_pylist(found, schema=schema_of(form)), by=by)

    def found_rows(self, plan: Plan, namespace: str = "shop") -> dict[str, dict[str, int]]:
        """The rows of a plan's tables of rows."""
        found = {table.name: self.stores[namespace].read_rows(table.row_table).to_pylist() for table in plan.rows}
        for name, rows in found.items():
            assert len({row["user_id"] for row in rows}) == len(rows), (name, rows)
        return {name: {row["user_id"]: row["items"] for row in rows} for name, rows in found.items()}

    def epoch(self, settings: Settings, plan: Plan, batches: int, start_ms: int) -> Epoch:
        epoch = new_epoch(f"{settings.checkpoints}/metrics", now_ms=start_ms)
        write_plan(epoch.path, plan)
        self.logs(epoch, plan, batches)
        for batch in range(batches):
            account = Account("metrics", epoch.number, batch, {}, 10, 10, 0, 0, 0, 1, 0, 0, 0)
            self.accounts.setdefault(settings.namespace.name, {})[account.key] = account
        return epoch

    def logs(self, epoch: Epoch, plan: Plan, batches: int) -> None:
        """Let the outputs have done batches."""
        for output in self.outputs:
            topics = plan.outputs[output]
            for log in ("offsets", "commits"):
                (Path(checkpoint_of(epoch.path, output)) / log).mkdir(parents=True, exist_ok=True)
            for batch in range(batches):
                ends = [json.dumps({f"shop.{topic}": {"0": 10 * (batch + 1)}}) for topic in topics]
                for log, lines in (("offsets", ['{"batchWatermarkMs": 0}', *ends]), ("commits", ["{}"])):
                    path = Path(checkpoint_of(epoch.path, output)) / log / str(batch)
                    path.write_text("\n".join(["v1", *lines, ""]))

    def live(self) -> Epoch:
        epoch = find_epoch(f"{self.settings.checkpoints}/metrics")
        assert epoch is not None
        return epoch


class Watched:
    """A store that may be killed before each change."""

    def __init__(self, world: World, store: MemoryStore) -> None:
        self._world, self._store = world, store

    def __getattr__(self, name: str) -> Any:
        if name in ("create", "remove", "write", "delete", "create_rows", "remove_rows", "write_rows"):
            self._world.step()
        return getattr(self._store, name)


class Book(Ledger):
    """Accounts in memory; the process may be killed before each is written."""

    def __init__(self, world: World, accounts: dict[str, Account]) -> None:
        self._world, self._accounts = world, accounts

    def read(self) -> list[Account]:
        return list(self._accounts.values())

    def write_all(self, accounts: Iterable[Account]) -> None:
        for account in accounts:
            self._world.step()
            self._accounts[account.key] = account


#: The worlds whose files are watched: one, while its test runs.
_WATCHED: list[World] = []


@pytest.fixture(scope="module")
def _watch() -> None:
    """Python keeps an audit hook until it ends; without a world, the hook does nothing."""
    sys.addaudithook(_before)


def _before(event: str, arguments: tuple[Any, ...]) -> None:
    if not _WATCHED:
        return
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir"):
        path, world = arguments[0], _WATCHED[0]
        # What is removed with its folder has no path, only a name in the folder.
        if isinstance(path, str | Path) and (not Path(path).is_absolute() or Path(path).is_relative_to(world.folder)):
            world.step()


@pytest.fixture
def world(tmp_path: Path, _watch: None) -> Iterator[World]:
    made = World(tmp_path)
    register("watched", made.store, FigureStore, RowStore)
    register("sent", made.store, RowStore, SentRows)
    _WATCHED.append(made)
    yield made
    _WATCHED.clear()


def filled(world: World) -> None:
    """The old version has run; the new one has a staged epoch, and has no row of the category `c`."""
    world.epoch(world.settings, OLD, 3, 1_000)
    world.fill(world.settings, OLD, 1_002, a=(1, 0), b=(2, 0), c=(3, 0))
    world.fill_rows(world.settings, OLD, 1_002, ROWS[1] | SENT[1])
    other = staging.staging_of(world.settings)
    epoch = world.epoch(other, NEW, 2, 2_000)
    write_note(epoch.path, "begin.json", b'{"offsets": {"0": 0}}')
    world.fill(other, NEW, 2_001, a=(1, 7), b=(1, 8), d=(5, 9))
    world.fill_rows(other, NEW, 2_001, ROWS[2] | SENT[2])


def cut_over_or_complete(world: World, action: Callable[[], object]) -> None:
    """Do it, or end what was begun, as every run does first."""
    if not cutover.complete(world.settings, "metrics", ledger=world.ledger):
        action()


def test_the_tables_become_those_of_the_new_epoch_and_then_the_old_ones_again(world: World) -> None:
    world.outputs = ["", "carts", "scores", "orders"]
    filled(world)
    assert staging.behind(world.settings, NEW, world.live()) == 2 * 30, "an output has no batch yet"
    world.outputs = list(NEW.outputs)
    staged = staging.staged_epoch(world.settings, NEW)
    assert staged is not None
    world.logs(staged, NEW, 2)
    assert staging.behind(world.settings, NEW, world.live()) == 2 * 10, "of both topics"
    before = world.rows(OLD)
    compared = cutover.cut_over(world.settings, NEW, ledger=world.ledger)
    of_figures, of_carts, of_long, of_scores = (4, 3), (4, 3), (3, 2), (3, 2)
    assert (compared.rows, compared.differing) == tuple(
        map(sum, zip(of_figures, of_carts, of_long, of_scores, strict=True))
    )
    assert "shelf_day 2026-01-02T00:00:00Z b: events 2 -> 1" in str(compared)
    assert world.rows(NEW) == {"a": (1, 7), "b": (1, 8), "d": (5, 9)}, "what has no row any more is gone"
    topics = {"orders": SENT[1]["orders"], "alerts": SENT[2]["alerts"]}
    assert world.found_rows(NEW) == ROWS[2] | topics, "only what was never sent is sent"
    aside = world.stores["beside_shop"].row_tables
    assert len(aside) == len(ROWS[1]) and all(is_name(name) for name in aside), "the staged tables are discarded"
    live = world.live()
    assert live.number == 2 and live.start_ms > 10**12, "later writes win"
    assert json.loads((Path(live.path) / "epoch.json").read_text())["from"] == 1
    assert sorted(world.accounts["shop"]) == [f"metrics/{e}/{b}" for e, n in ((1, 3), (2, 2)) for b in range(n)]
    assert staging.staged_epoch(world.settings, NEW) is None, "the staged epoch is discarded"

    world.fill(world.settings, NEW, live.start_ms + 1, a=(100, 100), e=(1, 1))
    world.fill_rows(world.settings, NEW, live.start_ms, {"carts": {"c": 8}, LONG: {"h": 8}})
    assert world.found_rows(NEW)["carts"] == {"a": 1, "b": 9, "c": 8, "d": 4}, "the first micro-batch wins"
    resume = resume_plan(world.settings, OLD)
    assert resume.kind == "earlier epoch" and resume.epoch is not None and resume.epoch.number == 1
    cutover.cut_over(world.settings, OLD, resume.epoch, ledger=world.ledger)
    assert world.rows(OLD) == before
    assert world.found_rows(OLD) == ROWS[1] | SENT[1]
    assert world.live().number == 3 and resume_plan(world.settings, OLD).kind == "resume"

    forward = resume_plan(world.settings, NEW)
    assert forward.epoch is not None and (forward.kind, forward.epoch.number) == ("earlier epoch", 2)
    cutover.cut_over(world.settings, NEW, forward.epoch, ledger=world.ledger)
    assert world.rows(NEW) == {"a": (100, 100), "b": (1, 8), "d": (5, 9), "e": (1, 1)}, "as it was when it was left"
    left = {"carts": {"a": 1, "b": 9, "c": 8, "d": 4}, LONG: ROWS[2][LONG] | {"h": 8}}
    assert world.found_rows(NEW) == ROWS[2] | topics | left


@pytest.mark.parametrize("back", [False, True], ids=["forward", "back"])
def test_killed_at_any_step_it_is_ended_by_the_next_run(world: World, back: bool) -> None:
    def begin(home: str) -> Callable[[], object]:
        """What is to be killed, in a home where nothing of it is done."""
        world.settings, world.die_at = world.at_home(home), -1
        world.stores.clear()
        world.accounts.clear()
        filled(world)
        kept = None
        if back:
            cutover.cut_over(world.settings, NEW, ledger=world.ledger)
            kept = resume_plan(world.settings, OLD).epoch
            assert kept is not None
        world.steps = 0
        return lambda: cutover.cut_over(world.settings, OLD if back else NEW, kept, ledger=world.ledger)

    begin("whole")()
    steps = world.steps
    assert steps > 30
    for at in range(1, steps + 1):
        action = begin(f"home{at}")
        world.die_at = at
        with pytest.raises(Killed):
            action()
        world.die_at = at + 2  # and once more a little later
        world.steps = at
        try:
            cut_over_or_complete(world, action)
        except Killed:
            cut_over_or_complete(world, action)
        live, other = (OLD, NEW) if back else (NEW, OLD)
        old = {"a": (1, None), "b": (2, None), "c": (3, None)}
        rows = {OLD: old, NEW: {"a": (1, 7), "b": (1, 8), "d": (5, 9)}}
        assert world.rows(live) == rows[live], at
        sent = {"orders": {"a": 1}} | ({"alerts": {"x": 3}} if live is NEW else {})
        assert world.found_rows(live) == ROWS[1 if back else 2] | sent, at
        number, batches = (3, 3) if back else (2, 2)
        assert world.live().number == number, at
        assert sorted(world.accounts["shop"])[-batches:] == [f"metrics/{number}/{n}" for n in range(batches)], at
        assert not cutover.complete(world.settings, "metrics", ledger=world.ledger), at
        world.die_at = -1
        kept = resume_plan(world.settings, other).epoch
        assert kept is not None
        cutover.cut_over(world.settings, other, kept, ledger=world.ledger)
        assert world.rows(other) == rows[other], at
        assert {n: r for n, r in world.found_rows(other).items() if n in ROWS[2 if back else 1]} == ROWS[
            2 if back else 1
        ], at


#: Two values of each type that a key may have.
KEYS: dict[str, tuple[Any, Any]] = {
    "bool": (False, True),
    "int": (1, 2),
    "long": (1, 2),
    "decimal(38,10)": (Decimal("1.1"), Decimal("2")),
    "string": ("", "a"),
    "binary": (b"", b"a"),
    "date": (date(1, 1, 1), date(2026, 1, 1)),
    "timestamp": (datetime(1960, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
}


def test_a_row_is_removed_by_a_key_of_any_type(world: World) -> None:
    """Also beside columns that can't be compared: lists with nothing in them, and what is not a number."""
    columns = tuple((f"k{n}", kind) for n, kind in enumerate(KEYS))
    table = like(
        "any", columns=(*columns, ("l", "list<string>"), ("d", "double")), key=tuple(name for name, _ in columns)
    )
    plan, other = replace(OLD, tables=(table,)), staging.staging_of(world.settings)
    form = table.row_table
    rows = [
        dict(zip(form.types, (*values, ["a", None], float("nan")), strict=True))
        for values in zip(*KEYS.values(), strict=True)
    ]
    for place, some in ((world.settings, rows), (other, rows[1:])):
        store = world.store(place)
        store.create_rows(form)
        by = MicroBatch(1, 0, 1_000, "metrics/any")
        store.write_rows(form, pa.Table.from_pylist(some, schema=schema_of(form)), by=by)
    compared = compare_row_tables(world.settings, other, plan, plan)
    assert (compared.rows, compared.differing) == (2, 1), "what is not a number equals itself"
    assert set_rows_aside(world.settings, other, plan, 1) == 2
    assert bring_rows_in(world.settings, other, plan, plan, None, replaced=1, number=2, version=2_000) == 1
    (left,) = world.stores["shop"].read_rows(form).to_pylist()
    assert left["k0"] is True and left["l"] == ["a", None]


def test_a_staged_epoch_that_found_no_messages_leaves_no_rows(world: World) -> None:
    """Retention has deleted all that the live job has read: there is nothing to run, and no table in the staging."""
    filled(world)
    store = world.stores["beside_shop"]
    for table in NEW.rows:
        store.remove_rows(table.row_table)
    cutover.cut_over(world.settings, NEW, ledger=world.ledger)
    rows = world.found_rows(NEW)
    assert rows.pop("orders") == SENT[1]["orders"] and not any(rows.values())
    kept = resume_plan(world.settings, OLD).epoch
    assert kept is not None
    cutover.cut_over(world.settings, OLD, kept, ledger=world.ledger)
    assert world.found_rows(OLD) == ROWS[1] | SENT[1]


def test_windows_of_which_the_topic_has_lost_events_stay(world: World) -> None:
    filled(world)
    staged = staging.staged_epoch(world.settings, NEW)
    assert staged is not None
    later = int(datetime(2026, 1, 2, 5, tzinfo=UTC).timestamp() * 1000)
    write_note(staged.path, "begin.json", json.dumps({"offsets": {"0": 100}, "since_ms": later}).encode())
    compared = cutover.cut_over(world.settings, NEW, ledger=world.ledger)
    assert compared.rows == 10, "only tables of rows, which have no windows"
    assert world.found_rows(NEW)["carts"] == ROWS[2]["carts"]
    assert {name: events for name, (events, _) in world.rows(OLD).items()} == {"a": 1, "b": 2, "c": 3}
