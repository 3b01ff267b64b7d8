"""The reference tables of a contract: where each is, its key, its columns, and how often it is read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from retailpulse_kernel.ground.errors import UsageError, did_you_mean
from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.ground.spans import span_of
from retailpulse_kernel.shop.contract.checking import Faults, Reading
from retailpulse_kernel.shop.contract.model import NEVER, ReferenceTable, Shop
from retailpulse_kernel.shop.contract.rows import CSV, PARQUET, file_rows
from retailpulse_kernel.shop.contract.types import TYPES, element_of, is_type
from retailpulse_kernel.shop.rates.ecb import SUFFIXES, ecb_rates
from retailpulse_kernel.shop.rates.tables import misfit_of, table_rates

__all__ = ["check_rates", "read_tables"]

#: What a table is read from: the key of the contract that names the place.
_SOURCES: Final = ("file", "hive", "cassandra", "topic")
_FILES: Final = (CSV, PARQUET)
_LEAST: Final = timedelta(seconds=1)


def read_tables(faults: Faults, values: Any, folder: Path | None) -> tuple[ReferenceTable, ...]:
    """The reference tables of a contract's ``[tables]``.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    values : object
        As the TOML parser gives it.
    folder : Path, optional
        Where the files of the tables are read and checked; without it they are not looked at.
    """
    given = Reading(faults, ("tables",), values).values
    found = [_table(faults, name, value, given, folder) for name, value in given.items()]
    references = {one.name: [table for _, table in one.references] for one in found}
    for one in found:
        if circle := _circle(one.name, references):
            keys = ("tables", one.name, "references")
            faults.add(keys, f"The references go in a circle: {' -> '.join(circle)}.", "Remove one of them.")
            break
    return tuple(found)


def check_rates(faults: Faults, shop: Shop, tables: Sequence[ReferenceTable], folder: Path | None) -> None:
    """Note what is wrong with the rates that ``[shop]`` names.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    shop : Shop
        Its rates are a reference table or a file; there may be none.
    tables : sequence of ReferenceTable
        Those of the contract.
    folder : Path, optional
        Where a file of rates is read and checked; without it no file is looked at.
    """
    keys = ("shop", "rates")
    known = {one.name: one for one in tables}
    try:
        if shop.has_rate_file:
            if Path(shop.rates).suffix not in SUFFIXES:
                faults.add(keys, f"{shop.rates!r} is not the name of a CSV or XML file.", "Use .csv or .xml.")
            elif folder is not None:
                ecb_rates(folder / shop.rates, shop.currency)
        elif shop.rates and shop.rates not in known:
            faults.unknown(keys, "reference table", shop.rates, known)
        elif shop.rates:
            table = known[shop.rates]
            if said := misfit_of(dict(table.columns)):
                remedy = 'Rates have the columns day = "date", currency = "string", rate = "decimal(18,6)".'
                faults.add(keys, f"{shop.rates!r} can't have rates. {said}", remedy)
            elif folder is not None and table.source == "file" and not faults.found:
                table_rates(file_rows(table, folder), shop.currency, table.name)
    except UsageError as error:
        faults.add(keys, error.message, error.remedy or "")


def _table(faults: Faults, name: str, value: Any, known: Mapping[str, Any], folder: Path | None) -> ReferenceTable:
    keys, before = ("tables", name), len(faults.found)
    said = Reading(faults, keys, value)
    said.only(*_SOURCES, "key", "columns", "every", "references")
    if not is_name(name):
        faults.add(keys, f"{name!r} can't be the name of a table.", NAME_RULE)
    source, place = _source(faults, keys, said)
    columns = _columns(faults, keys, said)
    key = _key(faults, keys, said, columns)
    references = said.take("references", "table", {})
    for column, table in references.items():
        if columns and column not in columns:
            faults.unknown((*keys, "references", column), "column", column, columns)
        if table not in known:
            faults.unknown((*keys, "references", column), "reference table", str(table), known)
    found = ReferenceTable(
        name,
        source,
        place,
        key,
        tuple(columns.items()),
        _every(faults, keys, said),
        tuple((c, str(t)) for c, t in references.items()),
    )
    if folder is not None and source == "file" and len(faults.found) == before:
        _look_at(faults, keys, found, folder)
    return found


def _source(faults: Faults, keys: tuple[str, ...], said: Reading) -> tuple[str, str]:
    """What the table is read from, and its place there."""
    named = [one for one in _SOURCES if one in said.values]
    if len(named) != 1:
        what = "two places" if named else "no place"
        faults.add(
            (*keys, *named[1:2]),
            f"The table has {what}.",
            'Name one: file = "….csv", or hive, cassandra or topic = "…".',
        )
        return "file", ""
    (source,) = named
    place = said.take(source, "text", "")
    if source == "file" and Path(place).suffix not in _FILES:
        faults.add((*keys, source), f"{place!r} is not the name of a CSV or Parquet file.", "Use .csv or .parquet.")
    elif source in ("hive", "cassandra") and not is_name(place):
        faults.add((*keys, source), f"{place!r} can't be the name of a table.", NAME_RULE)
    elif not place:
        faults.add((*keys, source), "The topic has no name.", 'Such as topic = "retail.products".')
    return source, place


def _columns(faults: Faults, keys: tuple[str, ...], said: Reading) -> dict[str, str]:
    """The columns' types by their names."""
    columns = said.take("columns", "table", {})
    if not columns:
        faults.add((*keys, "columns"), "The table has no columns.", 'Add columns = {sku = "string"}.')
    for column, kind in columns.items():
        if not is_name(column):
            faults.add((*keys, "columns", column), f"{column!r} can't be the name of a column.", NAME_RULE)
        if not isinstance(kind, str) or not is_type(kind):
            near = did_you_mean(str(kind), TYPES)
            faults.add((*keys, "columns", column), f"There is no type {kind!r}.", f"{near}Known: {', '.join(TYPES)}.")
    return {column: str(kind) for column, kind in columns.items()}


