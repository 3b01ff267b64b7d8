"""Our errors in a notebook: what happened and what to do, without the page of Python that led there."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType
from typing import Any

from retailpulse_kernel.ground.errors import RetailPulseError

__all__ = ["install"]


def install(shell: Any) -> None:
    """Show `RetailPulseError` and its like by their message; ``%tb`` shows the rest.

    Parameters
    ----------
    shell : object
        IPython's.
    """
    shell.set_custom_exc((RetailPulseError,), _show)


def _show(
    shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: int | None = None
) -> list[str]:
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    lines = [f"{kind.__name__}: {error}"]
    if where := _where(shell, trace):
        lines.append(f"{where}; `%tb` shows the way there.")
    # Front ends, nbconvert and papermill get it as the error that it is.
    shell._showtraceback(kind, error, lines)
    return lines


def _where(shell: Any, trace: TracebackType) -> str:
    """The innermost line of a cell."""
    for frame in reversed(traceback.extract_tb(trace)):
        if named := shell.compile.format_code_name(frame.filename):
            return f"{' '.join(named)}, line {frame.lineno}"
    return ""
