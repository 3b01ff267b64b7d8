"""The reference rates of the European Central Bank as it publishes them: one CSV or XML file, per euro.

The history as CSV (``eurofxref-hist.csv``) has a row for each day and a column for each currency, ``N/A`` where there
is no rate. The files of one day, of 90 days and of the history as XML have the same shape as one another.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Final
from xml.parsers import expat

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.rates.published import Entry, Rates

__all__ = ["SUFFIXES", "ecb_rates"]

#: The files that are read.
SUFFIXES: Final = (".csv", ".xml")
_PER: Final = "EUR"
#: What stands for a rate that was not published.
_NONE: Final = ("", "N/A")
#: A day as the history has it, and as the file of one day has it.
_DAYS: Final = ("%Y-%m-%d", "%d %B %Y")


def ecb_rates(path: Path, base: str) -> Rates:
    """The rates of a file of the bank's.

    Parameters
    ----------
    path : Path
        CSV or XML.
    base : str
        The shop's base currency; rates of it are crossed through the euro where it is another one.

    Raises
    ------
    UsageError
        The file is not there, has another format, or a rate in it can't be.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The file of rates {path} can't be read: {error.strerror}.",
            remedy="Its path is relative to the contract's folder.",
        ) from error
    read = _of_xml if path.suffix == ".xml" else _of_csv
    return Rates.of_entries(read(content, path.name), base=base, per=_PER, name=path.name)


def _of_csv(content: bytes, name: str) -> Iterator[Entry]:
    try:
        lines = csv.reader(content.decode("utf-8-sig").splitlines())
        head = [cell.strip() for cell in next(lines, [])]
    except UnicodeDecodeError as error:
        raise _misfit(name, "it is not UTF-8") from error
    if head[:1] != ["Date"] or len(head) < 2:
        raise _misfit(name, "line 1 does not begin with Date and the currencies")
    if twice := next((one for one in head if one and head.count(one) > 1), ""):
        raise _misfit(name, f"line 1 names {twice} twice")
    seen: dict[date, int] = {}
    for cells in filter(None, lines):
        where = f"line {lines.line_num}"
        day = _day(cells[0].strip(), f"{name}, {where}")
        if day in seen:
            raise _misfit(name, f"{where} has the day {day}, as line {seen[day]} has")
        seen[day] = lines.line_num
        for currency, cell in zip(head[1:], cells[1:], strict=False):
            if currency and (text := cell.strip()) not in _NONE:
                yield Entry(where, day, currency, text)


def _of_xml(content: bytes, name: str) -> Iterator[Entry]:
    found: list[Entry] = []
    day: date | None = None
    parser = expat.ParserCreate()

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal day
        where = f"line {parser.CurrentLineNumber}"
        if "time" in attributes:
            day = _day(attributes["time"], f"{name}, {where}")
        elif "currency" in attributes:
            if day is None:
                raise _misfit(name, f"{where} has a rate, and no day stands before it")
            found.append(Entry(where, day, attributes["currency"], attributes.get("rate", "")))

    parser.StartElementHandler = begin
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise _misfit(name, f"line {error.lineno}: {expat.ErrorString(error.code)}") from error
    if not found:
        raise _misfit(name, "it has no element with a currency and a rate")
    return iter(found)


def _day(text: str, where: str) -> date:
    for form in _DAYS:
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise UsageError(f"{where}: {text[:40]!r} is not a day.", remedy="Write YYYY-MM-DD.")


def _misfit(name: str, what: str) -> UsageError:
    return UsageError(
        f"{name} is not a file of rates of the European Central Bank: {what}.",
        remedy="Take eurofxref-hist.csv or .xml from the bank, or describe the file as a reference table in [tables].",
    )
