"""The short form: the three jobs under load, one thing after another goes wrong, and nothing is lost or doubled."""

from __future__ import annotations

import random

import pytest

from tests.faults import faults
from tests.faults.shop import Shop

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(1800)]


def test_nothing_is_lost_or_doubled(shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    for odd in (faults.poisoned(), faults.ahead(), faults.grown(), faults.replayed_twice()):
        odd.strike(shop)
    for fault in (
        faults.at_once(faults.kill_job("metrics", "tree"), faults.kill_server("kafka")),
        faults.at_once(faults.down("cassandra", 5), faults.kill_job("archive", "worker"), faults.cut_thrift(2)),
        faults.last_commits_lost(),
    ):
        shop.pipeline.await_taken(shop.load.acknowledged + chance.randint(20, 200))  # some moment
        fault.befall(shop)
    verdict = shop.judge()
    assert not verdict.differences
