"""The catalogue as people and programs see it: what each table says, who writes it, and how fresh it is."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.answers.base_figures import all_in_base
from retailpulse_kernel.answers.reading import chosen_figures
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry, catalogue_of, titles
from retailpulse_kernel.ground.errors import RetailPulseError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import iso_text, moment_at
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.shop.tables import FigureTable
from retailpulse_kernel.stores.frames import ColumnKind, to_frame
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Freshness", "Tables", "described", "fresh_words", "freshness", "tables_of"]

_COLUMNS: dict[str, ColumnKind | None] = {
    "table": "text", "store": "text", "kind": "text", "by": "text", "windows": "text",
    "job": "text", "version": "text", "only": "text", "written": "time", "complete_until": "time", "rows": "integer",
    "sketched": "text", "holds": "text",
}  # fmt: skip


@dataclass(frozen=True)
class Freshness:
    """How new a table is, as the accounts of its job say.

    Attributes
    ----------
    written : datetime or None
        When the last micro-batch was written, UTC; None where the job has not run.
    complete_until : datetime or None
        Of figures until when their windows are complete, as the column ``complete`` of `rp.figures` has it; of other
        tables the watermark. None where nothing tells it.
    rows : int or None
        How many rows the table has, where the accounts tell: those of a table to which rows are only appended.
    """

    written: datetime | None = None
    complete_until: datetime | None = None
    rows: int | None = None


@dataclass(frozen=True, repr=False)
class Tables:
    """What `rp.tables()` found; a notebook shows it as a table.

    Attributes
    ----------
    catalogue : Catalogue
        The tables.
    freshness : tuple of Freshness
        That of each table, in the same order.
    problem : str
        Why nothing is known of the freshness; empty otherwise.
    """

    catalogue: Catalogue
    freshness: tuple[Freshness, ...]
    problem: str = ""

    @property
    def names(self) -> list[str]:
        """The names of the tables."""
        return self.catalogue.names

    @property
    def frame(self) -> pd.DataFrame:
        """The tables as a frame.

        Its columns are table, store, kind (figures, rows or events), by (dimensions or key), windows, job, version,
        only (which events count), written and complete_until (UTC; of rows the watermark), rows, sketched (figures
        that are estimated), and holds (figures or columns).
        """
        both = zip(self.catalogue.entries, self.freshness, strict=True)
        rows = [_row(entry, fresh, self.catalogue.contract) for entry, fresh in both]
        kinds = {place: kind for place, kind in enumerate(_COLUMNS.values()) if kind}
        return to_frame(list(_COLUMNS), rows, kinds)

    def __len__(self) -> int:
        return len(self.catalogue.entries)

    def __repr__(self) -> str:
        shown = self._readable.to_string(index=False, max_colwidth=60) if len(self) else _nothing(self.catalogue)
        return "\n\n".join(filter(None, [self._title, shown, self.problem]))

    def _repr_html_(self) -> str:
        shown = self._readable.to_html(index=False, border=0) if len(self) else f"<p>{_nothing(self.catalogue)}</p>"
        problem = f"<p>{html.escape(self.problem)}</p>" if self.problem else ""
        return f"<p><b>{html.escape(self._title)}</b></p>{shown}{problem}"

    @property
    def _readable(self) -> pd.DataFrame:
        """The frame with its times to the second, which is how often jobs write."""
        frame = self.frame
        times = {
            name: frame[name].dt.strftime("%Y-%m-%d %H:%M:%S").fillna("") for name in ("written", "complete_until")
        }
        return frame.assign(**times).rename(columns={name: f"{name} (UTC)" for name in times})

    @property
    def _title(self) -> str:
        return f"tables of the namespace {self.catalogue.namespace}"

    def to_json(self) -> list[dict[str, Any]]:
        """The tables as plain values; times in ISO 8601."""
        both = zip(self.catalogue.entries, self.freshness, strict=True)
        contract = self.catalogue.contract
        return [described(entry, contract) | fresh_words(fresh) for entry, fresh in both]


def tables_of(settings: Settings) -> Tables:
    """The catalogue of a namespace with how fresh each table is.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    """
    catalogue, problem = catalogue_of(settings), ""
    accounts: list[Account] = []
    try:
        accounts = read_accounts(settings, further=True)
    except UsageError:
        pass  # a namespace without topics has no accounts
    except RetailPulseError as error:
        problem = f"How fresh the tables are is not known: {error}"
    # The checkpoint of a job is read once, however many tables it writes.
    jobs = sorted({entry.job for entry in catalogue.entries if entry.ran and entry.kind == "figures"})
    reached = {} if catalogue.progress is None else {job: catalogue.progress(job) for job in jobs}
    each = (freshness(entry, accounts, reached.get(entry.job)) for entry in catalogue.entries)
    return Tables(catalogue, tuple(each), problem)


def freshness(entry: TableEntry, accounts: Sequence[Account], reached: datetime | None = None) -> Freshness:
    """How new a table is, by the newest epoch of its job.

    Parameters
    ----------
    entry : TableEntry
        The table.
    accounts : sequence of Account
        Those of the namespace, with those of further outputs.
    reached : datetime, optional
        How far the job has come with its figures, as `completeness.complete_until` has it.
    """
    own = [one for one in accounts if (one.job, one.output) == (entry.job, entry.output)]
    newest = max((one.epoch for one in own), default=0)
    batches = [one for one in own if one.epoch == newest]
    if not batches:
        return Freshness()
    watermark = max(one.watermark_ms for one in batches)
    appended = entry.alone and not entry.key and entry.kind != "figures"
    return Freshness(
        moment_at(max(one.finished_ms for one in batches)),
        reached if entry.kind == "figures" else moment_at(watermark) if watermark > 0 else None,
        sum(one.rows for one in batches) if appended else None,
    )


def described(entry: TableEntry, contract: Contract) -> dict[str, Any]:
    """A table as plain values.

    Parameters
    ----------
    entry : TableEntry
        The table.
    contract : Contract
        The shop's: with rates, money also has figures in the base currency.
    """
    figures, rows = entry.figures, entry.plan.rows
    return {
        "table": entry.name,
        "store": entry.store,
        "kind": entry.kind,
        "job": entry.job,
        "version": entry.version,
        "only": list(entry.conditions),
        "by": list(entry.key),
        "windows": list(entry.plan.widths),
        "figures": [] if figures is None else _figures(figures, entry.sketched, contract),
        "columns": [] if rows is None else [{"name": name, "type": kind} for name, kind in rows.columns],
    }


def _figures(table: FigureTable, sketched: Sequence[str], contract: Contract) -> list[dict[str, Any]]:
    kept: list[Figure | Ratio] = [*table.figures, *table.ratios]
    if contract.shop.rates:
        kept += all_in_base(chosen_figures((), table), table.by)
    return [{"name": one.name, "title": one.title, "unit": one.unit, "exact": one.name not in sketched} for one in kept]


def fresh_words(fresh: Freshness) -> dict[str, Any]:
    """How new a table is, as plain values.

    Parameters
    ----------
    fresh : Freshness
        Of one table.
    """
    return {
        "written": fresh.written and iso_text(fresh.written, "milliseconds"),
        "complete_until": fresh.complete_until and iso_text(fresh.complete_until, "milliseconds"),
        "rows": fresh.rows,
    }


def _row(entry: TableEntry, fresh: Freshness, contract: Contract) -> list[Any]:
    return [
        entry.name, entry.store, entry.kind, ", ".join(entry.key), ", ".join(entry.plan.widths),
        entry.job, entry.version, " and ".join(entry.conditions), fresh.written,
        fresh.complete_until, fresh.rows, ", ".join(entry.sketched), ", ".join(titles(entry, contract)),
    ]  # fmt: skip


def _nothing(catalogue: Catalogue) -> str:
    return f"No job has run in the namespace {catalogue.namespace}, and none is promoted."
