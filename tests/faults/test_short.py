"""The short form: the three jobs under load, one thing after another goes wrong, and nothing is lost or doubled."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.faults import both, kill_job, kill_server, repeat_last_batches
from tests.faults.shop import Shop

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(1800)]


def test_nothing_is_lost_or_doubled(shop: Shop, seed: int, tmp_path: Path) -> None:
    load, pipeline, chance = shop.load, shop.pipeline, random.Random(seed)
    load.poison()
    load.run_ahead(200)
    load.grow(8)
    load.replay_twice(tmp_path / "events.jsonl", 500)
    for fault in (
        both(kill_job("metrics", "tree"), kill_server("kafka")),
        both(kill_server("cassandra"), kill_job("archive", "worker")),
        both(kill_server("hbase-thrift"), kill_server("hiveserver2")),
    ):
        pipeline.await_taken(load.acknowledged + chance.randint(50, 300))
        fault.befall(shop)
    repeat_last_batches(shop)
    verdict = shop.judge()
    assert not verdict.differences
