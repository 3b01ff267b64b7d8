"""The table of a long run."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.faults.evidence import Verdict

__all__ = ["Report", "Round"]


@dataclass(frozen=True)
class Round:
    """One fault and what came of it.

    Attributes
    ----------
    fault : str
        What went wrong.
    recovery : float
        Seconds from its end until every job had committed all that had been sent before.
    verdict : Verdict
        The stores and accounts against the truth, after the round.
    """

    fault: str
    recovery: float
    verdict: Verdict


@dataclass
class Report:
    """The rounds so far, and what could not be done here."""

    seed: int
    rounds: list[Round] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, done: Round) -> None:
        """Keep a round, and say that it is over: all of them take an hour."""
        self.rounds.append(done)
        print(f"round {len(self.rounds)}: {done.fault}, recovered after {done.recovery:.1f} s", flush=True)

    def skip(self, fault: str, reason: str) -> None:
        """Keep why a fault could not be made."""
        self.skipped.append(f"Not tried: {fault} ({reason}).")

    def table(self) -> str:
        """All rounds in Markdown; events, lost and doubled are those of the run so far."""
        head = ("round", "fault", "events", "lost", "doubled", "recovery", "reconcile")
        rows = [
            (
                str(number),
                one.fault,
                f"{one.verdict.events:,}",
                f"{one.verdict.lost:,}",
                f"{one.verdict.doubled:,}",
                f"{one.recovery:.1f} s",
                "equal" if one.verdict.reconciled else "differs",
            )
            for number, one in enumerate(self.rounds, start=1)
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [head, tuple("-" * width for width in widths), *rows]
        table = (
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        )
        return "\n".join([f"Seed {self.seed}.", "", *table, *self.skipped])
