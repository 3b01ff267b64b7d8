"""What the strip of a live view counts: messages by the minute, as the job of the stored figures accounted for them."""

from __future__ import annotations

from collections.abc import Iterable

from retailpulse_kernel.streaming.checkpoint.accounts import Account

__all__ = ["Health"]

COUNTS = ("consumed", "duplicate", "late", "bad")
_MINUTE_MS = 60_000
_KEPT = 25 * 60


class Health:
    """Counts by the minute in which a batch was finished.

    Attributes
    ----------
    minutes : dict of int to list of int
        The `COUNTS`, by epoch seconds.
    """

    def __init__(self) -> None:
        self.minutes: dict[int, list[int]] = {}
        self._changed: dict[int, int] = {}
        self.version = 0
        self._seen: dict[str, None] = {}

    def add(self, accounts: Iterable[Account]) -> None:
        """Count batches, each once.

        Parameters
        ----------
        accounts : iterable of Account
            Of any job; one that was counted is passed over.
        """
        for account in accounts:
            if account.key in self._seen:
                continue
            self._seen[account.key] = None
            minute = account.finished_ms // _MINUTE_MS * 60
            counts = self.minutes.setdefault(minute, [0] * len(COUNTS))
            for place, name in enumerate(COUNTS):
                counts[place] += getattr(account, name)
            self.version += 1
            self._changed[minute] = self.version
        for stale in sorted(self.minutes)[:-_KEPT]:
            del self.minutes[stale]
            self._changed.pop(stale, None)
        while len(self._seen) > 10_000:
            del self._seen[next(iter(self._seen))]

    def since(self, version: int) -> list[list[int]]:
        """The minutes that have changed after a version: start and counts.

        Parameters
        ----------
        version : int
            What the browser has.
        """
        return [[minute, *self.minutes[minute]] for minute, at in self._changed.items() if at > version]
