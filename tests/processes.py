"""Processes that a test forks, as Spark forks its workers: none outlives its test, however that ends."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["FORK", "forked"]

FORK = multiprocessing.get_context("fork")


@contextmanager
def forked(target: Callable[..., object], *args: object) -> Iterator[Any]:
    """A process that calls a function, and is killed (SIGKILL) at the end of the block."""
    process = FORK.Process(target=target, args=args, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
