"""A note of what takes a while: one line that is replaced in a notebook, and stderr elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["note"]


@contextmanager
def note(text: str) -> Iterator[Callable[[str], None]]:
    """Say what is under way; the yielded function replaces the text, such as by how it ended."""
    shell = _shell()
    if shell is None:
        print(text, file=sys.stderr, flush=True)
        yield lambda end: print(end, file=sys.stderr, flush=True)
        return
    from IPython.display import display

    shown = display(_Line(text), display_id=True)
    yield lambda end: shown.update(_Line(end))


class _Line:
    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": self._text}

    def __repr__(self) -> str:
        return self._text


def _shell() -> object | None:
    """The notebook's shell, if this is one: a terminal's IPython writes to it as any program does."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    shell = get_ipython()
    return shell if shell is not None and hasattr(shell, "kernel") else None
