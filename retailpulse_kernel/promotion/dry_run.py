"""The dry run: the notebook, as production runs it, on a sample of the live events in a shadow namespace."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.metrics import Kind
from retailpulse_kernel.promotion.manifest import Step
from retailpulse_kernel.promotion.tables import figure_store, figure_table
from retailpulse_kernel.running import run_notebook
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.hive import HiveStore
from retailpulse_kernel.streaming.accounts import read_accounts
from retailpulse_kernel.streaming.plan import Plan
from retailpulse_kernel.tables import FigureTable

__all__ = ["dry_run"]

_ADDED = (Kind.COUNT, Kind.SUM, Kind.MONEY)


def dry_run(
    live: Settings, shadow: Settings, notebook: Path, given: Mapping[str, str], plan: Plan | None, *, copied: int
) -> Iterator[Step]:
    """Run a notebook in the shadow, and check what it left there.

    Parameters
    ----------
    copied : int
        How many messages its topic holds there.

    Raises
    ------
    RetailPulseError
        A cell failed, or a server does not answer.
    """
    if plan is not None and not copied:
        raise UsageError(
            f"The topic {live.namespace.topic(plan.topic)!r} holds no events to try it on.",
            remedy="Feed some first: `retailpulse generate`.",
        )
    with _quiet(live.home / "logs" / "promote.log"):
        done = run_notebook(shadow, notebook, given)
    yield Step("dry run", f"{copied:,} events in a shadow namespace, {done.seconds:.0f} s", "ok")
    if plan is None:
        return
    yield _tables(shadow, plan)
    yield _conservation(shadow, plan, copied)


@contextmanager
def _quiet(log: Path) -> Iterator[None]:
    """What the kernel and Spark write to this process's stderr goes to a log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def _tables(shadow: Settings, plan: Plan) -> Step:
    rows: Counter[str] = Counter()
    problems: list[str] = []
    for table in plan.tables:
        if table.store == "hive":
            found = HiveStore(shadow).query(f"select count(*) n, count(distinct event_id) ids from {table.name}")
            rows[table.name] = int(found["n"][0])
            if found["ids"][0] != found["n"][0]:
                problems.append(f"{table.name} holds an event twice")
        else:
            problems += _figures(figure_store(shadow, table.store), figure_table(table), rows)
    problems += [f"{name} has no rows" for name, count in rows.items() if not count]
    if problems:
        return Step("tables", "; ".join(problems), "failed", ok=False)
    counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    return Step("tables", f"{counts} rows, keys unique", "ok")


def _figures(store: FigureStore, table: FigureTable, counts: Counter[str]) -> Iterator[str]:
    """What is wrong with a table of figures; its rows are counted."""
    totals: dict[str, dict[str, Any]] = {}
    for grain in table.every:
        rows = store.read(table, grain)
        name = table.physical(grain)
        counts[name] = len(rows)
        if len({table.key(row, grain) for row in rows}) < len(rows):
            yield f"{name} has a key twice"
        if any(value is None for row in rows for value in table.key(row, grain)):
            yield f"{name} has a key without a value"
        totals[name] = {f.name: f.combine(r[f.name] for r in rows) for f in table.figures if f.measure.kind in _ADDED}
    (first, wanted), *others = totals.items()
    for name, found in others:
        for figure, total in found.items():
            if total != wanted[figure]:
                yield f"{figure} is {wanted[figure]} in {first} and {total} in {name}"


def _conservation(shadow: Settings, plan: Plan, copied: int) -> Step:
    counts: Counter[str] = Counter()
    for account in read_accounts(shadow):
        if account.job == plan.job:
            counts.update({n: getattr(account, n) for n in ("consumed", "accepted", "duplicate", "late", "bad")})
    parts = " + ".join(
        [f"{counts['accepted']:,}", *(f"{counts[name]:,} {name}" for name in ("duplicate", "late", "bad"))]
    )
    total = sum(counts[name] for name in ("accepted", "duplicate", "late", "bad"))
    ok = counts["consumed"] == total == copied
    found = f"{counts['consumed']:,} = {parts}"
    return Step("conservation", found if ok else f"{found}, of {copied:,} messages", "ok" if ok else "failed", ok=ok)
