"""A file's bytes as lines of UTF-8, however it is packed and encoded; the content says how, not the name.

People call a gzipped JSONL ``events.txt``, spreadsheets write UTF-16, and old programs end a line with a bare CR.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from retailpulse_kernel.feed.adapters.json_values import json_values
from retailpulse_kernel.feed.adapters.lines import MAX_LINE, Line
from retailpulse_kernel.ground.errors import RetailPulseError, UsageError

__all__ = ["Opened", "opened"]

_HEAD = 64 * 1024
_ENCODINGS = (  # UTF-32's mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, UnicodeError, OSError, pa.ArrowException)


@dataclass
class Opened:
    """A file that was opened: its content, unpacked, and how much of the file has been read."""

    path: Path
    content: io.BufferedReader
    fraction: Callable[[], float]
    packed: str

    def head(self) -> bytes:
        """The first bytes, which stay unread."""
        with self._told(0):
            return self.content.peek(_HEAD)

    def lines(self) -> Iterator[Line]:
        """Numbered lines without their ends; too long ones are cut.

        Raises
        ------
        RetailPulseError
            The file is damaged; it says after which line.
        """
        number = 0
        told = self._told(0)
        with told, self.content:
            while line := self.content.readline(MAX_LINE + 1):
                number = told.line = number + 1
                whole = len(line) <= MAX_LINE or line.endswith(b"\n")
                rest = b"" if whole else line
                while rest and not rest.endswith(b"\n"):
                    rest = self.content.readline(MAX_LINE)
                value = line.rstrip(b"\r\n")
                yield Line(number, value, whole, line[len(value) :])

    def values(self) -> Iterator[Line]:
        """The elements of a JSON array, or objects that span lines; their number stands for the line.

        Raises
        ------
        RetailPulseError
            The file is damaged; it says after which value.
        """
        with self._told(0), self.content:
            yield from json_values(self.content, self.damaged)

    def damaged(self, where: str, why: object) -> RetailPulseError:
        """The error of a file that ends too early or holds what can't be.

        Parameters
        ----------
        where : str
            How far the file was read.
        why : object
            What was found there.
        """
        return RetailPulseError(
            f"{self.path} is damaged after {where}: {why}.", remedy="Fetch it again; what came before is good."
        )

    def _told(self, line: int) -> _Told:
        return _Told(self, line)


class _Told:
    """Turns what a damaged file raises into the error that says where."""

    def __init__(self, file: Opened, line: int) -> None:
        self._file = file
        self.line = line

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _DAMAGED):
            raise self._file.damaged(f"line {self.line}", error) from error


def opened(path: Path) -> Opened:
    """Open a file and unpack it.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    UsageError
        There is no such file, it can't be read, or it is packed in a way that is not known.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"The file {path} {what}.", remedy="Give the path of a CSV, JSON, JSONL or Parquet file.")
    try:
        on_disk = path.open("rb")
        size = path.stat().st_size or 1
        packed = next((name for magic, name in _PACKERS if on_disk.peek(6).startswith(magic)), "")
        content = _unpacked(on_disk, packed, path)
        head = content.peek(_TAR + 8)
        refused = next((name for place, magic, name in _OTHERS if head.startswith(magic, place)), None)
        if refused:
            content.close()
            raise UsageError(
                f"{path} is a file of {refused}, which is not read.", remedy="Save it as CSV, JSONL or Parquet."
            )
        return Opened(
            path, _as_utf8(content, path), lambda: 1.0 if on_disk.closed else min(1.0, on_disk.tell() / size), packed
        )
    except OSError as error:
        raise UsageError(f"The file {path} can't be read: {error.strerror or error}.") from error
    except _DAMAGED as error:
        raise RetailPulseError(f"{path} is damaged: {error}.", remedy="Fetch it again.") from error


