"""What a question of the explorer is about, and the events that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from retailpulse_kernel.ground.spans import span_of
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.figures import EVENTS
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable
from retailpulse_kernel.stores.figure_rows import Only
from retailpulse_kernel.stores.hive.archive import arrow_schema

if TYPE_CHECKING:
    from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["TOP", "Scope", "archived", "known_values", "shop_table"]

#: How many groups an answer has, where nothing else is said.
TOP = 20
_COLUMNS = (
    "event_type", "event_time", "user_id", "session_id", "product_id", "category", "brand", "price", "quantity",
    "currency", "order_id", "order_line",
)  # fmt: skip


@dataclass(frozen=True)
class Scope:
    """What a question is about.

    Attributes
    ----------
    categories : tuple of str
        Dot paths, each with what is below it; all when empty.
    last : str, optional
        The newest span (``"1h"``, ``"7d"``), up to the present minute; instead of `since` and `until`.
    since, until : datetime, optional
        The range, UTC, on whole minutes; all there is when absent.
    currency : str
        Whose money is looked at.
    figure : str
        The figure that is looked at by `by`.
    by : str
        Any dimension, or a column of a reference table such as ``products.supplier``.
    """

    categories: tuple[str, ...] = ()
    last: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    currency: str = "USD"
    figure: str = "revenue"
    by: str = "category"

    def bounds(self) -> tuple[datetime | None, datetime | None]:
        """The range now."""
        if self.last is None:
            return self.since, self.until
        minute = GRAINS["minute"]
        until = minute.start(datetime.now(UTC)) + minute.width
        return minute.start(until - span_of(self.last)), until

    def only(self, *, money: bool) -> Only:
        """What the stores are asked for.

        Parameters
        ----------
        money : bool
            Keep the scope's currency only.
        """
        return {
            **({"currency": (self.currency,)} if money else {}),
            **({"category": self.categories} if self.categories else {}),
        }

    def branch(self, category: str) -> str:
        """The part of the tree that a category is counted to: a step below what is chosen, or one of several chosen.

        Parameters
        ----------
        category : str
            A dot path, at or below a chosen one.
        """
        inside = next((c for c in self.categories if category == c or category.startswith(f"{c}.")), "")
        if len(self.categories) > 1:
            return inside
        depth = inside.count(".") + 2 if inside else 1
        return ".".join(category.split(".")[:depth])


def shop_table(rp: Workbench) -> FigureTable:
    """The shop's own table of figures, with windows of the shop's calendar.

    Parameters
    ----------
    rp : Workbench
        Whose contract says which calendar.
    """
    return CATEGORY.within(contract_of(rp.settings).shop.calendar)


def known_values(rp: Workbench) -> tuple[list[str], list[str]]:
    """Every category and every currency that has figures on some day.

    Parameters
    ----------
    rp : Workbench
        Whose stores are asked.
    """
    table = shop_table(rp)
    rows = rp.serving.read(table, table.every[-1], figures=(EVENTS,), by=("currency", "category"))
    return sorted({row["category"] for row in rows}), sorted({row["currency"] for row in rows})


def archived(rp: Workbench, scope: Scope, further: Sequence[str] = (), contract: Contract | None = None) -> pa.Table:
    """The scope's events from the archive, each once, as the figures count them.

    Parameters
    ----------
    rp : Workbench
        Whose archive is read.
    scope : Scope
        Categories and range.
    further : sequence of str
        Columns beside those that the shop's figures need.
    contract : Contract, optional
        What the archive has as columns; the shipped one when absent.
    """
    since, until = scope.bounds()
    columns = tuple(dict.fromkeys((*_COLUMNS, *further)))
    batches = rp.hive.record_batches(since, until, columns=columns, late=False, only=scope.only(money=False))
    table = pa.Table.from_batches(batches, arrow_schema(columns, contract))
    for name in table.column_names:
        if pa.types.is_dictionary(table[name].type):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
    return table
