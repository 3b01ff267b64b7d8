"""Files that a process, and whatever it starts, can read and not write: Linux' Landlock, which needs no root.

https://docs.kernel.org/userspace-api/landlock.html; the numbers are those of ``linux/landlock.h``, the same on every
architecture.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["is_possible", "make_read_only"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38
#: Writing into files, and removing or making each kind of them.
_WRITES = (1 << 1) | sum(1 << bit for bit in range(4, 13))
#: What later versions of Landlock also know: moving between folders, and cutting files off.
_LATER = {2: 1 << 13, 3: 1 << 14}


def is_possible() -> bool:
    """Whether this system can do it: Linux from 5.13 on, with Landlock switched on."""
    return _version() > 0


def make_read_only(writable: Iterable[Path]) -> bool:
    """From now on let this thread, and all that it starts, write only into some folders; False where that can't be.

    Parameters
    ----------
    writable : iterable of Path
        Folders that are there.

    Raises
    ------
    OSError
        A folder is not there.
    """
    version = _version()
    if version <= 0:
        return False
    handled = _WRITES | sum(right for since, right in _LATER.items() if version >= since)
    rules = _call(_CREATE_RULESET, _buffer("=Q", handled), 8, 0)
    try:
        for folder in writable:
            place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            try:
                _call(_ADD_RULE, rules, _PATH_BENEATH, _buffer("=Qi", handled, place), 0)
            finally:
                os.close(place)
        # Without it only root may restrict itself: a program that gains rights would not expect it.
        if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return True


def _version() -> int:
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def _buffer(form: str, *values: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack(form, *values))


def _call(number: int, *arguments: object) -> int:
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    found: int = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *given)
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return found