def _key(faults: Faults, keys: tuple[str, ...], said: Reading, columns: Mapping[str, str]) -> tuple[str, ...]:
    """The columns of the key: one as a text, several as a list."""
    one = isinstance(said.values.get("key"), str)
    given = [said.take("key", "text", "")] if one else said.take("key", "list", [])
    key = tuple(column for column in given if isinstance(column, str) and column)
    if not key or len(key) < len(given):
        faults.add((*keys, "key"), "The table has no key.", "Add key = with the columns that tell its rows apart.")
    for column in key if columns else ():
        if column not in columns:
            faults.unknown((*keys, "key"), "column", column, columns)
        elif columns[column] == "double" or element_of(columns[column]):
            reason = f"The column {column!r} is a {columns[column]}, which can't be part of a key."
            faults.add((*keys, "key"), reason, "Take columns of other types.")
    return key


def _every(faults: Faults, keys: tuple[str, ...], said: Reading) -> str:
    """How often the table is read again."""
    every: str = said.take("every", "text", ReferenceTable.every)
    if every != NEVER:
        try:
            span = span_of(every)
        except UsageError as error:
            faults.add((*keys, "every"), error.message, f'Such as every = "10m", or every = "{NEVER}".')
        else:
            if span < _LEAST:
                faults.add((*keys, "every"), "A table is read once a second at most.", 'Such as every = "10m".')
    return every


def _look_at(faults: Faults, keys: tuple[str, ...], table: ReferenceTable, folder: Path) -> None:
    """The file is there, has the columns in their types, and each key once."""
    try:
        file_rows(table, folder)
    except UsageError as error:
        faults.add((*keys, "file"), error.message, error.remedy or "")


def _circle(start: str, references: dict[str, list[str]]) -> list[str]:
    """A way along the references from a table back to itself; empty where there is none."""
    ways = [[start]]
    while ways:
        way = ways.pop()
        for table in references.get(way[-1], ()):
            if table == start:
                return [*way, table]
            if table not in way:
                ways.append([*way, table])
    return []
