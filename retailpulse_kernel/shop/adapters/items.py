"""Products' categories and prices beside the events, and what is demanded of every table's header."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from retailpulse_kernel.ground.errors import UsageError

__all__ = ["Items", "refuse_doubles"]


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
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
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
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"The items file {path} can't be read: {error}.") from error
