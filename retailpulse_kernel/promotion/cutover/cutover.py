"""The cutover: another epoch replaces the live one, tables and checkpoint. The live one is kept for a rollback.

The job does not run meanwhile. A note says what is to be done, and every step may be done again from the note:
after a kill, the next run finishes the cutover before it does anything else.

1. the live tables are set aside under the number of their epoch (once: later steps change the tables);
2. the live tables are made equal to those of the incoming epoch: differing figures and all rows are written, what the
   incoming epoch does not have is removed, the archive's files change places. Tables of rows without a key, and those
   whose columns or key have changed, are made anew. A topic keeps what was sent;
3. the incoming epoch's accounts get the new number;
4. the incoming epoch's checkpoint becomes the newest epoch, and the job continues from its offsets;
5. the oldest kept epoch and the staged epoch are removed, then the note. From here on there is nothing left that
   steps 2 to 4 could be done from. They are done where the newest epoch is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from retailpulse_kernel.ground.files import put_in_place, write_whole
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.copying import (
    bring_in,
    compare_rows,
    discard_tables,
    kept_archive,
    set_aside,
)
from retailpulse_kernel.promotion.cutover.row_copying import (
    bring_rows_in,
    compare_row_tables,
    discard_row_tables,
    set_rows_aside,
)
from retailpulse_kernel.promotion.cutover.staging import (
    Begin,
    begin_of,
    discard,
    epoch_folder,
    staged_epoch,
    staging_of,
)
from retailpulse_kernel.promotion.cutover.tables import archives, drop_incompatible
from retailpulse_kernel.shop.comparison import Compared
from retailpulse_kernel.stores.registry import event_archive
from retailpulse_kernel.streaming.checkpoint.accounts import Ledger
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, epochs, find_epoch, next_start_ms
from retailpulse_kernel.streaming.checkpoint.files import read_note, write_note
from retailpulse_kernel.streaming.plan.data import Plan, read_plan

__all__ = ["complete", "cut_over", "is_kept"]

_KEPT, _NOTE = "kept.json", "exchange.json"
#: Replaced epochs of a job that are kept for a rollback.
_MOST_KEPT = 2


@dataclass(frozen=True)
class Cutover:
    """The note of a cutover under way. Its fields are stored: their names stay.

    Attributes
    ----------
    number, start_ms : int
        The new epoch's number, and its start in milliseconds since 1970.
    checkpoint : str
        The checkpoint of the incoming epoch.
    namespace : str
        The namespace with the incoming epoch's accounts.
    epoch : int
        The number of the incoming epoch there.
    kept : bool
        Whether the incoming epoch was live before, so that its tables are kept; otherwise it is a staged epoch.
    replaced : int
        The number of the live epoch that is replaced.
    old, new : Plan
        The plans of the replaced and of the incoming epoch.
    begin : Begin
        Where the incoming epoch began: earlier windows stay.
    is_aside : bool
        Whether the live tables are set aside already.
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
    """Whether an epoch's tables were set aside when it was replaced.

    Parameters
    ----------
    epoch : Epoch
        An epoch of a live job's checkpoint.
    """
    return read_note(epoch.path, _KEPT) is not None


def cut_over(
    live: Settings, plan: Plan, kept: Epoch | None = None, *, ledger: Callable[[Settings], Ledger] = Ledger
) -> Compared:
    """Replace the newest epoch by a staged or a kept one. The job's writer must not run.

    Parameters
    ----------
    live : Settings
        The live namespace.
    plan : Plan
        The plan of the version that runs from now on.
    kept : Epoch, optional
        An epoch that was replaced before; the staged epoch when absent.
    ledger : callable
        Gives the accounts of a namespace.

    Returns
    -------
    Compared
        The differences in the figures and rows that both epochs have; empty for a kept epoch.
    """
    folder = f"{live.checkpoints}/{plan.job}"
    newest, incoming = find_epoch(folder), kept or staged_epoch(live, plan)
    assert newest is not None and incoming is not None
    old, was = read_plan(newest.path), read_plan(incoming.path)
    assert old is not None and was is not None
    if kept is None:
        begin = begin_of(incoming)
        staging = staging_of(live)
        compared = compare_rows(live, staging, old, plan, since=begin.since, until=None)
        compared += compare_row_tables(live, staging, old, plan)
    else:
        begin, compared = msgspec.json.decode(read_note(kept.path, _KEPT) or b"", type=Begin), Compared()
    note = Cutover(
        number=newest.number + 1,
        # What the cutover writes is of the moment before, so that the first micro-batch wins over it.
        start_ms=next_start_ms(newest) + 1,
        checkpoint=incoming.path,
        namespace=live.namespace.name if kept else staging_of(live).namespace.name,
        epoch=incoming.number,
        kept=kept is not None,
        replaced=newest.number,
        old=old,
        new=was,
        begin=begin,
    )
    _note(live, plan.job, note)
    complete(live, plan.job, ledger=ledger)
    return compared


