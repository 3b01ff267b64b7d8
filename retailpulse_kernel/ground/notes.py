"""Notes for a person: a line beside the result in a notebook, and stderr elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["note", "say", "unsaid"]

_quiet: ContextVar[bool] = ContextVar("_quiet", default=False)


def say(text: str) -> None:
    """Say what should be known of a result, such as that it was cut.

    Parameters
    ----------
    text : str
        One sentence.
    """
    if not _quiet.get():
        with note(text):
            pass


@contextmanager
def unsaid() -> Iterator[None]:
    """Keep `say` silent where the caller tells the same by itself."""
    before = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(before)


@contextmanager
def note(text: str) -> Iterator[Callable[[str], None]]:
    """Say what is under way, in a line that the yielded function replaces, such as by how it ended.

    Parameters
    ----------
    text : str
        One line; a notebook replaces it, a terminal prints the next one below.
    """
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
