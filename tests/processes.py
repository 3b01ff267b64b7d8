"""Processes that a test starts, as Spark starts its workers: none outlives its test, however that ends."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["FORK", "forked"]

#: Spark forks its workers from a small process without threads. A process of pytest has a hundred of them (Kafka's
#: clients, gRPC): a child that is forked from it dies now and then before its first step.
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(
    ["retailpulse_kernel.streaming.state.dedup_index", "retailpulse_kernel.streaming.state.window_state"]
)


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
