"""What a plan alone tells of a job's figures: which events count, and which tables can be computed once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.events import CONTRACT
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.measuring.conditions import compiled, condition_of
from retailpulse_kernel.shop.measuring.results import require_exact
from retailpulse_kernel.shop.tables import FigureTable
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan

__all__ = ["Counting", "counting_of", "exact_table"]


class Counting(NamedTuple):
    """Which events count for a job.

    Attributes
    ----------
    meets : callable or None
        Whether an event meets the job's conditions; all do when None.
    refuses : callable or None
        Whether the job's expectations refuse an event; none are refused when None.
    """

    meets: Callable[[Any], bool] | None
    refuses: Callable[[Any], bool] | None


def counting_of(plan: Plan, contract: Contract) -> Counting:
    """Which events of its topic count for a job that did not call them late.

    Parameters
    ----------
    plan : Plan
        Of the job.
    contract : Contract
        What the messages of the plan's topic hold.

    Raises
    ------
    UsageError
        Only the job can tell; the message says why.
    """
    if plan.contract != CONTRACT:
        known = f"this program folds version {CONTRACT}"
        raise UsageError(f"its events have version {plan.contract} of the contract, and {known}")
    if plan.unique_by != "event_id":
        first = "the job takes the first that comes, which only the job knows"
        raise UsageError(f"of all events of one {plan.unique_by} {first}")
    meets = compiled(plan.conditions, contract) if plan.conditions else None
    rules = [condition_of(one, contract) for one in plan.refuses(plan.topic)]
    refuses = (lambda event: any(rule.is_violated(event) for rule in rules)) if rules else None
    return Counting(meets, refuses)


def exact_table(plan: TablePlan, contract: Contract) -> FigureTable:
    """The figure table that a plan describes, where its figures can be computed exactly.

    Parameters
    ----------
    plan : TablePlan
        Of a table of figures.
    contract : Contract
        What the messages of the job's topic hold.

    Raises
    ------
    ValueError, KeyError, UsageError
        This program does not know such figures, windows or keys, or Spark drops decimal places of a figure.
    """
    table = plan.table
    for figure in table.figures:
        if figure.rules.shows is Value.DECIMAL:
            require_exact(figure.measure.of, contract.types)
    return table
