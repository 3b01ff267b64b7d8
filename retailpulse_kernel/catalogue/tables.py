"""The tables of a namespace: which there are, what they hold, and which job and version writes each.

The catalogue is read from the plans of the promoted versions and from those beside the checkpoints. No list of tables
is kept anywhere else, so a table is there as soon as its job has run or is promoted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import Literal

import pyarrow as pa

from retailpulse_kernel.answers.base_figures import all_in_base, is_based
from retailpulse_kernel.answers.conversion import Conversion
from retailpulse_kernel.answers.reading import chosen_figures
from retailpulse_kernel.catalogue.rates import rates_of, require_rates
from retailpulse_kernel.ground.errors import NoSuchTable, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.figures import Figure, Ratio, parts_of
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.rates.published import Rates
from retailpulse_kernel.shop.tables import CATEGORY, FigureTable, Grain
from retailpulse_kernel.streaming.checkpoint.epochs import jobs_with_checkpoints
from retailpulse_kernel.streaming.checkpoint.progress import complete_until
from retailpulse_kernel.streaming.plan.data import TablePlan
from retailpulse_kernel.streaming.plan.finding import plans, promoted

__all__ = ["Catalogue", "Found", "TableEntry", "catalogue_of", "titles"]

#: What stands in place of the version where a job is not promoted.
DRAFT = "draft"


@dataclass(frozen=True)
class TableEntry:
    """A table, and who writes it.

    Attributes
    ----------
    plan : TablePlan
        What the table holds, as the job's plan says it.
    job : str
        The job that writes it; empty where none does yet.
    version : str
        The promoted version, such as ``v3``, or `DRAFT`.
    topic : str
        What the job reads.
    conditions : tuple of str
        Which events count; all when empty.
    alone : bool
        Whether the job writes no other table with the same query.
    ran : bool
        Whether the job has a checkpoint in the namespace.
    """

    plan: TablePlan
    job: str = ""
    version: str = DRAFT
    topic: str = ""
    conditions: tuple[str, ...] = ()
    alone: bool = False
    ran: bool = False

    @property
    def name(self) -> str:
        """The table's name within the namespace."""
        return self.plan.name

    @property
    def store(self) -> str:
        """The store's name."""
        return self.plan.store

    @property
    def kind(self) -> Literal["figures", "rows", "events"]:
        """What a row of the table is: figures of a window, a row of a DataFrame, or an event."""
        if self.plan.rows is not None:
            return "rows"
        return "figures" if self.plan.figures else "events"

    @property
    def output(self) -> str:
        """The output of the job whose accounts tell of the table."""
        return self.plan.rows.output if self.plan.rows is not None else ""

    @property
    def writer(self) -> str:
        """The job and its version, for people."""
        return f"{self.job} {self.version}" if self.job else "no job yet"

    @property
    def is_promoted(self) -> bool:
        """Whether a promoted version writes the table."""
        return self.version != DRAFT

    @cached_property
    def figures(self) -> FigureTable | None:
        """The table of figures; None for another kind, and for one that only a newer program knows."""
        try:
            return self.plan.table if self.kind == "figures" else None
        except (ValueError, KeyError, UsageError):
            return None

    @property
    def key(self) -> tuple[str, ...]:
        """The dimensions that figures go by, or the key's columns."""
        return self.plan.rows.key if self.plan.rows is not None else self.plan.by

    @property
    def sketched(self) -> tuple[str, ...]:
        """The figures that are estimated from a sketch; all others are exact."""
        kept = () if self.figures is None else self.figures.figures
        return tuple(figure.name for figure in kept if figure.rules.value is Value.SKETCH)

    def is_estimated(self, figure: Figure | Ratio) -> bool:
        """Whether a figure comes from a sketch.

        Parameters
        ----------
        figure : Figure or Ratio
            One that the table answers.
        """
        return any(part.name in self.sketched for part in parts_of([figure]))

    def may_be_money(self, figure: Figure | Ratio) -> bool:
        """Whether a figure may be an amount of the row's currency.

        A plan does not keep the unit of a job's own figure: what has decimals in a table by currency may be money.

        Parameters
        ----------
        figure : Figure or Ratio
            One that the table answers.
        """
        if is_based(figure):
            return False
        decimals = any(part.rules.shows is Value.DECIMAL for part in parts_of([figure]))
        return figure.unit == "currency" or (decimals and "currency" in self.key)

    @property
    def absent(self) -> NoSuchTable:
        """What is said where the store has no such table."""
        if not self.job:
            return NoSuchTable(
                f"The table {self.name!r} is not in {self.store}, and no job of the namespace writes it.",
                remedy="`rp.tables()` lists what is written.",
            )
        return NoSuchTable(
            f"The table {self.name!r} is not in {self.store} yet: the job {self.job!r} ({self.version}) has not "
            "written it in this namespace.",
            remedy="Run the job, and read the table then.",
        )

    def stored(self, name: str) -> Grain | None:
        """The windows of a stored table, such as ``prices_5m``; None where the name is not one of this table's.

        Parameters
        ----------
        name : str
            A stored table's.
        """
        if self.figures is None:
            return None
        return next((grain for grain in self.figures.every if self.figures.physical(grain) == name), None)


@dataclass(frozen=True)
class Found:
    """A table that was asked for, and the windows where the name says them.

    Attributes
    ----------
    entry : TableEntry
        The table.
    grain : Grain, optional
        The windows.
    """

    entry: TableEntry
    grain: Grain | None = None


