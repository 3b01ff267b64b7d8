"""What a reconciliation found."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Literal

from retailpulse_kernel.ground.errors import CheckFailed
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.personal import masked

__all__ = ["Difference", "JobCheck", "Reconciliation", "State", "TableCheck", "Totals"]

#: The state of a table: "nothing" where no window is closed yet, "not run" where its job never ran, "not checked"
#: where what it should hold can't be told.
State = Literal["equal", "differs", "nothing", "not run", "not checked"]
#: What was found of all.
Outcome = Literal["equal", "differs", "not checked"]


@dataclass(frozen=True)
class Difference:
    """A key under which a store and the fold of the topic do not have the same.

    Attributes
    ----------
    key : dict
        The window's start and the dimensions; of a table of rows the columns of its key, or where it has none, all.
    stored, folded : dict or None
        The values that differ; None where the key is missing altogether.
    against : str
        What the store is compared with.
    """

    key: dict[str, Any]
    stored: dict[str, Any] | None
    folded: dict[str, Any] | None
    against: str = "the fold of the topic"

    def told(self, contract: Contract, figures: Iterable[Figure]) -> Difference:
        """The difference without the values of personal fields.

        Parameters
        ----------
        contract : Contract
            The shop's.
        figures : iterable of Figure
            Those that the tables hold.
        """
        hidden = partial(masked, contract=contract, figures=tuple(figures))
        stored, folded = (None if row is None else hidden(row) for row in (self.stored, self.folded))
        return replace(self, key=hidden(self.key), stored=stored, folded=folded)

    def __str__(self) -> str:
        key = ", ".join(f"{name} {_text(value)}" for name, value in self.key.items())
        return f"{key}: the store has {_figures(self.stored)}, {self.against} {_figures(self.folded)}"


@dataclass(frozen=True)
class TableCheck:
    """One table of a store against the fold.

    Attributes
    ----------
    store, table, job : str
        What was compared, and who writes it. Store and table are empty for all that a job of no known plan writes.
    state : str
        ``equal``, ``differs``, ``nothing`` (to compare yet), ``not run`` or ``not checked``.
    rows : int
        Keys that were compared.
    differing : int
        How many of them differ.
    first : Difference or None
        The first of them, in order of time.
    reason : str
        Why it is not checked.
    """

    store: str
    table: str
    job: str
    state: State
    rows: int = 0
    differing: int = 0
    first: Difference | None = None
    reason: str = ""


@dataclass(frozen=True)
class JobCheck:
    """A job's accounts against the topic.

    Attributes
    ----------
    job, epoch, batches
        The newest epoch, and how many batches of it left an account.
    behind : int
        Messages that the topic holds and the job has not taken yet.
    closed_until : datetime or None
        Windows that end up to here are compared; None for all of them: the job has taken all there is.
    reported, found : dict of str to int
        consumed, accepted, duplicate, late, bad: by the accounts, and by the fold.
    further_events : int
        Events that are not the first of their message, by the accounts: the messages and these are what was judged.
    problems : list of str
        What does not agree.
    lost : int
        Messages that the topic deleted before the job took them, by the accounts; they are among neither count.
    """

    job: str
    epoch: int
    batches: int
    behind: int
    closed_until: datetime | None
    reported: dict[str, int]
    found: dict[str, int]
    problems: list[str]
    lost: int = 0
    further_events: int = 0


@dataclass(frozen=True)
class Totals:
    """A currency's figures over the hours that are closed in every store.

    Attributes
    ----------
    currency : str
    figures : dict
        ``events``, ``units``, ``revenue``, ``orders``, each by source: ``topic``, and the
        stores whose jobs ran.
    equal : bool
        Whether every store has what the topic has.
    """

    currency: str
    figures: dict[str, dict[str, int | Decimal]]
    equal: bool


@dataclass(frozen=True)
class Reconciliation:
    """The result of `reconcile`.

    Attributes
    ----------
    namespace : str
    since, until : datetime or None
        The range that was asked for.
    messages : int
        Messages of the topic that were folded.
    seconds : float
        How long it took.
    jobs : list of JobCheck
    tables : list of TableCheck
    totals : list of Totals
    totals_since, totals_until : datetime or None
        The whole hours that the totals are of.
    notes : list of str
        What limits the comparison, such as a job that is behind.
    """

    namespace: str
    since: datetime | None
    until: datetime | None
    messages: int
    seconds: float
    jobs: list[JobCheck]
    tables: list[TableCheck]
    totals: list[Totals]
    totals_since: datetime | None = None
    totals_until: datetime | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """``differs`` where something does, else ``not checked`` where something can't be told, else ``equal``."""
        return "differs" if self.differences else "not checked" if self.unchecked else "equal"

    @property
    def ok(self) -> bool:
        """Whether the outcome is ``equal``."""
        return self.outcome == "equal"

    @property
    def unchecked(self) -> list[str]:
        """What was not checked, and why."""
        return [
            f"{f'{check.store} {check.table}' if check.table else 'The tables'} of the job {check.job}: {check.reason}."
            for check in self.tables
            if check.state == "not checked"
        ]

    @property
    def differences(self) -> list[str]:
        """What differs, one sentence each; the first key of each table that does."""
        found = [f"The job {job.job}: {problem}." for job in self.jobs for problem in job.problems]
        for check in self.tables:
            if check.first is not None:
                found.append(f"{check.store} {check.table}, {check.differing:,} of {check.rows:,} keys: {check.first}.")
        return found + [
            f"The totals in {t.currency} are not the same in all stores." for t in self.totals if not t.equal
        ]

    def require_equal(self) -> None:
        """Fail where something differs or was not checked, for a notebook that runs on a schedule.

        Raises
        ------
        CheckFailed
            With all of it.
        """
        if not self.ok:
            said = [*self.differences, *(f"Not checked: {sentence}" for sentence in self.unchecked)]
            raise CheckFailed(" ".join(said), remedy=f"See `retailpulse reconcile --namespace {self.namespace}`.")

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values: times in RFC 3339, money as decimal text."""
        return {
            "ok": self.ok,
            "outcome": self.outcome,
            **_plain(asdict(self)),
            "differences": self.differences,
            "unchecked": self.unchecked,
        }


def _text(value: Any) -> str:
    if not isinstance(value, datetime):
        return repr(value)
    return value.isoformat(timespec="auto" if value.second or value.microsecond else "minutes")


def _figures(values: dict[str, Any] | None) -> str:
    if values is None:
        return "nothing"
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return format(value, "f") if isinstance(value, Decimal) else value
