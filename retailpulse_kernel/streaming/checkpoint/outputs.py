"""The queries of an epoch: where the checkpoint of each output is, and which outputs have begun."""

from __future__ import annotations

import json
from collections.abc import Collection

from pyarrow import fs

from retailpulse_kernel.streaming.checkpoint.files import filesystem_of, listed, read_file, read_note, write_note

__all__ = [
    "OUTPUTS",
    "checkpoint_of",
    "forget_outputs",
    "forgotten",
    "outputs_of",
    "query_of",
]

#: The folder, in an epoch's, of the queries that write tables of rows.
OUTPUTS = "outputs"

#: A note beside an epoch's checkpoint: the outputs that are no more.
_FORGOTTEN = "forgotten.json"


def checkpoint_of(epoch: str, output: str) -> str:
    """The checkpoint of the query that writes an output.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    output : str
        The output's name; empty for figures and single events, which have the epoch's folder itself.
    """
    return f"{epoch}/{OUTPUTS}/{output}" if output else epoch


def outputs_of(epoch: str) -> list[str]:
    """The names of the outputs that have begun in an epoch; the empty one stands for figures and single events.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    """
    filesystem, root = filesystem_of(epoch)
    folders = (info for info in listed(filesystem, f"{root}/{OUTPUTS}") if info.type is fs.FileType.Directory)
    own = [""] if listed(filesystem, f"{root}/offsets") else []
    return own + sorted(info.base_name for info in folders)


def forget_outputs(epoch: str, kept: Collection[str]) -> None:
    """Remove the checkpoints of outputs that a job does not write any more.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    kept : collection of str
        The names of the outputs that it writes.
    """
    gone = [output for output in outputs_of(epoch) if output and output not in kept]
    if gone:
        write_note(epoch, _FORGOTTEN, json.dumps(sorted({*gone, *forgotten(epoch)})).encode())
    for output in gone:
        filesystem, root = filesystem_of(checkpoint_of(epoch, output))
        filesystem.delete_dir(root)


def forgotten(epoch: str) -> list[str]:
    """The outputs that an epoch had and has no more: their batches' numbers are used up in it.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    """
    names: list[str] = json.loads(read_note(epoch, _FORGOTTEN) or b"[]")
    return names


def query_of(epoch: str, query_id: str) -> str | None:
    """The checkpoint of a query, by the id that Spark has given the query; None where it is not one of the epoch's.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    query_id : str
        Spark's id, which stays the same over restarts.
    """
    filesystem, _ = filesystem_of(epoch)
    for output in dict.fromkeys(["", *outputs_of(epoch)]):
        checkpoint = checkpoint_of(epoch, output)
        content = read_file(filesystem, f"{filesystem_of(checkpoint)[1]}/metadata")
        if content and json.loads(content)["id"] == query_id:
            return checkpoint
    return None
