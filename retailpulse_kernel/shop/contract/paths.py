"""Where in a message a field is: ``context.campaign.name``, ``items[0].sku``."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Step", "path_text", "steps_of"]

#: A key of an object, or the number of a list's element.
Step = str | int

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d{1,4})\]")


def steps_of(path: str) -> tuple[Step, ...] | None:
    """The steps from a message to a field; None for a text that is not a path.

    >>> steps_of("items[0].sku")
    ('items', 0, 'sku')

    Parameters
    ----------
    path : str
        Keys with dots between them, numbers of elements in brackets. It begins with a key.
    """
    steps: list[Step] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        # A dot stands before each key but the first.
        if found is None or (found[1] is not None and path[at].startswith(".") != bool(steps)):
            return None
        steps.append(found[1] if found[1] is not None else int(found[2]))
        at = found.end()
    return tuple(steps) if steps and isinstance(steps[0], str) else None


def path_text(steps: tuple[Step, ...]) -> str:
    """The path of some steps.

    >>> path_text(("items", 0, "sku"))
    'items[0].sku'

    Parameters
    ----------
    steps : tuple of str or int
        From a message to a field.
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
