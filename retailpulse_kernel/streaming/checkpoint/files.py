"""Files of a checkpoint, on this machine or on a file system that Arrow reaches by its URI."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

from pyarrow import fs

from retailpulse_kernel.ground.files import write_whole

__all__ = [
    "filesystem_of",
    "listed",
    "read_file",
    "read_note",
    "write_file",
    "write_note",
]


def read_note(checkpoint: str, name: str) -> bytes | None:
    """What was noted under a name beside a checkpoint, or None.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    name : str
        The note's file name.
    """
    filesystem, root = filesystem_of(checkpoint)
    return read_file(filesystem, f"{root}/{name}")


def write_note(checkpoint: str, name: str, content: bytes) -> None:
    """Note something beside a checkpoint; what was there before stays until all of it is written.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    name : str
        The note's file name.
    content : bytes
        The whole note.
    """
    filesystem, root = filesystem_of(checkpoint)
    filesystem.create_dir(root, recursive=True)
    write_file(filesystem, root, name, content)


def listed(filesystem: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    """What a folder holds; nothing where it does not exist.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
        As `filesystem_of` gives it.
    folder : str
        Its path there.
    """
    return list(filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True)))


def filesystem_of(location: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path there.

    Parameters
    ----------
    location : str
        ``/a/b``, ``file:///a/b``, ``hdfs://host/a/b``.
    """
    if urlparse(location).scheme in ("", "file"):
        return fs.LocalFileSystem(), location.removeprefix("file://")
    return fs.FileSystem.from_uri(location)


def write_file(filesystem: fs.FileSystem, folder: str, name: str, content: bytes, *, synced: bool = True) -> None:
    """Write a file whole: what was there before stays until all of the new content is written.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
        As `filesystem_of` gives it.
    folder : str
        An existing folder's path there.
    name : str
        The file's name.
    content : bytes
        All of it.
    synced : bool
        Whether the content is on the disk before the file gets its name. For files of this machine.
    """
    if isinstance(filesystem, fs.LocalFileSystem):
        write_whole(Path(folder, name), content, synced=synced)
        return
    with filesystem.open_output_stream(f"{folder}/.{name}") as stream:
        stream.write(content)
    filesystem.move(f"{folder}/.{name}", f"{folder}/{name}")


def read_file(filesystem: fs.FileSystem, path: str) -> bytes | None:
    """The content of a file; None where there is none.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
        As `filesystem_of` gives it.
    path : str
        Its path there.
    """
    try:
        with filesystem.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return None
