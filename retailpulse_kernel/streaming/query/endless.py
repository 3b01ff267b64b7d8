"""Whose state grows without end: an operator that waits for rows, and goes by no time that has a watermark.

Spark runs such a query, and never forgets a row of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from retailpulse_kernel.stores.spark.plans import id_of, items

__all__ = ["MARK", "kept_for_ever"]

#: Spark's mark of a column of event time.
MARK: Final = "spark.watermarkDelayMs"
#: Spark's marks of the windows that rows are grouped by.
_WINDOWS: Final = ("spark.timeWindow", "spark.sessionWindow")
_REMEDY: Final = "The watermark is on the column event_time, and a cast or a function takes it off"


def kept_for_ever(node: Any) -> Iterator[str]:
    """What a node of a streaming query never forgets, in words.

    Parameters
    ----------
    node : object
        A node of Spark's analysed plan, all of whose children are streams of the job's.
    """
    match node.nodeName():
        case "Join":
            # Rows of a side are dropped by how far the time of the other side has come.
            for kept, name, other in (("left", "right", node.right()), ("right", "left", node.left())):
                if not _goes_by_time_of(other, node.condition()):
                    why = f"the {name} one has no time with a watermark in the condition"
                    yield f"the join keeps every row of its {kept} side for ever: {why}. {_REMEDY}"
        case "Aggregate":
            keys = [column for one in items(node.groupingExpressions()) for column in items(one.references())]
            windows = [one.name() for one in keys if any(map(one.metadata().contains, _WINDOWS))]
            if windows and not any(one.metadata().contains(MARK) for one in keys):
                yield f"{', '.join(windows)} is kept for ever: its time has no watermark. {_REMEDY}"
        case "Deduplicate" if not _is_marked(node.keys()):
            names = ", ".join(one.name() for one in items(node.keys()))
            yield f"dropDuplicates keeps every {names} for ever. Use dropDuplicatesWithinWatermark"


def _goes_by_time_of(side: Any, condition: Any) -> bool:
    """Whether a join's condition has a column of one of its sides that has a watermark."""
    own = {id_of(column) for column in items(side.output())}
    columns = items(condition.get().references()) if condition.isDefined() else ()
    return any(column.metadata().contains(MARK) and id_of(column) in own for column in columns)


def _is_marked(columns: Any) -> bool:
    return any(column.metadata().contains(MARK) for column in items(columns))
