"""What fifty people who look at the dashboard Store pulse wait for, and what they cost Cassandra.

Each viewer's Grafana asks all that the dashboard asks, at once, and again five seconds later. The viewers begin at
random moments. A request's time runs from when the refresh was due, so a server that falls behind is not spared.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from bench.api import served
from bench.lab import Lab
from bench.reads import fill_figures
from bench.results import Figure, Target, percentile
from retailpulse_kernel.dashboards.store_pulse import store_pulse
from retailpulse_kernel.dashboards.writing import as_json
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.tables import GRAINS
from retailpulse_kernel.stores.cassandra.store import CassandraStore

__all__ = ["measure"]

VIEWERS, REFRESH_SECONDS = 50, 5.0
#: Days of figures; hours go back as far as the dashboard compares with.
_DAYS, _HOUR_DAYS, _CATEGORIES = 30, 8, 100
_LIMIT = Target(100, at_most=True)
_COUNT = "select keyspace_name, count from system_views.local_read_latency"


@dataclass(frozen=True)
class Question:
    """What a panel asks: an address with Grafana's variables, and whether it is of today whatever is shown."""

    url: str
    today: bool

    def address(self, since: datetime, until: datetime) -> str:
        """The address as Grafana fills it in."""
        since = GRAINS["day"].start(until) if self.today else since
        values = {"__from": f"{since.timestamp() * 1000:.0f}", "__to": f"{until.timestamp() * 1000:.0f}",
                  "currency": "USD", "category": "all", "grain": "auto"}  # fmt: skip
        return re.sub(r"\$\{(\w+)[^}]*\}", lambda match: quote(values[match[1]]), self.url)


@dataclass
class Watched:
    """What the viewers saw: milliseconds of each request, and how many were not answered well."""

    took: list[float] = field(default_factory=list)
    failed: int = 0


def measure(lab: Lab, *, rounds: int, seconds: float = 60) -> list[Figure]:
    """Fill 30 days, then let the viewers look at all of them, and at today."""
    settings = lab.namespace("viewers")
    lab.say(f"viewers: {_DAYS} days of figures")
    rows = fill_figures(settings, days=_DAYS, hour_days=_HOUR_DAYS, categories=_CATEGORIES)
    questions = list(_questions())
    figures: list[Figure] = []
    with served(settings) as (address, process), closing(CassandraStore(settings)) as store:
        for title, span in ((f"{_DAYS} days", timedelta(days=_DAYS)), ("today", None)):
            asyncio.run(_watch(address, questions, span, seconds=2 * REFRESH_SECONDS))  # connects
            p95s, reads, details = [], [], []
            for _ in range(rounds):
                before, begun = _counted(store, settings, address), sum(process.cpu_times()[:2])
                found = asyncio.run(_watch(address, questions, span, seconds=seconds))
                after = _counted(store, settings, address)
                refreshes = seconds / REFRESH_SECONDS
                details.append(
                    {f"p{share}": round(percentile(found.took, share / 100), 1) for share in (50, 95, 99)}
                    | {name: round((after[name] - before[name]) / refreshes, 1) for name in after}
                    | {"requests": len(found.took), "failed": found.failed, "most": round(max(found.took), 1)}
                    | {"cores": round((sum(process.cpu_times()[:2]) - begun) / seconds, 2)}
                )  # fmt: skip
                p95s.append(details[-1]["p95"])
                reads.append(details[-1]["reads"])
                lab.say(f"{title}: {details[-1]}")
            said = details[len(details) // 2]
            note = f"p50 {said['p50']}, p99 {said['p99']}; {rows:,} rows, {said['requests']:,} requests, "
            note += f"{said['failed']} failed; {said['cores']} of one core"
            name = f"{VIEWERS} viewers of {title}"
            figures.append(Figure(f"{name}: p95", "ms", p95s, target=_LIMIT, note=note, details={"rounds": details}))
            note = f"{len(questions)} questions of each viewer; {said['answers']} answers made for all of them"
            figures.append(Figure(f"{name}: Cassandra's reads", f"in {REFRESH_SECONDS:g} s", reads, note=note))
    lab.forget("viewers")
    return figures


def _questions() -> Iterator[Question]:
    """All that the dashboard asks of the read API: its panels, its variables, its marks."""
    made = as_json(store_pulse())
    for panel in made["panels"]:
        for target in panel.get("targets", ()):
            if target.get("url"):
                yield Question(target["url"], panel.get("timeFrom") == "now/d")
    for query in (
        *(
            one["query"]["infinityQuery"]
            for one in made["templating"]["list"]
            if "query" in one and isinstance(one["query"], dict)
        ),
        *(one["target"] for one in made["annotations"]["list"] if one.get("target", {}).get("url")),
    ):
        yield Question(query["url"], today=False)  # fmt: skip


def _counted(store: CassandraStore, settings: Settings, address: str) -> dict[str, float]:
    """What Cassandra has read of the namespace, and how many answers the API has made, since they started."""
    counts = store.query(_COUNT)
    ours = counts[counts["keyspace_name"] == settings.namespace.keyspace]
    metrics = httpx.get(f"{address}/metrics", trust_env=False).text
    made = re.search(r"^retailpulse_api_cache_misses_total(?:\{.*\})? (\S+)", metrics, re.MULTILINE)
    return {"reads": float(ours["count"].sum()), "answers": float(made[1]) if made else 0.0}


async def _watch(address: str, questions: Sequence[Question], span: timedelta | None, *, seconds: float) -> Watched:
    """Look for some seconds."""
    found, dice = Watched(), random.Random(1)
    begin = time.perf_counter()

    async def one(client: httpx.AsyncClient, url: str, due: float) -> None:
        response: Any = await client.get(f"{address}{url}")
        found.failed += response.status_code != 200
        found.took.append((time.perf_counter() - due) * 1000)

    async def viewer(client: httpx.AsyncClient, due: float, group: asyncio.TaskGroup) -> None:
        while due < begin + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            now = datetime.now(UTC)
            since = GRAINS["day"].start(now) if span is None else now - span
            for question in questions:
                group.create_task(one(client, question.address(since, now), due))
            due += REFRESH_SECONDS

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as client, asyncio.TaskGroup() as group:
        for _ in range(VIEWERS):
            group.create_task(viewer(client, begin + dice.uniform(0, REFRESH_SECONDS), group))
    return found
