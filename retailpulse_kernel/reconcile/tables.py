"""What of a job's plan is compared: its tables with what its conditions give; and what can't be, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.reconcile.result import TableCheck
from retailpulse_kernel.reconcile.sums import Facts
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.types import element_of
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.shop.events import EVENT_TYPES, Event
from retailpulse_kernel.shop.figures import EVENTS, ORDERS, REVENUE, UNITS
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from retailpulse_kernel.stores.base import EventArchive, FigureStore
from retailpulse_kernel.stores.registry import can
from retailpulse_kernel.streaming.plan.counting import Counting, counting_of, exact_table
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan

__all__ = ["ARCHIVE", "Share", "share_of", "without_plan"]

#: The figures by which the archive, which holds no figures, is compared; the totals are of them, too.
ARCHIVE: Final = FigureTable(
    "events",
    figures=(EVENTS, UNITS, REVENUE, ORDERS),
    by=("currency", "category", "event_type"),
    every=(GRAINS["hour"],),
)

#: A value of each simple type.
_SAMPLES: Final = {
    "string": "a", "bool": True, "int": 1, "long": 1, "double": 1.5, "date": date(2026, 1, 1),
    "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
}  # fmt: skip


def _samples(contract: Contract) -> list[Event]:
    """An event of each type, by which a figure is tried; one of a topic with fields of its own."""
    if not contract.holds_events:
        values = {field.name: _sample(field.type) for field in contract.columns}
        return [reader_of(contract).event(**values)]
    return [
        reader_of(contract).event(
            "e", event_type, datetime(2026, 1, 1, tzinfo=UTC), "u", "s", "p", "a.b", "brand", Decimal("1.0001"), 3,
            "EUR", "o", 1,
        )
        for event_type in EVENT_TYPES
    ]  # fmt: skip


def _sample(type: str) -> Any:
    """A value of a field's type."""
    if element := element_of(type):
        return [_sample(element)]
    return Decimal("1.01") if type.startswith("decimal") else _SAMPLES[type]


@dataclass(frozen=True)
class Share:
    """What one job's messages are folded into.

    Attributes
    ----------
    job : str
        The job.
    tables : tuple of (str, FigureTable)
        The figure tables that are compared, each with its store.
    archive : TablePlan, optional
        The table of single events, where the job keeps them.
    rows : tuple of TablePlan
        The tables of rows, which are compared with a batch.
    unique_by : str
        By which column an event is taken once.
    meets : callable, optional
        Whether an event meets the job's conditions; all do when absent.
    refuses : callable, optional
        Whether the job's expectations refuse an event; none are refused when absent.
    unchecked : tuple of TableCheck
        What the job writes and can't be compared.
    taken : tuple of str
        Tables that another job writes by now.
    """

    job: str
    tables: tuple[tuple[str, FigureTable], ...] = ()
    archive: TablePlan | None = None
    rows: tuple[TablePlan, ...] = ()
    unique_by: str = "event_id"
    meets: Callable[[Event], bool] | None = None
    refuses: Callable[[Event], bool] | None = None
    unchecked: tuple[TableCheck, ...] = ()
    taken: tuple[str, ...] = ()

    @property
    def compared(self) -> list[tuple[str, str]]:
        """The stored tables that are compared: their stores and names."""
        figures = [(store, table.physical(grain)) for store, table in self.tables for grain in table.every]
        return figures if self.archive is None else [(self.archive.store, self.archive.name)]


def without_plan(job: str) -> Share:
    """The share of a job that ran and of which no plan is known.

    Parameters
    ----------
    job : str
        Its name.
    """
    reason = "neither its checkpoint nor a promoted version has a plan of it that can be read here"
    return Share(job, unchecked=(TableCheck("", "", job, "not checked", reason=reason),))


def share_of(plan: Plan, *, others: Iterable[tuple[str, str]], contract: Contract | None = None) -> Share:
    """What of a plan can be compared.

    Parameters
    ----------
    plan : Plan
        Of a job.
    others : iterable of (str, str)
        The stored tables that other jobs have.
    contract : Contract, optional
        What the messages of the plan's topic hold; the shipped one when absent.
    """
    shop = shipped() if contract is None else contract
    others = set(others)
    mine = [table for table in plan.tables if not others & {(table.store, name) for name in table.physical}]
    taken = tuple(name for table in plan.tables if table not in mine for name in table.physical)
    tables: list[tuple[str, FigureTable]] = []
    unchecked: list[TableCheck] = []
    counting, why = Counting(None, None), ""
    try:
        counting = counting_of(plan, shop)
    except UsageError as error:
        why = error.message.removesuffix(".")
    archive = None
    for table in (table for table in mine if table.rows is None):
        reason = why
        if not reason and not table.figures and _can(table.store, EventArchive):
            archive = table
        elif not reason:
            try:
                tables.append((table.store, _figure_table(table, shop)))
            except UsageError as error:
                reason = error.message
        if reason:
            unchecked += [TableCheck(table.store, n, plan.job, "not checked", reason=reason) for n in table.physical]
    rows = tuple(table for table in mine if table.rows is not None)
    return Share(plan.job, tuple(tables), archive, rows, plan.unique_by, *counting, tuple(unchecked), taken)


def _can(store: str, capability: type) -> bool:
    try:
        return can(store, capability)
    except UnknownName:
        return False


def _figure_table(plan: TablePlan, contract: Contract) -> FigureTable:
    """The table that a plan describes.

    Raises
    ------
    UsageError
        It can't be folded here; the message says why.
    """
    if not _can(plan.store, FigureStore):
        raise UsageError(f"the store {plan.store!r} is not known here")
    try:
        table = exact_table(plan, contract)
        samples = _samples(contract)
        Facts([table])(samples, [0] * len(samples))
    except (KeyError, ValueError, TypeError, AttributeError, UsageError) as error:
        what = error.message.removesuffix(".") if isinstance(error, UsageError) else str(error)
        raise UsageError(f"one of its figures, windows or keys can't be folded here: {what}") from error
    return table
