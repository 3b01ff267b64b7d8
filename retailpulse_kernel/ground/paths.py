"""Files that a command is told to read and to write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retailpulse_kernel.ground.errors import UsageError

__all__ = ["require_apart"]


def require_apart(
    written: Mapping[str, str | Path | None], read: Mapping[str, str | Path | None] | None = None
) -> None:
    """Refuse to write a file that is read, or that is written twice; also by another path or a link.

    Parameters
    ----------
    written, read : mapping of str to path
        Files by what they are called in the error; None is none.

    Raises
    ------
    UsageError
        Two of them are one file.
    """
    outputs = [(what, path) for what, path in written.items() if path is not None]
    inputs = [(what, path) for what, path in (read or {}).items() if path is not None]
    for number, (what, path) in enumerate(outputs):
        for other, that in (*inputs, *outputs[:number]):
            if _is_same(path, that):
                raise UsageError(f"{what} and {other} are one file: {path}.", remedy="Write to another file.")


def _is_same(one: str | Path, other: str | Path) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:  # one of them is not there yet
        return Path(one).resolve() == Path(other).resolve()
