"""Folders of notes beside a checkpoint: what is there, who was first, and what goes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pyarrow import fs

from retailpulse_kernel.streaming.checkpoint.files import read_note, write_note

__all__ = ["note_once", "noted", "remove_notes"]


def note_once(folder: str, name: str, content: bytes) -> bytes:
    """Note something unless it is noted already.

    Where the folder is not on this machine, two that note at the same moment may both find nothing there: the last one
    wins.

    Parameters
    ----------
    folder : str
        A path or a URI.
    name : str
        The note's file name.
    content : bytes
        The whole note.

    Returns
    -------
    bytes
        What is noted: this, or what another one noted before.
    """
    if (there := read_note(folder, name)) is not None:
        return there
    filesystem, root = fs.FileSystem.from_uri(folder)
    if not isinstance(filesystem, fs.LocalFileSystem):
        write_note(folder, name, content)
        return content
    aside = f".{name}.{os.getpid()}-{threading.get_native_id()}"
    write_note(folder, aside, content)
    try:
        # A link fails where the name is taken, whoever was quicker.
        Path(root, name).hardlink_to(Path(root, aside))
    except FileExistsError:
        return read_note(folder, name) or content
    finally:
        Path(root, aside).unlink()
    return content


def noted(folder: str) -> list[str]:
    """The names of the notes in a folder, sorted; none where it is absent.

    Parameters
    ----------
    folder : str
        A path or a URI.
    """
    filesystem, root = fs.FileSystem.from_uri(folder)
    found = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True))
    return sorted(one.base_name for one in found if one.type is fs.FileType.File and one.base_name[0] != ".")


def remove_notes(folder: str, names: Iterable[str]) -> None:
    """Remove notes; one that is gone already is none the worse.

    Parameters
    ----------
    folder : str
        A path or a URI.
    names : iterable of str
        Their file names.
    """
    filesystem, root = fs.FileSystem.from_uri(folder)
    for name in names:
        with suppress(FileNotFoundError):
            filesystem.delete_file(f"{root}/{name}")
