"""Files that are there whole or not at all: written aside, brought to the disk, put in place by one rename."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["put_in_place", "whole_file", "write_whole"]


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o666, synced: bool = True) -> None:
    """Write a file in the place of the one that is there; a reader, or a crash, never finds half of it.

    Parameters
    ----------
    path : Path
        The file; its folder is there.
    content : str or bytes
        All of it; text as UTF-8.
    mode : int
        Its permissions, less the process's mask.
    synced : bool
        Whether the file is on the disk when this returns; see `whole_file`.
    """
    with whole_file(path, mode=mode, synced=synced) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path, *, mode: int = 0o666, synced: bool = True) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends, and is removed where the block fails.

    Parameters
    ----------
    path : Path
        The file; its folder is there.
    mode : int
        Its permissions, less the process's mask: ``0o600`` where only its owner should read it.
    synced : bool
        Whether it outlives a power failure from then on. Leave that away where a file is written every second, and
        losing it costs nothing.

    Yields
    ------
    file
        For bytes. Its name starts with a dot, which Hive, Spark and Arrow skip.
    """
    # No other writer of the same file has the same name for it.
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.new")
    try:
        with os.fdopen(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode), "w+b") as file:
            yield file
        put_in_place(aside, path, synced=synced)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def put_in_place(aside: Path, path: Path, *, synced: bool = True) -> None:
    """Give a file that was written aside its name, in the place of what had that name.

    Parameters
    ----------
    aside : Path
        What was written, in the same file system.
    path : Path
        Where it belongs.
    synced : bool
        See `whole_file`.
    """
    if synced:
        _sync(aside)
    aside.replace(path)
    if synced:
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
