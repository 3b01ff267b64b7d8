"""What corrections keep beside the tables of figures, against the late events of the topic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import moment_at, ms_of
from retailpulse_kernel.reconcile.comparing import Range, Rows, check_figures
from retailpulse_kernel.reconcile.result import TableCheck
from retailpulse_kernel.reconcile.sums import Facts, TableSums
from retailpulse_kernel.reconcile.tables import Share
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.tables import LATE_EVENTS, FigureTable, Grain, with_late_part
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.registry import figure_store
from retailpulse_kernel.streaming.checkpoint.batches import JobBatches
from retailpulse_kernel.streaming.checkpoint.corrections import Backfilled, Corrected, backfills_of, read_corrected

__all__ = ["Kept", "check_late", "kept_of"]


class _Stored(NamedTuple):
    """A stored table beside one of a job's, without the time of the correction."""

    store: str
    table: FigureTable
    grain: Grain
    rows: Rows


@dataclass(frozen=True)
class Kept:
    """What is kept of a job's late events, as it was read once.

    Attributes
    ----------
    corrected : Corrected
        How far it goes.
    backfills : tuple of Backfilled
        Those that may have counted late events in the job's own tables.
    stored : list of stored tables
        The rows.
    """

    corrected: Corrected
    backfills: tuple[Backfilled, ...]
    stored: list[_Stored]


def kept_of(
    settings: Settings, jobs: Mapping[str, JobBatches], shares: Mapping[str, Share]
) -> tuple[dict[str, Kept], list[str]]:
    """What is kept of the jobs' late events, by the jobs; and sentences about what can't be compared.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    jobs : mapping of str to JobBatches
        The newest epochs of the jobs.
    shares : mapping of str to Share
        What of each job is compared.
    """
    found: dict[str, Kept] = {}
    notes: list[str] = []
    for name, job in jobs.items():
        folder = f"{settings.checkpoints}/{name}"
        before = read_corrected(folder)
        if before is None or not shares[name].tables:
            continue
        stored = list(_stored(shares[name], lambda store: figure_store(store, settings)))
        if before.epoch != job.epoch:
            notes.append(f"The late events of {name} are not compared: its new epoch is not corrected yet.")
        elif before.under_way or read_corrected(folder) != before:
            notes.append(f"The late events of {name} are not compared: a correction is under way, or was ended early.")
        else:
            found[name] = Kept(before, backfills_of(folder, job.epoch), stored)
    return found, notes


def _stored(share: Share, store_of: Callable[[str], FigureStore]) -> Iterator[_Stored]:
    for name, table in share.tables:
        for part in with_late_part(table)[1:]:
            counted = replace(part, figures=(*table.figures, LATE_EVENTS))  # all but the time of the correction
            with closing(store_of(name)) as store:
                for grain in table.every:
                    yield _Stored(name, counted, grain, _rows(store, counted, grain))


def check_late(job: str, kept: Kept, events: Iterable[Event], within: Range) -> list[TableCheck]:
    """Compare what is kept with a fold of the late events.

    Parameters
    ----------
    job : str
        The job.
    kept : Kept
        What its corrections keep.
    events : iterable of Event
        Its late events, as far as they are corrected.
    within : Range
        Only windows within are compared.
    """
    late = list(events)
    times = [ms_of(event.event_time) for event in late]
    checks = []
    sums: dict[tuple[str, str], TableSums] = {}
    for store, table, grain, rows in kept.stored:
        of = sums.get((store, table.name))
        if of is None:
            of = sums[store, table.name] = TableSums(table)
            if late:
                of.add(Facts([table])(late, times))
        folded = of.rows(grain, within.start_ms, within.end_ms)
        sides = [_compared(side, grain, within, kept.backfills) for side in (rows, folded)]
        checks.append(check_figures(store, job, table, grain, *sides))
    return checks


def _rows(store: FigureStore, table: FigureTable, grain: Grain) -> Rows:
    """The rows that late events add something to."""
    try:
        found = store.read(table, grain, figures=table.figures)
    except UsageError:  # no correction has made it
        return {}
    return {
        (ms_of(row[grain.name]), *(row[name] for name in table.by)): tuple(row[one.name] for one in table.figures)
        for row in found
        if row[LATE_EVENTS.name]
    }


def _compared(rows: Rows, grain: Grain, within: Range, backfills: tuple[Backfilled, ...]) -> Rows:
    """Rows of the windows within, but those that a backfill has written with their late events."""
    return {
        key: values
        for key, values in rows.items()
        if within.holds(key[0], grain)
        and not any(one.late and one.holds(moment_at(key[0]), grain) for one in backfills)
    }