_PACKERS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
#: Where a tar archive says that it is one.
_TAR: Final = 257
#: What files of other kinds have at a place near their beginning, packed or not, and what these are called.
_OTHERS = (
    (0, b"ORC", "ORC"),
    (0, b"ARROW1", "Arrow"),
    (0, b"Obj\x01", "Avro"),
    (0, b"SQLite format 3", "SQLite"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"\xff\x06\x00\x00sNaPpY", "Snappy"),
    (0, b"7z\xbc\xaf", "7-Zip"),
    (0, b"Rar!", "RAR"),
    (0, b"%PDF", "PDF"),
    (0, b"\xd0\xcf\x11\xe0", "old Excel"),
    (_TAR, b"ustar", "tar"),
)


def _unpacked(on_disk: io.BufferedReader, packed: str, path: Path) -> io.BufferedReader:
    """The content; whoever closes it closes the file too."""
    match packed:
        case "gzip":
            inner: Any = gzip.GzipFile(fileobj=on_disk)
        case "bzip2":
            inner = bz2.BZ2File(on_disk)
        case "xz":
            inner = lzma.open(on_disk)  # noqa: SIM115 - `_Closing` closes it
        case "zstd":
            inner = pa.CompressedInputStream(on_disk, "zstd")
        case "zip":
            inner = _only_member(on_disk, path)
        case _:
            return on_disk
    return io.BufferedReader(_Closing(inner, on_disk), _HEAD)


def _only_member(on_disk: IO[bytes], path: Path) -> IO[bytes]:
    try:
        archive = zipfile.ZipFile(on_disk)
    except zipfile.BadZipFile as error:
        raise UsageError(f"The file {path} is a damaged zip archive: {error}.") from error
    members = [one for one in archive.infolist() if not one.is_dir() and not _is_note(one.filename)]
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:5]) or "nothing"
        raise UsageError(
            f"The archive {path} holds {len(members)} files: {names}.", remedy="Unpack it, and give one file at a time."
        )
    if members[0].flag_bits & 1:
        raise UsageError(f"The archive {path} has a password.", remedy="Unpack it first.")
    return archive.open(members[0])


def _is_note(name: str) -> bool:
    """Whether a member is a note of the system that packed it, as macOS and Windows put them beside the files."""
    *folders, own = name.split("/")
    return "__MACOSX" in folders or own.startswith(".") or own.lower() in ("thumbs.db", "desktop.ini")


class _Closing(io.RawIOBase):
    """A packed stream that closes the file below it, and may be wrapped in a buffer."""

    def __init__(self, inner: Any, below: IO[bytes]) -> None:
        self._inner = inner
        self._below = below

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
            self._below.close()
        super().close()


def _as_utf8(content: io.BufferedReader, path: Path) -> io.BufferedReader:
    """The content with lines that end in LF, in UTF-8; a byte that is not UTF-8 stays for its row to be rejected."""
    head = content.peek(_HEAD)[:_HEAD]
    encoding = next((name for mark, name in _ENCODINGS if head.startswith(mark)), None)
    if encoding is None and head[:2].strip(b"\0") != head[:2] and not head.startswith(b"PAR1"):
        raise UsageError(
            f"{path} looks like UTF-16 without its mark.",
            remedy="Save it as UTF-8, or as UTF-16 with a byte order mark.",
        )
    bare_cr = b"\r" in head.rstrip(b"\r") and b"\n" not in head
    if encoding is None and not bare_cr:
        content.read(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
        return content
    if encoding is not None:
        start = head[: len(head) // 4 * 4].decode(encoding, errors="ignore")
        bare_cr = "\r" in start.rstrip("\r") and "\n" not in start
    errors = "surrogateescape" if encoding is None else "strict"
    text = io.TextIOWrapper(content, encoding or "utf-8-sig", errors, newline=None if bare_cr else "")
    return io.BufferedReader(_Encoded(text), _HEAD)


class _Encoded(io.RawIOBase):
    """Text as UTF-8."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = self._text.read(len(buffer) // 4 + 1).encode(errors="surrogateescape")
        data, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._text.close()
        super().close()
