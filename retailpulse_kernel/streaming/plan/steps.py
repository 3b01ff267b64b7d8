"""The steps of a query: which of them a change of the query has added, removed or made another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["changed_steps"]

#: A step of a query: its kind, and its content as SQL.
Step = tuple[str, str]
#: Steps that are told; a reader of the gate's verdict sees the rest in the notebook.
_MOST: Final = 3
_LENGTH: Final = 100


def changed_steps(old: Sequence[Step], new: Sequence[Step]) -> str:
    """What has changed, in words; empty where nothing has, or where the steps of one query are not known.

    Parameters
    ----------
    old, new : sequence of Step
        The steps of the old query and of the new one.
    """
    if not old or not new:
        return ""
    found = list(_changed(old, new))
    more = f", and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return ", ".join(found[:_MOST]) + more


def _changed(old: Sequence[Step], new: Sequence[Step]) -> Iterator[str]:
    gone, come = _without(old, new), _without(new, old)
    for kind in dict.fromkeys(kind for kind, _ in [*gone, *come]):
        before, after = ([text for one, text in steps if one == kind] for steps in (gone, come))
        for was, now in zip(before, after, strict=False):
            yield f"the {kind} changed from {_short(was)} to {_short(now)}"
        yield from (f"the {kind} {_short(text)} was removed" for text in before[len(after) :])
        yield from (f"the {kind} {_short(text)} was added" for text in after[len(before) :])


def _without(steps: Sequence[Step], others: Sequence[Step]) -> list[Step]:
    """The steps that the others do not have, in order."""
    left, found = Counter(others), list[Step]()
    for step in steps:
        if left[step]:
            left[step] -= 1
        else:
            found.append(step)
    return found


def _short(text: str) -> str:
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…"
