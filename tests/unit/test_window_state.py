"""A job's window state: the absolute figures, whatever is done again, set back, copied or killed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.shop.figures import ACTIVE_USERS, FIGURES, Figure
from retailpulse_kernel.shop.kinds import Kind, arrow_type
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.shop.tables import GRAINS, SESSION, USER, FigureTable
from retailpulse_kernel.streaming.state import users
from retailpulse_kernel.streaming.state.window_state import COPIED, WindowState, is_summable, undo_file
from tests.processes import forked

FIGURE_LIST: list[Figure] = [*SESSION.figures, ACTIVE_USERS]
TABLES = (FigureTable("session", tuple(FIGURE_LIST), SESSION.by, SESSION.every), USER)
SLOTS = [(table, grain) for table in TABLES for grain in table.every]
HOUR = datetime(2026, 3, 1, 10, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("slot", pa.int32()),
        ("end", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in ("currency", "session_id", "user_id")),
        *((figure.name, arrow_type(figure.rules.value)) for figure in FIGURE_LIST),
    ]
)
KEY = SCHEMA.names[:5]
USERS = "abcdefgh"


def row(
    user: str, *, hour: int = 0, slot: int = 0, count: int = 1, money: str = "1.5", at: int | None = 5,
    seen: frozenset[str] = frozenset("a"),
) -> Any:  # fmt: skip
    """What a batch adds to one window of a session or a user; users as the set that they are."""
    end = HOUR + timedelta(hours=hour + 1) if slot == 0 else datetime(2026, 3, 2, tzinfo=UTC)
    moment = None if at is None else HOUR + timedelta(hours=hour, seconds=at)
    figures = {"events": count, "views": 0, "purchases": count, "units": -count, "revenue": Decimal(money)}
    figures |= {"orders": count, "first_event": moment, "last_event": moment, "active_users": seen}
    key = {"slot": slot, "end": end, "currency": "USD", "session_id": None if slot else f"s-{user}", "user_id": user}
    return key | figures


def table(rows: Sequence[Any]) -> pa.Table:
    return pa.Table.from_pylist([r | {"active_users": sketches.of(r["active_users"])} for r in rows], schema=SCHEMA)


def add(state: WindowState, rows: Sequence[Any], *, batch: int, watermark_ms: int = 0) -> list[Any]:
    """The rows, with the set of those of `USERS` that their sketches are of."""
    found = state.update(table(rows), batch=batch, watermark_ms=watermark_ms).to_pylist()
    return [r | {"active_users": _users_of(r["active_users"])} for r in found]


def _users_of(sketch: bytes) -> frozenset[str]:
    size = sketches.estimate(sketch)
    return frozenset(user for user in USERS if sketches.estimate(sketches.union([sketch, sketches.of([user])])) == size)


class Model:
    """The same, as a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Any] = {}

    def add(self, rows: Sequence[Any]) -> list[Any]:
        result = []
        for new in rows:
            key = tuple(new[name] for name in KEY)
            before = self.rows.get(key, {})
            figures: dict[str, Any] = {f.name: f.combine([before.get(f.name), new[f.name]]) for f in SESSION.figures}
            figures["active_users"] = before.get("active_users", frozenset()) | new["active_users"]
            self.rows[key] = dict(zip(KEY, key, strict=True)) | figures
            result.append(self.rows[key])
        return result


def test_what_a_batch_adds_is_added_up(tmp_path: Path) -> None:
    state = WindowState(tmp_path, SLOTS)
    assert add(state, [row("a"), row("a", slot=1)], batch=0) == [row("a"), row("a", slot=1)]
    first, second = add(state, [row("b"), row("a", count=2, money="-0.0001", at=3)], batch=1)
    assert first == row("b")
    assert (second["events"], second["units"], second["revenue"]) == (3, -3, Decimal("1.4999"))
    assert second["first_event"] == row("a", at=3)["first_event"] and second["last_event"] == row("a")["last_event"]
    assert state.count == 3
    assert state.size == sum(path.stat().st_size for path in tmp_path.iterdir() if path.suffix in (".sums", ".users"))


def test_a_batch_of_no_rows_is_a_batch(tmp_path: Path) -> None:
    state = WindowState(tmp_path, SLOTS)
    assert add(state, [], batch=0) == []
    add(state, [row("a")], batch=1)
    assert add(state, [], batch=2) == []
    assert add(WindowState(tmp_path, SLOTS), [row("a")], batch=3)[0]["events"] == 2


