"""After the gate: a version that needs a new epoch catches up beside the live one, is compared with it, and follows.

The live version runs on until then. Killed anywhere before the switch, the live version stays; after it, the next
run ends what was begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import filelock

from retailpulse_kernel.errors import RetailPulseError
from retailpulse_kernel.promotion.beside import behind, compare_closed, follow, made
from retailpulse_kernel.promotion.comparing import compare
from retailpulse_kernel.promotion.moving import Compared
from retailpulse_kernel.promotion.registry import Registry, Version
from retailpulse_kernel.promotion.switching import way_of
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.streaming.checkpoint import Epoch, committed_batch
from retailpulse_kernel.streaming.plan import Plan, read_plan
from retailpulse_kernel.streaming.writer import writer_lock

__all__ = ["TakingOver", "take_over"]

#: So few messages are taken in the moment in which the live job ends.
_NEAR = 10_000
#: How long the one beside goes on following where nothing runs that could take over from it.
_PATIENCE = 60.0
#: Differences after which what both have must still be equal.
_SAME_FIGURES = {"figures", "windows", "output", "rejects", "table", "key"}


@dataclass
class TakingOver:
    """How far it has come.

    Attributes
    ----------
    messages, left : int
        What had to be caught up with, and what of it is left.
    seconds : float
        How long it took to catch up.
    compared : Compared, optional
        The live version with the new one, in closed windows.
    switched : bool
        Whether the version is the current one.
    problem : str
        Why it is not.
    """

    messages: int = 0
    left: int = 0
    seconds: float = 0.0
    compared: Compared | None = None
    switched: bool = False
    problem: str = ""


def take_over(
    settings: Settings, version: Version, report: Callable[[TakingOver], None] = lambda state: None
) -> TakingOver | None:
    """Make a frozen version the current one; None where it needs no new epoch, and takes over at once.

    Raises
    ------
    RetailPulseError
        The notebook failed beside the live one, which runs on.
    """
    registry, plan, name = Registry(settings), version.manifest.plan, version.manifest.name
    way = way_of(settings, plan) if plan is not None else None
    live = way.epoch if way is not None and way.kind == "new epoch" else None
    if plan is None or live is None or committed_batch(live.path) is None or read_plan(live.path) is None:
        registry.switch(name, version.manifest.version)
        return None
    watch = _Watch(settings, registry, version, plan, live, report)
    follow(settings, version, live, stopped=False, stop_when=watch)
    if not watch.state.switched and not watch.state.problem:
        watch.state.problem = "it was ended before it had caught up"
    return watch.state


class _Watch:
    """Looks after the one beside, every second or so; true when it should end."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        version: Version,
        plan: Plan,
        live: Epoch,
        report: Callable[[TakingOver], None],
    ) -> None:
        self._settings, self._registry, self._version = settings, registry, version
        self._plan, self._live, self._report = plan, live, report
        self._begun, self._free_since = time.monotonic(), 0.0
        self.state = TakingOver()

    def __call__(self) -> bool:
        try:
            return self._is_alone() if self.state.switched else self._look()
        except RetailPulseError as error:
            self.state.problem = str(error)
            return True

    def _look(self) -> bool:
        left = behind(self._settings, self._plan, self._live)
        if left is None and committed_batch(self._live.path) is not None:
            left = 0  # another topic: there is nothing to stand level with
        if left is None:
            return False
        self.state.left, self.state.messages = left, max(left, self.state.messages)
        self.state.seconds = time.monotonic() - self._begun
        self._report(self.state)
        beside = made(self._settings, self._plan)
        if left > _NEAR or beside is None or committed_batch(beside.path) is None:
            return False
        old = read_plan(self._live.path)
        assert old is not None
        self.state.compared = compare_closed(self._settings, old, self._plan, self._live)
        differences = {difference.what for difference in compare(old, self._plan)}
        if self.state.compared.differing and differences <= _SAME_FIGURES:
            self.state.problem = f"what has not changed is not the same: {self.state.compared}"
            return True
        self._registry.switch(self._version.manifest.name, self._version.manifest.version)
        self.state.switched = True
        self._report(self.state)
        return False

    def _is_alone(self) -> bool:
        """Whether nobody has run the job for some time."""
        try:
            with writer_lock(self._settings, self._plan.job).acquire(timeout=0):
                pass
        except filelock.Timeout:
            self._free_since = 0.0
            return False
        self._free_since = self._free_since or time.monotonic()
        return time.monotonic() - self._free_since > _PATIENCE