@dataclass(frozen=True)
class Catalogue:
    """The tables of a namespace.

    Attributes
    ----------
    namespace : str
        Its name.
    serving : str
        The store that serves the figures.
    entries : tuple of TableEntry
        The tables, by name.
    contract : Contract
        The shop's.
    rates : callable, optional
        Gives the rates that the contract names.
    progress : callable, optional
        Gives until when the figures of a job are complete, as its checkpoint says; None where nothing tells that.
    """

    namespace: str
    serving: str
    entries: tuple[TableEntry, ...]
    contract: Contract = field(repr=False)
    rates: Callable[[], Rates] | None = field(default=None, repr=False, compare=False)
    progress: Callable[[str], datetime | None] | None = field(default=None, repr=False, compare=False)

    def conversion(self) -> Conversion:
        """What converts the rows of one answer into the base currency.

        Raises
        ------
        UsageError
            The contract names no rates.
        """
        require_rates(self.contract)
        assert self.rates is not None, "a catalogue whose contract names rates can read them"
        return Conversion(self.contract, self.rates)

    @property
    def names(self) -> list[str]:
        """The names of the tables."""
        return sorted({entry.name for entry in self.entries})

    @property
    def figures(self) -> tuple[TableEntry, ...]:
        """The tables that keep figures; among them the one that is served, whether a job has written it or not."""
        kept = tuple(entry for entry in self.entries if entry.figures is not None)
        if any(self.is_served(entry) for entry in kept):
            return kept
        served = CATEGORY.within(self.contract.shop.calendar)
        return (TableEntry(TablePlan.describing(served, self.serving)), *kept)

    def is_served(self, entry: TableEntry) -> bool:
        """Whether a table is the one that dashboards and live views read.

        Parameters
        ----------
        entry : TableEntry
            A table.
        """
        return entry.name == CATEGORY.name and entry.store == self.serving

    def find(self, name: str, store: str | None = None) -> Found:
        """A table by its name, or by that of one of its stored tables.

        Parameters
        ----------
        name : str
            Such as ``carts``, ``prices`` or ``prices_5m``.
        store : str, optional
            Which store, where several have a table of the name.

        Raises
        ------
        UnknownName
            No job of the namespace writes such a table.
        UsageError
            Several stores have one.
        """
        offered = [entry for entry in self.entries if store in (None, entry.store)]
        found = [Found(entry) for entry in offered if entry.name == name]
        found = found or [Found(entry, grain) for entry in offered if (grain := entry.stored(name)) is not None]
        if not found:
            raise UnknownName(f"table of {store}" if store else "table", name, {entry.name for entry in offered})
        if len(found) > 1:
            stores = ", ".join(sorted(one.entry.store for one in found))
            raise UsageError(f"The table {name!r} is in several stores: {stores}.", remedy="Name one: store=...")
        return found[0]


def catalogue_of(settings: Settings) -> Catalogue:
    """The tables that the jobs of a namespace write, or will write once they run.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    """
    current = {one.plan.job: one for one in promoted(settings)}
    found: dict[tuple[str, str], TableEntry] = {}
    ran = _with_checkpoints(settings)
    # What a promoted version writes and no run has written yet is told, too.
    ahead_ms: dict[str, int] = {}
    for plan in (*plans(settings), *(one.plan for one in current.values())):
        ahead_ms.setdefault(plan.job, plan.shown_ms)
        frozen = current.get(plan.job)
        for table in plan.tables:
            is_promoted = frozen is not None and any(_same(table, one) for one in frozen.plan.tables)
            entry = TableEntry(
                table,
                plan.job,
                frozen.name if frozen and is_promoted else DRAFT,
                plan.topic,
                plan.conditions,
                table.rows is not None or len([one for one in plan.tables if one.rows is None]) == 1,
                plan.job in ran,
            )
            found.setdefault((table.name, table.store), entry)
    entries = tuple(found[key] for key in sorted(found))
    return Catalogue(
        settings.namespace.name, settings.profile.serving.store, entries, contract_of(settings),
        partial(rates_of, settings),
        lambda job: complete_until(f"{settings.checkpoints}/{job}", ahead_ms=ahead_ms[job]),
    )  # fmt: skip


def _with_checkpoints(settings: Settings) -> set[str]:
    """The jobs that have run in the namespace; none where its checkpoints can't be reached from here."""
    try:
        return set(jobs_with_checkpoints(settings.checkpoints))
    except (OSError, pa.ArrowException):
        return set()


def _same(table: TablePlan, other: TablePlan) -> bool:
    return (table.name, table.store) == (other.name, other.store)


def titles(entry: TableEntry, contract: Contract) -> Sequence[str]:
    """What a table says, for people: the titles of its figures, or the names of its columns.

    Parameters
    ----------
    entry : TableEntry
        The table.
    contract : Contract
        The shop's: with rates, money also has figures in the base currency.
    """
    if entry.plan.rows is not None:
        return [name for name, _ in entry.plan.rows.columns]
    if entry.figures is None:
        return [figure.name for figure in entry.plan.figures] or ["every event"]
    kept: list[Figure | Ratio] = [*entry.figures.figures, *entry.figures.ratios]
    if contract.shop.rates:
        kept += all_in_base(chosen_figures((), entry.figures), entry.figures.by)
    return [figure.title for figure in kept]
