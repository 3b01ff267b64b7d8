"""Figures by columns of reference tables, joined when they are read."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from retailpulse_kernel.streaming.reference.reading import read_table

from retailpulse_kernel.answers.referencing import columns_of, references_of
from retailpulse_kernel.catalogue.answering import Asking, answer
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import ACTIVE_USERS, REVENUE
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import FigureTable, grain_of
from retailpulse_kernel.streaming.plan.data import TablePlan
from tests.memory import MemoryStore

DAY = datetime(2026, 3, 9, tzinfo=UTC)
CONTRACT = """
[tables.products]
file = "products.csv"
key = "product_id"
columns = {product_id = "string", title = "string", supplier = "string"}
"""
PRODUCTS = "product_id,title,supplier\np1,Red shoe,north\np2,Blue shoe,north\np3,Cup,\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "shop.toml").write_text(CONTRACT)
    (tmp_path / "products.csv").write_text(PRODUCTS)
    return Settings.load(home=tmp_path, pipelines=tmp_path / "p", namespace="t", contract=tmp_path / "shop.toml")


@pytest.fixture
def ask(settings: Settings) -> Any:
    hour = grain_of("hour")
    table = FigureTable("by_product", (REVENUE, ACTIVE_USERS), ("currency", "product_id"), (hour,))
    events = [
        Event(f"e{n}", "purchase", DAY, user, "s", product, "shoes", None, Decimal(price), 1, "USD", f"o{n}", 1)
        for n, (product, user, price) in enumerate(
            [("p1", "a", 10), ("p2", "a", 5), ("p2", "b", 5), ("p3", "c", 2), ("p9", "d", 1)]
        )
    ]
    store = MemoryStore()
    store.create(table)
    store.write(table, hour, fold(events, table, hour), version=1)
    entry = TableEntry(TablePlan.describing(table, store.name), "job", "v1", ran=True)
    catalogue = Catalogue("t", store.name, (entry,), contract_of(settings))

    def rows_of(name: str) -> pa.Table:
        return read_table(settings, next(one for one in catalogue.contract.tables if one.name == name))

    def asked(*figures: str, by: tuple[str, ...], rows_of: Any = rows_of, **given: Any) -> list[tuple[Any, ...]]:
        frame = answer(catalogue, Asking(figures, by, table="by_product", **given), lambda _: store, rows_of)
        return list(frame.drop(columns="currency").itertuples(index=False, name=None))

    return asked


def test_figures_go_by_a_column_of_the_products(ask: Any) -> None:
    assert ask("revenue", by=("products.title",)) == [
        ("(none)", 1), ("Blue shoe", 10), ("Cup", 2), ("Red shoe", 10),
    ]  # fmt: skip


def test_users_of_several_products_count_once(ask: Any) -> None:
    assert ask("active_users", by=("products.supplier",)) == [("(none)", 2), ("north", 2)]


def test_a_column_filters_and_goes_beside_its_key(ask: Any) -> None:
    found = ask("revenue", by=("product_id", "products.title"), where={"products.supplier": ["north"]})
    assert found == [("p1", "Red shoe", 10), ("p2", "Blue shoe", 10)]
    assert ask("revenue", by=("products.title",), top=1) == [("Blue shoe", 10), ("other", 13)]


def test_what_is_not_there_is_said(ask: Any, settings: Settings) -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'products\.title'"):
        ask("revenue", by=("products.titel",))
    with pytest.raises(UsageError, match="can't be read here"):
        ask("revenue", by=("products.title",), rows_of=None)
    contract = contract_of(settings)
    assert columns_of(contract, ["product_id", "brand"]) == ["products.title", "products.supplier"]
    assert columns_of(contract, ["brand"]) == []
    assert references_of(contract, ["brand"], None).dimensions(["brand"]) == ("brand",)
