"""The long form: round after round something goes wrong, and after each the stores equal the truth."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.faults.faults import rounds
from tests.faults.report import Report, Round
from tests.faults.shop import Shop

pytestmark = [
    pytest.mark.integration,
    pytest.mark.faults,
    pytest.mark.timeout(4 * 3600),
    pytest.mark.skipif(os.environ.get("RETAILPULSE_LONG") != "1", reason="the long form: make faults"),
]


def test_rounds(shop: Shop, report: Report, seed: int, request: pytest.FixtureRequest) -> None:
    chance = random.Random(seed)
    words = request.config.getoption("--only")
    chosen = [f for f in rounds(chance, request.config.getoption("--rounds")) if not words or words in f.name]
    assert chosen, f"no fault's name has {words!r}"
    for fault in chosen:
        if shop.disk.refused and "disk" in fault.name:
            report.skip(fault.name, shop.disk.refused)
            continue
        time.sleep(chance.uniform(1, 8))  # somewhere within the jobs' batches
        recovery = fault.befall(shop)
        verdict = shop.judge()
        report.add(Round(fault.name, recovery, verdict))
        assert not verdict.differences, f"after {fault.name}, seed {seed}"
        shop.load.go_on()
