"""What a correction did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["CorrectedTable", "Corrections"]


@dataclass(frozen=True)
class CorrectedTable:
    """A stored table beside which late events are kept.

    Attributes
    ----------
    store, table, job : str
        What was corrected, and who writes it.
    late_events : int
        Late events in the windows that were looked at.
    changed : int
        Rows whose figures have changed.
    """

    store: str
    table: str
    job: str
    late_events: int
    changed: int


@dataclass(frozen=True)
class Corrections:
    """The result of `correct`.

    Attributes
    ----------
    namespace : str
        Whose tables.
    seconds : float
        How long it took.
    tables : list of CorrectedTable
        The tables of which windows were looked at; none where the archive holds nothing new.
    notes : list of str
        What was not corrected, and why.
    """

    namespace: str
    seconds: float
    tables: list[CorrectedTable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Rows whose figures have changed."""
        return sum(table.changed for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self) | {"changed": self.changed}
