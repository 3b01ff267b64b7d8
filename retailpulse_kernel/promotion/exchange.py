"""Putting another epoch in the live one's place, tables and checkpoint, and keeping the live one for the way back.

The job does not run meanwhile. What is to be done is written down first, and every step may be done again from
that: killed anywhere, the next run ends it before it does anything else.

1. the live tables are set aside under the number of their epoch (once: later steps change them);
2. the live tables are made equal to those of the epoch that comes in: rows that differ are written, rows that it
   does not have are removed, the archive's files change places;
3. its accounts become those of the new number;
4. its checkpoint becomes the newest epoch, from whose offsets the job goes on;
5. what nobody will go back to is removed, and the note with it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from retailpulse_kernel.promotion.beside import Begin, begin_of, beside_of, epoch_folder, made, spend
from retailpulse_kernel.promotion.moving import (
    Compared,
    bring_in,
    compare_rows,
    forget,
    kept_archive,
    set_aside,
)
from retailpulse_kernel.promotion.tables import make_way
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.hive import HiveStore
from retailpulse_kernel.streaming.accounts import Ledger, read_accounts
from retailpulse_kernel.streaming.checkpoint import Epoch, epochs, find_epoch, next_start_ms, read_note, write_note
from retailpulse_kernel.streaming.plan import Plan, read_plan

__all__ = ["complete", "exchange", "is_kept"]

_KEPT, _NOTE = "kept.json", "exchange.json"
#: Replaced epochs that are kept for the way back, of each job.
_MOST_KEPT = 2


@dataclass(frozen=True)
class Exchange:
    """An exchange that is under way.

    Attributes
    ----------
    number, start_ms : int
        Of the new epoch.
    checkpoint : str
        The epoch that comes in.
    namespace, epoch
        Under which its accounts are.
    kept : bool
        Whether it was live before, so that its tables stand aside; otherwise it was made beside.
    replaced : int
        The live epoch that goes.
    old, new : Plan
        What the two mean.
    begin : Begin
        What of the tables is exchanged.
    is_aside : bool
        Whether the first step is done.
    """

    number: int
    start_ms: int
    checkpoint: str
    namespace: str
    epoch: int
    kept: bool
    replaced: int
    old: Plan
    new: Plan
    begin: Begin
    is_aside: bool = False


def is_kept(epoch: Epoch) -> bool:
    """Whether an epoch's tables were set aside when it was replaced."""
    return read_note(epoch.path, _KEPT) is not None


def exchange(live: Settings, plan: Plan, kept: Epoch | None = None) -> Compared:
    """Put an epoch in the place of the newest one, whose writer must not run; what differed in the figures of both.

    Parameters
    ----------
    plan : Plan
        Of the version that runs from now on.
    kept : Epoch, optional
        One that was replaced before; the one that was made beside when absent.
    """
    folder = f"{live.checkpoints}/{plan.job}"
    newest, incoming = find_epoch(folder), kept or made(live, plan)
    assert newest is not None and incoming is not None
    old, was = read_plan(newest.path), read_plan(incoming.path)
    assert old is not None and was is not None
    if kept is None:
        begin = begin_of(incoming)
        compared = compare_rows(live, beside_of(live), old, plan, since=begin.since, until=None)
    else:
        begin, compared = msgspec.json.decode(read_note(kept.path, _KEPT) or b"", type=Begin), Compared()
    note = Exchange(
        number=newest.number + 1,
        start_ms=next_start_ms(newest),
        checkpoint=incoming.path,
        namespace=live.namespace.name if kept else beside_of(live).namespace.name,
        epoch=incoming.number,
        kept=kept is not None,
        replaced=newest.number,
        old=old,
        new=was,
        begin=begin,
    )
    _note(live, plan.job, note)
    complete(live, plan.job)
    return compared


def complete(live: Settings, job: str) -> bool:
    """End an exchange that was begun; False where none was. The job's writer must not run."""
    content = read_note(f"{live.checkpoints}/{job}", _NOTE) if find_epoch(f"{live.checkpoints}/{job}") else None
    if content is None:
        return False
    note = msgspec.json.decode(content, type=Exchange)
    if not note.is_aside:
        _set_aside(live, note)
        note = replace(note, is_aside=True)
        _note(live, job, note)
    _bring_in(live, note)
    _take_accounts(live, note)
    _take_checkpoint(live, job, note)
    _clean_up(live, job, note)
    (_folder(live, job) / _NOTE).unlink()
    return True


def _note(live: Settings, job: str, note: Exchange) -> None:
    write_note(f"{live.checkpoints}/{job}", _NOTE, msgspec.json.encode(note))


def _folder(live: Settings, job: str) -> Path:
    return epoch_folder(Epoch(0, 0, f"{live.checkpoints}/{job}"))


def _archives(plan: Plan) -> bool:
    return any(table.store == "hive" for table in plan.tables)


def _kept_files(live: Settings, epoch: int) -> Path:
    return Path(kept_archive(beside_of(live), epoch))


def _set_aside(live: Settings, note: Exchange) -> None:
    set_aside(live, beside_of(live), note.old, note.replaced, since=note.begin.since)
    newest = next(e for e in epochs(f"{live.checkpoints}/{note.new.job}") if e.number == note.replaced)
    write_note(newest.path, _KEPT, msgspec.json.encode(note.begin))


def _bring_in(live: Settings, note: Exchange) -> None:
    beside = beside_of(live)
    if _archives(note.new):
        hive = HiveStore(live)
        hive.create()
        hive.retire(note.number, note.begin.offsets, keep=_kept_files(live, note.replaced))
        source = _kept_files(live, note.epoch) if note.kept else HiveStore(beside).location
        hive.take_in(source, note.number)
        hive.close()
        return
    make_way(live, note.old, note.new)
    bring_in(live, beside, note.new, note.epoch if note.kept else None, version=note.start_ms, since=note.begin.since)


def _take_accounts(live: Settings, note: Exchange) -> None:
    source = live.within(note.namespace)
    mine = (a for a in read_accounts(source) if (a.job, a.epoch) == (note.new.job, note.epoch))
    Ledger(live).write_all(replace(account, epoch=note.number, start_ms=note.start_ms) for account in mine)


def _take_checkpoint(live: Settings, job: str, note: Exchange) -> None:
    target = _folder(live, job) / f"e{note.number:04d}"
    if target.exists():
        return
    aside = target.with_name(f"{target.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(epoch_folder(Epoch(0, 0, note.checkpoint)), aside)
    (aside / _KEPT).unlink(missing_ok=True)
    about = {"number": note.number, "start_ms": note.start_ms, "from": note.epoch}
    (aside / "epoch.json").write_text(json.dumps(about))
    aside.rename(target)


def _clean_up(live: Settings, job: str, note: Exchange) -> None:
    """Remove what came in from where it was, and the oldest of what is kept."""
    all_epochs = epochs(f"{live.checkpoints}/{job}")
    kept = [epoch for epoch in all_epochs if is_kept(epoch)]
    if note.kept:
        spent = [epoch for epoch in kept if epoch.number == note.epoch]
    else:
        spend(live, Epoch(note.epoch, 0, note.checkpoint), note.new)
        spent = []
    others = [epoch for epoch in kept if epoch not in spent]
    for epoch in [*spent, *others[:-_MOST_KEPT]]:
        if (plan := read_plan(epoch.path)) is not None:
            forget(beside_of(live), plan, epoch.number)
        shutil.rmtree(_kept_files(live, epoch.number), ignore_errors=True)
        (epoch_folder(epoch) / _KEPT).unlink(missing_ok=True)
