"""A small disk that a test can fill."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path

__all__ = ["SmallDisk"]


class SmallDisk:
    """A file system of its own in memory, where the test may mount one.

    Attributes
    ----------
    folder : Path
        Where it is mounted; a plain folder where mounting is not allowed.
    refused : str or None
        Why it could not be mounted.
    """

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.refused = self._mount(megabytes)

    def _mount(self, megabytes: int) -> str | None:
        if not shutil.which("mount"):
            return "there is no mount"
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "retailpulse-test", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return (done.stderr.strip() or "mount failed") if done.returncode else None

    def fill(self) -> None:
        """Leave no room at all."""
        block = b"\0" * (1 << 20)
        with self._filler.open("wb", buffering=0) as file:
            while block:
                try:
                    file.write(block)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    block = block[: len(block) // 2]

    def make_room(self) -> None:
        """Give back what `fill` took."""
        self._filler.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it; what it held is gone."""
        if self.refused is None:
            # Lazily: a process that is being killed may still have a file open.
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True, timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"