def test_keys_are_told_apart_whatever_is_in_them(tmp_path: Path) -> None:
    state = WindowState(tmp_path, SLOTS)
    rows = [row("a") | {"session_id": s, "user_id": u} for s, u in [("1:a", "b"), ("1", "a:b"), ("", None), (None, "")]]
    assert add(state, rows, batch=0) == rows
    assert [found["events"] for found in add(state, rows, batch=1)] == [2, 2, 2, 2]
    assert state.count == 4


_users = st.lists(st.sampled_from([f"u{i}" for i in range(400)]), unique=True, max_size=80)
_batches = st.lists(
    st.lists(
        st.builds(
            lambda users, slot, hour, count, money, at, seen: [
                row(user, slot=slot, hour=hour, count=count, money=money, at=at, seen=seen) for user in users
            ],
            _users, st.integers(0, 1), st.integers(0, 2), st.integers(-5, 10**12),
            st.sampled_from(["0", "19.99", "-19.99", "999999999999999999.9999", "-0.0001"]),
            st.one_of(st.none(), st.integers(0, 3599)),
            st.frozensets(st.sampled_from(USERS)),
        ),
        max_size=3,
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


@given(_batches, st.data())
@settings(deadline=None, max_examples=60)
def test_it_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[list[Any]]], data: st.DataObject
) -> None:
    """Batch after batch, each perhaps done again, or some set back and all after them done again."""
    folder = tmp_path_factory.mktemp("sums")
    state, number = WindowState(folder, SLOTS), 0
    # A window and key comes once in a batch.
    unique = [list({tuple(r[n] for n in KEY): r for part in parts for r in part}.values()) for parts in batches]
    expected: list[list[Any]] = []
    model = Model()
    for rows in unique:
        expected.append(model.add(rows))
    turns = 0
    while number < len(unique):
        assert add(state, unique[number], batch=number) == expected[number]
        if turns < 12 and data.draw(st.booleans()):
            number -= data.draw(st.integers(-1, number))
            if data.draw(st.booleans()):
                state = WindowState(folder, SLOTS)  # the process was started anew
        else:
            number += 1
        turns += 1
        number = min(number, len(expected))
    again = WindowState(folder, SLOTS)
    assert again.count == len(model.rows)
    nothing: dict[str, Any] = {"events": 0, "views": 0, "purchases": 0, "units": 0, "revenue": Decimal(0), "orders": 0}
    nothing |= {"active_users": frozenset()}
    every = [found | nothing for found in model.rows.values()]
    assert add(again, every, batch=len(unique)) == list(model.rows.values())
    shutil.rmtree(folder)


def test_windows_go_when_no_batch_needs_them(tmp_path: Path) -> None:
    state = WindowState(tmp_path, SLOTS)
    hour_ms = 3_600_000
    first_ms = int(HOUR.timestamp() * 1000)
    for hour in range(30):
        add(state, [row("a", hour=hour)], batch=hour, watermark_ms=first_ms + hour * hour_ms)
    # Batches 10 to 29 can be undone; what was over before the first of them is gone.
    kept = sorted(int(path.stem.split("-")[1]) for path in tmp_path.glob("*.sums"))
    assert kept == [first_ms // 1000 + hour * 3_600 for hour in range(11, 31)]
    assert state.count == 20
    assert add(WindowState(tmp_path, SLOTS), [row("a", hour=10)], batch=10, watermark_ms=first_ms + 10 * hour_ms) == [
        row("a", hour=10)
    ]


def test_minutes_share_a_file(tmp_path: Path) -> None:
    minutes = FigureTable("session", tuple(FIGURE_LIST), SESSION.by, (GRAINS["minute"], GRAINS["day"]))
    state = WindowState(tmp_path, [(minutes, grain) for grain in minutes.every])
    ends = [HOUR + timedelta(minutes=minute) for minute in (1, 59, 60, 61)]
    add(state, [row("a") | {"end": end} for end in ends], batch=0)
    assert sorted(path.name for path in tmp_path.glob("*.sums")) == [
        f"0-{int(HOUR.timestamp()) + 3600 * hours}.sums" for hours in (1, 2)
    ]


def test_too_much_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    state = WindowState(tmp_path, SLOTS)
    add(state, [row("a", count=2**63 - 1), row("b", money="999999999999999999999999.9999")], batch=0)
    with pytest.raises(OverflowError, match="events"):
        add(state, [row("b"), row("a")], batch=1)
    with pytest.raises(OverflowError, match="revenue"):
        add(state, [row("b", money="999999999999999999.9999")], batch=1)
    assert add(state, [row("b", money="-999999999999999999999999.9999")], batch=1)[0]["revenue"] == 0


def test_a_state_of_another_moment_is_refused(tmp_path: Path) -> None:
    state = WindowState(tmp_path, SLOTS)
    with pytest.raises(JobError, match=r"not the one after batch 6\. The job can undo no batch"):
        add(state, [row("a")], batch=7)
    for batch in range(30):
        add(state, [row("a")], batch=batch)
    with pytest.raises(JobError, match="batches 10 to 29"):
        add(state, [row("a")], batch=9)
    assert add(state, [row("a")], batch=10)[0]["events"] == 11


def test_a_damaged_undo_file_is_reported(tmp_path: Path) -> None:
    add(WindowState(tmp_path, SLOTS), [row("a")], batch=0)
    for damaged in (b"", b"PK\x03\x04 and no more"):
        undo_file(tmp_path, 0).write_bytes(damaged)
        with pytest.raises(JobError, match="damaged, as after a power failure"):
            add(WindowState(tmp_path, SLOTS), [row("a")], batch=0)


def test_a_state_of_other_figures_is_refused(tmp_path: Path) -> None:
    add(WindowState(tmp_path, SLOTS), [row("a")], batch=0)
    fewer = FigureTable("session", SESSION.figures[:-1], SESSION.by, SESSION.every)
    with pytest.raises(JobError, match=r"other figures\. Start a new epoch"):
        WindowState(tmp_path, [(fewer, GRAINS["hour"])], remedy="Start a new epoch.")


def _add_on(folder: str) -> None:
    """Add batch after batch, until the process is killed; its tables grow meanwhile."""
    state = WindowState(Path(folder), SLOTS)
    batch = _newest(Path(folder))
    while True:
        add(state, _of_batch(batch), batch=batch)
        batch += 1


def _of_batch(batch: int) -> list[Any]:
    seen = frozenset(USERS[batch % len(USERS)])
    return [row(f"u{number % 3_000}", seen=seen) for number in range(batch * 70, batch * 70 + 100)]


def _newest(folder: Path) -> int:
    return max((int(path.stem) for path in folder.glob("*.npz")), default=0)


def _copied(live: Path, copy: Path) -> int:
    """Copy a state that changes, as the gate does: tables before undo files, again where the first undo file is gone.

    Returns
    -------
    int
        The batch that was the newest one when it began.
    """
    while True:
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        newest = _newest(live)
        for path in [path for pattern in COPIED for path in live.glob(pattern)]:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path, copy / path.name)
        if undo_file(copy, newest).exists():
            return newest


