"""The long form: round after round something goes wrong, and after each the stores equal the truth."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.faults.faults import one_of_each, repeat_last_batches
from tests.faults.report import Report, Round
from tests.faults.shop import Shop

pytestmark = [
    pytest.mark.integration,
    pytest.mark.faults,
    pytest.mark.timeout(4 * 3600),
    pytest.mark.skipif(os.environ.get("RETAILPULSE_LONG") != "1", reason="the long form: make faults"),
]


def test_rounds(shop: Shop, report: Report, seed: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    chance = random.Random(seed)
    load = shop.load
    faults = one_of_each(chance)[: request.config.getoption("--rounds")]
    print(f"seed {seed}: {[fault.name for fault in faults]}")
    for number, fault in enumerate(faults):
        time.sleep(chance.uniform(2, 10))  # somewhere within the jobs' batches
        if number == 1:
            load.grow(8)
        if number % 5 == 2:
            load.poison()
            load.run_ahead(100)
            load.replay_twice(tmp_path / f"events-{number}.jsonl", 1_000)
        recovery = fault.befall(shop)
        verdict = shop.judge()
        report.rounds.append(Round(fault.name, recovery, verdict))
        assert not verdict.differences, f"round {number + 1}, {fault.name}, seed {seed}"
        if number % 5 == 4:
            repeat_last_batches(shop)
        load.go_on()