def complete(live: Settings, job: str, *, ledger: Callable[[Settings], Ledger] = Ledger) -> bool:
    """Finish a cutover that was begun. The job's writer must not run.

    Parameters
    ----------
    live : Settings
        The live namespace.
    job : str
        The streaming job's name.
    ledger : callable
        Gives the accounts of a namespace.

    Returns
    -------
    bool
        False where no cutover was begun.
    """
    content = read_note(f"{live.checkpoints}/{job}", _NOTE) if find_epoch(f"{live.checkpoints}/{job}") else None
    if content is None:
        return False
    note = msgspec.json.decode(content, type=Cutover)
    if not note.is_aside:
        _set_aside(live, note)
        note = replace(note, is_aside=True)
        _note(live, job, note)
    newest = _folder(live, job) / f"e{note.number:04d}"
    if not newest.exists():
        _bring_in(live, note)
        _take_accounts(ledger(live.within(note.namespace)), ledger(live), note)
        _take_checkpoint(note, newest)
    _clean_up(live, job, note)
    (_folder(live, job) / _NOTE).unlink()
    return True


def _note(live: Settings, job: str, note: Cutover) -> None:
    write_note(f"{live.checkpoints}/{job}", _NOTE, msgspec.json.encode(note))


def _folder(live: Settings, job: str) -> Path:
    return epoch_folder(Epoch(0, 0, f"{live.checkpoints}/{job}"))


def _kept_files(live: Settings, epoch: int) -> Path:
    return Path(kept_archive(staging_of(live), epoch))


def _set_aside(live: Settings, note: Cutover) -> None:
    staging = staging_of(live)
    set_aside(live, staging, note.old, note.replaced, since=note.begin.since)
    set_rows_aside(live, staging, note.old, note.replaced)
    newest = next(e for e in epochs(f"{live.checkpoints}/{note.new.job}") if e.number == note.replaced)
    write_note(newest.path, _KEPT, msgspec.json.encode(note.begin))


def _bring_in(live: Settings, note: Cutover) -> None:
    staging = staging_of(live)
    if archives(note.new):
        hive = event_archive(live)
        hive.create()
        hive.retire(note.number, note.begin.offsets, keep=_kept_files(live, note.replaced))
        source = _kept_files(live, note.epoch) if note.kept else event_archive(staging).location
        hive.take_in(source, note.number)
        hive.close()
    drop_incompatible(live, note.old, note.new)
    kept, version = note.epoch if note.kept else None, note.start_ms - 1
    bring_in(live, staging, note.new, kept, version=version, since=note.begin.since)
    bring_rows_in(
        live, staging, note.old, note.new, kept, replaced=note.replaced, number=note.number, version=version
    )  # fmt: skip


def _take_accounts(source: Ledger, target: Ledger, note: Cutover) -> None:
    mine = (a for a in source.read() if (a.job, a.epoch) == (note.new.job, note.epoch))
    target.write_all(replace(account, epoch=note.number, start_ms=note.start_ms) for account in mine)


def _take_checkpoint(note: Cutover, target: Path) -> None:
    aside = target.with_name(f"{target.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(epoch_folder(Epoch(0, 0, note.checkpoint)), aside)
    (aside / _KEPT).unlink(missing_ok=True)
    about = {"number": note.number, "start_ms": note.start_ms, "from": note.epoch}
    write_whole(aside / "epoch.json", json.dumps(about))
    put_in_place(aside, target)


def _clean_up(live: Settings, job: str, note: Cutover) -> None:
    """Discard the incoming epoch where it was, and the oldest kept epochs."""
    all_epochs = epochs(f"{live.checkpoints}/{job}")
    kept = [epoch for epoch in all_epochs if is_kept(epoch)]
    if note.kept:
        discarded = [epoch for epoch in kept if epoch.number == note.epoch]
    else:
        discard(live, Epoch(note.epoch, 0, note.checkpoint), note.new)
        discarded = []
    others = [epoch for epoch in kept if epoch not in discarded]
    for epoch in [*discarded, *others[:-_MOST_KEPT]]:
        if (plan := read_plan(epoch.path)) is not None:
            discard_tables(staging_of(live), plan, epoch.number)
            discard_row_tables(staging_of(live), plan, epoch.number)
        shutil.rmtree(_kept_files(live, epoch.number), ignore_errors=True)
        (epoch_folder(epoch) / _KEPT).unlink(missing_ok=True)
