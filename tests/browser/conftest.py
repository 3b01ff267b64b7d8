"""One JupyterLab and one browser for all tests of views; a shop whose events come when a test sends them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from bench.browser import Labs, chromium, chromium_path, jupyter_lab
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if chromium_path() is None:
                item.add_marker(pytest.mark.skip(reason="there is no Chromium; Debian's package is `chromium`"))


@pytest.fixture(scope="session")
def shop(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A namespace for the views, of a shop with rates: a euro is worth 1.25 dollars."""
    contract = tmp_path_factory.mktemp("shop") / "shop.toml"
    contract.write_text('[shop]\nrates = "rates.csv"\n')
    published = datetime.now(UTC).date() - timedelta(days=1)
    contract.with_name("rates.csv").write_text(f"Date,USD,\n{published},1.25,\n")
    settings = Settings.load(namespace=f"browser_{os.getpid()}", contract=contract)
    ensure_topics(settings)
    yield settings
    drop(settings)


@pytest.fixture(scope="session")
def lab(shop: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    with jupyter_lab(shop, tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    with chromium(accept_downloads=True) as context:
        yield context
