"""Which events count for a job, told from its plan alone: for what computes the job's figures once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.events import CONTRACT
from retailpulse_kernel.shop.measuring.conditions import compiled, condition_of
from retailpulse_kernel.streaming.plan.data import Plan

__all__ = ["Counting", "counting_of"]


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
