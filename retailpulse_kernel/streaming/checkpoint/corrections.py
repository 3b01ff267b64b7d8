"""What is noted of a job's late events: how far they are corrected, and which backfills have counted them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from retailpulse_kernel.shop.windows import Grain
from retailpulse_kernel.streaming.checkpoint.files import read_note, write_note

__all__ = [
    "Backfilled",
    "Corrected",
    "add_backfilled",
    "backfills_of",
    "counts_late",
    "read_corrected",
    "write_corrected",
]

_CORRECTED: Final = "corrected.json"
_BACKFILLED: Final = "backfilled.json"


class Corrected(msgspec.Struct, frozen=True):
    """How far a job's tables are corrected.

    Attributes
    ----------
    epoch : int
        The epoch whose late events they are.
    of : str
        A text that changes with the tables and the backfills: then all is corrected again.
    ends : dict of int to int
        The offset of each partition up to which late events are in the corrections.
    hours : dict of str to str
        The archive's hours that were read, with what their files were.
    late : dict of str to int
        How many late events the hours hold, where they hold some.
    under_way : bool
        Whether a correction is writing, or was ended before it had written all.
    """

    epoch: int
    of: str
    ends: dict[int, int]
    hours: dict[str, str]
    late: dict[str, int] = {}
    under_way: bool = False


class Backfilled(msgspec.Struct, frozen=True):
    """A range of windows that a backfill has written.

    Attributes
    ----------
    epoch : int
        The job's epoch at that time: another one writes the windows anew.
    since, until : datetime or None
        The range; None is not a bound.
    late : bool
        Whether it counted late events.
    ends : dict of int to int
        The offset of each partition up to which it read.
    """

    epoch: int
    since: datetime | None
    until: datetime | None
    late: bool
    ends: dict[int, int]

    def holds(self, start: datetime, grain: Grain) -> bool:
        """Whether it has written a window.

        Parameters
        ----------
        start : datetime
            The window's start.
        grain : Grain
            How long the window is.
        """
        return (self.since is None or start >= self.since) and (self.until is None or grain.end(start) <= self.until)


def read_corrected(folder: str) -> Corrected | None:
    """How far a job's tables are corrected; None where no correction has run.

    Parameters
    ----------
    folder : str
        The job's folder of checkpoints.
    """
    content = read_note(folder, _CORRECTED)
    return None if content is None else msgspec.json.decode(content, type=Corrected)


def write_corrected(folder: str, corrected: Corrected) -> None:
    """Note how far a job's tables are corrected.

    Parameters
    ----------
    folder : str
        The job's folder of checkpoints.
    corrected : Corrected
        The note.
    """
    write_note(folder, _CORRECTED, msgspec.json.encode(corrected))


def backfills_of(folder: str, epoch: int) -> tuple[Backfilled, ...]:
    """The backfills beside an epoch of a job, oldest first.

    Parameters
    ----------
    folder : str
        The job's folder of checkpoints.
    epoch : int
        The epoch's number.
    """
    content = read_note(folder, _BACKFILLED)
    found = () if content is None else msgspec.json.decode(content, type=tuple[Backfilled, ...])
    return tuple(one for one in found if one.epoch == epoch)


def add_backfilled(folder: str, backfilled: Backfilled) -> None:
    """Note a backfill, before it writes.

    Parameters
    ----------
    folder : str
        The job's folder of checkpoints.
    backfilled : Backfilled
        The backfill.
    """
    before = [one for one in backfills_of(folder, backfilled.epoch) if _range(one) != _range(backfilled)]
    if backfilled.late or any(one.late for one in before):
        write_note(folder, _BACKFILLED, msgspec.json.encode([*before, backfilled]))
    elif read_note(folder, _BACKFILLED) is not None:
        write_note(folder, _BACKFILLED, msgspec.json.encode(before))


def counts_late(backfills: tuple[Backfilled, ...], start: datetime, grain: Grain, partition: int, offset: int) -> bool:
    """Whether a window of the job's table holds a late event already: the newest backfill of the window counted it.

    Parameters
    ----------
    backfills : tuple of Backfilled
        Those of the job's epoch, oldest first.
    start : datetime
        The window's start.
    grain : Grain
        How long the window is.
    partition, offset : int
        The event's place.
    """
    newest = next((one for one in reversed(backfills) if one.holds(start, grain)), None)
    return newest is not None and newest.late and offset < newest.ends.get(partition, 0)


def _range(one: Backfilled) -> tuple[datetime | None, datetime | None]:
    return one.since, one.until
