"""How long the read API takes for today's figures at 100 requests a second, on one core: `python -m bench.api`.

Requests are sent by the clock, whether or not the one before was answered, and their time runs from when they were
due: a server that falls behind is not spared. ``cold`` asks for a range that nobody has asked for before, so that each
answer is read from Cassandra; ``warm`` is what the dashboard asks again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil

from bench.lab import free_port
from bench.machine import describe
from bench.reads import fill_figures
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.stores.namespaces import drop

__all__ = ["main"]

RATE = 100
#: What Store pulse asks, of one currency.
QUERIES = (
    "revenue?currency=USD", "orders?currency=USD", "average_order_value?currency=USD", "events?by=event_type",
    "revenue?by=bucket&grain=hour&currency=USD", "revenue?by=category&limit=20&currency=USD", "funnel?currency=USD",
    "orders?by=bucket&grain=auto&currency=USD",
)  # fmt: skip


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    seconds = parser.parse_args().seconds
    settings = Settings.load(namespace=f"bench_api_{os.getpid()}")
    result: dict[str, object] = {"machine": describe(), "rate": RATE}
    try:
        result["rows"] = fill_figures(settings)
        with served(settings) as (address, process):
            before = process.cpu_times()
            for kind in ("cold", "warm"):
                result[kind] = asyncio.run(measured(address, kind, seconds))
            after = process.cpu_times()
            used = after.user + after.system - before.user - before.system
            result["cores"] = round(used / (2 * seconds), 2)
    finally:
        drop(settings)
    print(json.dumps(result, indent=2))


@contextmanager
def served(settings: Settings) -> Iterator[tuple[str, psutil.Process]]:
    """`retailpulse serve` on one core."""
    port = free_port()
    command = [Path(sys.executable).with_name("retailpulse"), "serve", "--port", str(port)]
    process = psutil.Popen(command, env={**os.environ, **environment(settings)})
    process.cpu_affinity([sorted(os.sched_getaffinity(0))[-1]])
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{address}/api/v1/health", timeout=10, trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.2)
        yield address, process
    finally:
        process.terminate()
        process.wait(30)


async def measured(address: str, kind: str, seconds: int) -> dict[str, float]:
    """Percentiles in milliseconds."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ends = itertools.count()
    taken: list[float] = []
    failed = 0

    async def one(client: httpx.AsyncClient, due: float, query: str) -> None:
        nonlocal failed
        # A day's end to the minute: nearly a full day, and another one each time.
        end = today + timedelta(days=1) - timedelta(minutes=next(ends) // len(QUERIES) if kind == "cold" else 0)
        response = await client.get(
            f"{address}/api/v1/figures/{query}&from={today:%Y-%m-%dT%H:%MZ}&to={end:%Y-%m-%dT%H:%MZ}"
        )
        failed += response.status_code != 200
        taken.append((time.perf_counter() - due) * 1000)

    async with httpx.AsyncClient(timeout=30, trust_env=False) as client, asyncio.TaskGroup() as group:
        begin = time.perf_counter() + 0.1
        for number, query in zip(range(RATE * seconds), itertools.cycle(QUERIES), strict=False):
            due = begin + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(client, due, query))
    taken.sort()
    percentiles = {f"p{share}": round(taken[int(len(taken) * share / 100)], 1) for share in (50, 95, 99)}
    return {**percentiles, "max": round(taken[-1], 1), "requests": len(taken), "failed": failed}


if __name__ == "__main__":
    main()
