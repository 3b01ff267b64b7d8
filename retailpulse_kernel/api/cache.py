"""Answers that are kept for a moment; equal requests at the same time are answered by one read."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass

__all__ = ["AnswerCache"]


@dataclass(frozen=True)
class Answer:
    """A body with its entity tag."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> Answer:
        """The answer with this body.

        Parameters
        ----------
        body : bytes
            JSON, uncompressed.
        """
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


class AnswerCache:
    """Answers by what was asked.

    Parameters
    ----------
    seconds : float
        How long one is kept.
    most : int
        How many are kept.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, seconds: float, *, most: int = 1_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.hits = self.misses = 0
        self._most, self._clock, self._lock = most, clock, threading.Lock()
        self._kept: dict[Hashable, tuple[float, Future[Answer]]] = {}

    def get(self, key: Hashable, make: Callable[[], bytes]) -> Answer:
        """The answer for a key: a kept one, the one that is being made, or a new one; a failure is not kept.

        Parameters
        ----------
        key : Hashable
            What was asked; equal questions have equal keys.
        make : callable
            Gives the body; called by the first of those that ask at once.
        """
        with self._lock:
            kept = self._kept.get(key)
            # An answer that is being made never expires under the requests that wait for it.
            if kept is not None and (not kept[1].done() or self._clock() < kept[0]):
                self.hits += 1
                waiting, future = True, kept[1]
            else:
                self.misses += 1
                waiting, future = False, Future[Answer]()
                self._kept.pop(key, None)
                while len(self._kept) >= self._most:
                    del self._kept[next(iter(self._kept))]
                self._kept[key] = (float("inf"), future)
        if waiting:
            return future.result()
        try:
            answer = Answer.of(make())
        except BaseException as error:
            with self._lock:
                if self._kept.get(key, (0.0, None))[1] is future:
                    del self._kept[key]
            future.set_exception(error)
            raise
        with self._lock:
            if self._kept.get(key, (0.0, None))[1] is future:
                self._kept[key] = (self._clock() + self.seconds, future)
        future.set_result(answer)
        return answer
