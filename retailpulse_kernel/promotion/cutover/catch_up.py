"""After the gate: the staged epoch of a version catches up with the live job, and is compared with it.

The live version runs on meanwhile. Killed before the new version is current, the live version stays. Killed after
that, the next run finishes the cutover.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import filelock

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.row_copying import compare_row_tables
from retailpulse_kernel.promotion.cutover.staging import behind, compare_closed, follow, staged_epoch, staging_of
from retailpulse_kernel.promotion.cutover.versions import resume_plan
from retailpulse_kernel.promotion.registry.registry import Registry, Version
from retailpulse_kernel.shop.comparison import Compared
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.streaming.checkpoint.log import committed_batch
from retailpulse_kernel.streaming.checkpoint.writer import writer_lock
from retailpulse_kernel.streaming.plan.data import Plan, read_plan
from retailpulse_kernel.streaming.run.changes import compare

__all__ = ["CatchUp", "catch_up"]

#: With at most so many messages left, the staged epoch has caught up: the rest takes a moment once the live job ends.
_NEAR = 10_000
#: Seconds that the staged epoch follows on when no run of the live job is there to hand over.
_PATIENCE = 60.0
#: Differences of plans after which the figures that both versions have must still be equal.
_SAME_FIGURES = {"figures", "windows", "output", "rejects", "table", "key", "rows"}


@dataclass
class CatchUp:
    """How far a catch-up is.

    Attributes
    ----------
    messages, left : int
        How many had to be caught up with, and how many of them are left.
    seconds : float
        How long the catch-up took.
    compared : Compared, optional
        The live version with the new one, in closed windows.
    rows : Compared, optional
        The same of tables of rows. They have no windows, so they may differ by what the staged epoch still lacks.
    activated : bool
        Whether the version has become the current one.
    problem : str
        Why the version has not become the current one.
    """

    messages: int = 0
    left: int = 0
    seconds: float = 0.0
    compared: Compared | None = None
    rows: Compared | None = None
    activated: bool = False
    problem: str = ""


class StagedEpoch(Protocol):
    """The staged epoch, as far as the catch-up needs it."""

    def left(self) -> int | None:
        """Messages that the live epoch has taken and the staged one has not; None before both have a batch."""

    def has_started(self) -> bool:
        """Whether the staged epoch has committed a batch."""

    def compared(self) -> Compared:
        """The closed windows of the live epoch, compared with the staged one's."""

    def compared_rows(self) -> Compared:
        """The tables of rows of the live epoch, compared with the staged one's."""

    def follow(self, stop_when: Callable[[], bool]) -> None:
        """Run the new version's job until a condition holds.

        Parameters
        ----------
        stop_when : callable
            The condition; asked every second or so.
        """


class _Staged:
    """The staged epoch in the servers and on the disk."""

    def __init__(self, settings: Settings, version: Version, plan: Plan, live: Epoch) -> None:
        self._settings, self._version, self._plan, self._live = settings, version, plan, live

    def left(self) -> int | None:
        left = behind(self._settings, self._plan, self._live)
        if left is None and committed_batch(self._live.path) is not None:
            return 0  # another topic: there are no offsets to catch up with
        return left

    def has_started(self) -> bool:
        epoch = staged_epoch(self._settings, self._plan)
        return epoch is not None and committed_batch(epoch.path) is not None

    def compared(self) -> Compared:
        old = read_plan(self._live.path)
        assert old is not None
        return compare_closed(self._settings, old, self._plan, self._live)

    def compared_rows(self) -> Compared:
        old = read_plan(self._live.path)
        assert old is not None
        return compare_row_tables(self._settings, staging_of(self._settings), old, self._plan)

    def follow(self, stop_when: Callable[[], bool]) -> None:
        follow(self._settings, self._version, self._live, stopped=False, stop_when=stop_when)


def catch_up(
    settings: Settings,
    version: Version,
    report: Callable[[CatchUp], None] = lambda state: None,
    *,
    staged: Callable[[Settings, Version, Plan, Epoch], StagedEpoch] = _Staged,
) -> CatchUp | None:
    """Make a frozen version the current one, after the catch-up of its staged epoch where the version needs one.

    Parameters
    ----------
    settings : Settings
        The live namespace.
    version : Version
        The version: frozen, and not current yet.
    report : callable
        Called with the catch-up every second or so.
    staged : callable
        Makes the staged epoch.

    Returns
    -------
    CatchUp, optional
        None for a version without a new epoch, which is current at once.

    Raises
    ------
    RetailPulseError
        The new version's notebook failed; the live version runs on.
    """
    registry, plan, name = Registry(settings), version.manifest.plan, version.manifest.name
    resume = resume_plan(settings, plan) if plan is not None else None
    live = resume.epoch if resume is not None and resume.kind == "new epoch" else None
    old = read_plan(live.path) if live is not None and committed_batch(live.path) is not None else None
    if plan is None or live is None or old is None:
        registry.activate(name, version.manifest.version)
        return None
    epoch = staged(settings, version, plan, live)
    observer = _Observer(settings, registry, version, old, epoch, report)
    epoch.follow(observer)
    if not observer.has_decided:
        observer.check(near=0)  # a scheduled job's run ends by itself, maybe between two looks
    if not observer.has_decided:
        observer.state.problem = "the catch-up was ended before its end"
    return observer.state


class _Observer:
    """Observes the catch-up, every second or so; true when the catch-up should end."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        version: Version,
        old: Plan,
        staged: StagedEpoch,
        report: Callable[[CatchUp], None],
    ) -> None:
        self._settings, self._registry, self._version = settings, registry, version
        self._old, self._staged, self._report = old, staged, report
        self._begun, self._free_since = time.monotonic(), 0.0
        self.state = CatchUp()

    @property
    def has_decided(self) -> bool:
        """Whether the version became the current one, or why it did not is known."""
        return self.state.activated or bool(self.state.problem)

    def __call__(self) -> bool:
        try:
            return self._is_alone() if self.state.activated else self.check()
        except RetailPulseError as error:
            self.state.problem = str(error)
            return True

    def check(self, near: int = _NEAR) -> bool:
        """Make the version current once it has caught up but for `near` messages; whether the catch-up must end."""
        left = self._staged.left()
        if left is None:
            return False
        self.state.left, self.state.messages = left, max(left, self.state.messages)
        self.state.seconds = time.monotonic() - self._begun
        self._report(self.state)
        if left > near or not self._staged.has_started():
            return False
        plan = self._version.manifest.plan
        assert plan is not None
        self.state.compared, self.state.rows = self._staged.compared(), self._staged.compared_rows()
        differences = {difference.what for difference in compare(self._old, plan)}
        if self.state.compared.differing and differences <= _SAME_FIGURES:
            self.state.problem = f"the figures that have not changed differ: {self.state.compared}"
            return True
        self._registry.activate(self._version.manifest.name, self._version.manifest.version)
        self.state.activated = True
        self._report(self.state)
        return False

    def _is_alone(self) -> bool:
        """Whether no run of the live job has held its lock for some time."""
        try:
            with writer_lock(self._settings, self._version.manifest.name).acquire(timeout=0):
                pass
        except filelock.Timeout:
            self._free_since = 0.0
            return False
        self._free_since = self._free_since or time.monotonic()
        return time.monotonic() - self._free_since > _PATIENCE
