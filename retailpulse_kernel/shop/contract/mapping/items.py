"""Products' categories and prices beside the events, and what is demanded of every table's header."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from retailpulse_kernel.ground.errors import UsageError

__all__ = ["ITEMS", "VERSION", "Items", "refuse_doubles", "version_of"]

#: The options of a topic that name its items file, and which content it had.
ITEMS: Final = "items"
VERSION: Final = "items_version"


def refuse_doubles(names: Sequence[str], path: str | Path) -> None:
    """Refuse a table in which two columns have one name: nobody can say which is meant.

    Parameters
    ----------
    names : sequence of str
        The columns.
    path : str or Path
        The file, for the error.

    Raises
    ------
    UsageError
        It names the columns.
    """
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise UsageError(
            f"{path} has more than one column {', '.join(map(repr, twice))}.",
            remedy="Rename or remove all but one: which of them is meant can't be known.",
        )


class Item(NamedTuple):
    """What is known of a product beside the events."""

    category: str
    price: str


class Items(dict[str, Item]):
    """Category and price by product, from a CSV file with the columns itemid, category, price."""

    @classmethod
    def load(cls, path: str | Path) -> Items:
        """Read the file.

        Parameters
        ----------
        path : str or Path
            With the columns itemid, category and price.

        Raises
        ------
        UsageError
            It is missing, not text, or lacks a column.
        """
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as lines:
                return cls.read(lines, path)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(
                f"The items file {path} can't be read: {error}.", remedy="Give a CSV file in UTF-8."
            ) from error

    @classmethod
    def read(cls, lines: Iterable[str], path: str | Path) -> Items:
        """Read the file's lines.

        Parameters
        ----------
        lines : iterable of str
            With their ends.
        path : str or Path
            The file, for errors.

        Raises
        ------
        UsageError
            It lacks a column, or has an item with two categories or prices.
        """
        reader = csv.DictReader(lines)
        found = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = found
        refuse_doubles(found, path)
        missing = {"itemid", "category", "price"} - set(found)
        if missing:
            raise UsageError(
                f"{path} has no column {', '.join(sorted(missing))}; found: {', '.join(found)}.",
                remedy="An items file has the columns itemid, category and price.",
            )
        items = cls()
        for row in reader:
            item = Item(row["category"] or "", row["price"] or "")
            if row["itemid"] and items.setdefault(row["itemid"], item) != item:
                raise UsageError(
                    f"{path} has the item {row['itemid']!r} twice, with two categories or prices.",
                    remedy="Remove all but one of its rows: which of them is meant can't be known.",
                )
        return items


def version_of(path: Path) -> str:
    """Which content an items file has: a hash.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError
        It can't be read.
    """
    state = path.stat()
    return _hashed(path, state.st_mtime_ns, state.st_size)


@cache
def _hashed(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=6)).hexdigest()
