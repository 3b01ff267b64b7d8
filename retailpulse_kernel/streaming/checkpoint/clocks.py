"""The clocks of a topic's partitions, kept at the offset where each micro-batch starts."""

from __future__ import annotations

from typing import NamedTuple

from retailpulse_kernel.streaming.checkpoint.files import filesystem_of, listed, read_file, write_file

__all__ = [
    "Clock",
    "read_clock",
    "write_clock",
]

#: Clocks that are kept for each partition; Spark does only the last batch again.
_CLOCKS_KEPT = 10

#: Stands behind a clock that the broker's time held back.
_HELD = b"held"


class Clock(NamedTuple):
    """A partition's clock, in epoch milliseconds.

    Attributes
    ----------
    at_ms : int
        Where it stands.
    held : bool
        Whether the broker's time held it back. False for one that was kept before that rule (docs/adr/0010).
    """

    at_ms: int
    held: bool


def read_clock(checkpoint: str, partition: int, offset: int) -> Clock | None:
    """A partition's clock at an offset; None where no batch ended.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    partition : int
        Its number.
    offset : int
        At which a batch starts.
    """
    filesystem, root = filesystem_of(checkpoint)
    content = read_file(filesystem, f"{root}/clocks/{partition}/{offset}")
    if not content:
        return None
    at_ms, _, held = content.partition(b" ")
    return Clock(int(at_ms), held == _HELD)


def write_clock(checkpoint: str, partition: int, offset: int, clock_ms: int) -> None:
    """Keep a partition's clock for the batch that starts at an offset.

    A batch that is done again writes the same clock again. Older ones than a batch may still
    need are removed.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    partition : int
        Its number.
    offset : int
        At which the batch starts.
    clock_ms : int
        Where the clock stands, in milliseconds since 1970.
    """
    filesystem, root = filesystem_of(checkpoint)
    folder = f"{root}/clocks/{partition}"
    filesystem.create_dir(folder, recursive=True)
    # Whole: a file that was cut off by a crash would be read as another time. Every batch writes one.
    write_file(filesystem, folder, str(offset), b"%d %b" % (clock_ms, _HELD), synced=False)
    kept = sorted(int(info.base_name) for info in listed(filesystem, folder) if info.base_name.isdigit())
    for stale in kept[:-_CLOCKS_KEPT]:
        filesystem.delete_file(f"{folder}/{stale}")