def test_killed_or_copied_at_any_moment(tmp_path: Path) -> None:
    """What is left goes on from the last batch or the one before, and a copy too; the figures are those of no fault."""
    live = tmp_path / "sums"
    live.mkdir()
    for turn in range(6):
        before = _newest(live)
        copy = tmp_path / f"copy-{turn}"
        with forked(_add_on, str(live)) as worker:
            while not undo_file(live, before + 25).exists():
                assert worker.is_alive(), f"the worker ended with {worker.exitcode}"
                time.sleep(0.005)
            newest = _copied(live, copy)
            time.sleep(turn * 0.013)
        for folder, batch in ((copy, newest), (live, _newest(live))):
            model = Model()
            for number in range(batch):
                model.add(_of_batch(number))
            assert add(WindowState(folder, SLOTS), _of_batch(batch), batch=batch) == model.add(_of_batch(batch))
            assert WindowState(folder, SLOTS).count == len(model.rows)


def test_users_are_merged_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their file stays small, goes on where a batch is done again, and goes with its window."""
    monkeypatch.setattr(users, "_MOST", 2_000)
    state = WindowState(tmp_path, SLOTS)
    for batch in range(400):
        seen = frozenset(USERS[batch // 40 % len(USERS)])
        found = add(state, [row("a", seen=seen)], batch=batch)[0]
        if batch % 37 == 0:
            state = WindowState(tmp_path, SLOTS)
            assert add(state, [row("a", seen=seen)], batch=batch)[0] == found
        if batch % 90 == 89:
            state = WindowState(tmp_path, SLOTS)
            for again in range(batch - 15, batch + 1):
                found = add(state, [row("a", seen=frozenset(USERS[again // 40 % len(USERS)]))], batch=again)[0]
    assert found["active_users"] == frozenset(USERS) and found["events"] == 400
    (log,) = tmp_path.glob("*.users")
    assert log.stat().st_size < 400 * len(sketches.of("a"))
    over_ms = int((HOUR + timedelta(hours=2)).timestamp() * 1000)
    for batch in range(400, 421):
        add(state, [], batch=batch, watermark_ms=over_ms)
    assert not list(tmp_path.glob("*.users")) and not list(tmp_path.glob("*.sums"))


def test_what_can_be_summed_up() -> None:
    assert all(is_summable(str(f.measure.kind), f.measure.of) for f in FIGURES.values() if isinstance(f, Figure))
    assert not is_summable(Kind.FIRST, "price")
