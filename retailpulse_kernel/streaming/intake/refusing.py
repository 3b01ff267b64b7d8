"""The events that a job refuses: valid ones that violate an expectation of its own, told in the workers."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.measuring.conditions import condition_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["REFUSED", "Refusing", "reason_of"]

#: The columns with the counts of refused events, one for each rule, begin with this.
REFUSED = "n_refused_"


def reason_of(name: str) -> str:
    """The reason under which a refused event is in the dead-letter topic.

    Parameters
    ----------
    name : str
        The expectation's name.
    """
    return f"expectation:{name}"


class Refusing:
    """Rules by which events are refused.

    Parameters
    ----------
    rules : sequence of (str, str)
        The name and the condition of each expectation; an event is refused by the first that it violates.
    contract : Contract
        What an event holds.
    """

    def __init__(self, rules: Sequence[tuple[str, str]], contract: Contract) -> None:
        self.names = [name for name, _ in rules]
        self._conditions = [condition_of(text, contract) for _, text in rules]
        #: What the conditions name.
        self.columns = sorted({name for condition in self._conditions for name in condition.columns})

    def first_violated(self, events: pa.Table) -> npt.NDArray[np.int64]:
        """Which rule each event violates first, by its number; -1 for an event that is not refused.

        Parameters
        ----------
        events : pyarrow.Table
            With the conditions' columns.
        """
        if not self._conditions:
            return np.full(events.num_rows, -1, dtype=np.int64)
        lists: list[Any] = [events[name].to_pylist() for name in self.columns] or [[None] * events.num_rows]
        verdicts: dict[tuple[Any, ...], int] = {}  # many events have the same prices, quantities or types
        found = []
        for values in zip(*lists, strict=True):
            if values not in verdicts:
                event = SimpleNamespace(**dict(zip(self.columns, values, strict=False)))
                verdicts[values] = next((i for i, one in enumerate(self._conditions) if one.is_violated(event)), -1)
            found.append(verdicts[values])
        return np.asarray(found, dtype=np.int64)
