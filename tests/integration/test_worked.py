"""The worked notebooks: their own tests, and all six over hours of a shop, compared with a plain fold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.gate.gate import promote
from retailpulse_kernel.promotion.gate.trial import run_tests
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from tests.jobs import produce, run_here
from tests.worked import CONTRACT, FOLDER, WORKED, Event, differences, notebook, sent, shop

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

HOURS = 5


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_CONTRACT", str(CONTRACT))
        patch.chdir(FOLDER)  # the model is beside the notebook
        made = Settings.load(namespace=f"t_worked_{os.getpid()}")
        drop(made)
        ensure_topics(made)
        yield made
        drop(made)


@pytest.fixture(scope="module")
def events(settings: Settings) -> list[Event]:
    start = datetime.now(UTC) - timedelta(hours=HOURS, minutes=10)
    messages = list(shop(start, HOURS * 3_600))
    produce(settings, [(message.key, message.value) for message in messages])
    return sent(messages)


@pytest.mark.parametrize("name", WORKED)
def test_a_worked_notebook_writes_what_a_plain_fold_gives(settings: Settings, events: list[Event], name: str) -> None:
    run_here(settings, notebook(name))
    assert differences(settings, name, events) == []


@pytest.mark.parametrize("name", WORKED)
def test_a_worked_notebook_passes_its_tests(settings: Settings, name: str) -> None:
    found = run_tests(settings.model_copy(update={"port_offset": 40_000}), notebook(name), {"run": "continuous"})
    assert found.ok and found.cases, str(found)


@pytest.mark.long
@pytest.mark.parametrize("name", ["conversion", "score"])
def test_a_worked_notebook_passes_the_gate(settings: Settings, events: list[Event], name: str, tmp_path: Path) -> None:
    """Also its last cells, which look at what the job has written: figures of one, rows of the other."""
    done = promote(settings.model_copy(update={"pipelines": tmp_path}), notebook(name), sample=500)
    assert done.ok and done.version is not None, done.steps
    assert next(step.found for step in done.steps if step.name == "tests").endswith("case")
