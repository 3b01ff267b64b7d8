"""A complete further store: figures and tables of rows in SQLite, a file for each namespace.

This one module is all that a store takes. It is found as an entry point of the group ``retailpulse.stores``.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from retailpulse_kernel.ground.errors import NoSuchTable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.rows import DELETED, RowTable
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row
from retailpulse_kernel.stores.base import FigureStore, Local, MicroBatch, RowStore
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.figure_rows import Only, Rows, combined, is_among, plain_rows
from retailpulse_kernel.stores.registry import register
from retailpulse_kernel.stores.rows import check_key, check_name, prepared, require_same, schema_of

_TYPES = {Value.WHOLE: "integer", Value.DECIMAL: "text", Value.TIME: "integer", Value.SKETCH: "blob"}
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


class SqliteStore:
    """SQLite. Its one setting in the profile, `folder`, says where the files are."""

    name = "sqlite"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        own = settings.profile.stores.get(self.name, {})
        self._folder = Path(own.get("folder", settings.home / self.name)) / settings.namespace.name
        self._file = self._folder / "figures.db"

    def folders(self) -> list[Path]:
        return [self._folder]

    def ping(self) -> str:
        return sqlite3.sqlite_version

    def close(self) -> None:
        """Each request has a connection of its own."""

    def drop(self) -> None:
        require_own(self._settings, "Removing the SQLite file")
        shutil.rmtree(self._folder, ignore_errors=True)

    def create(self, table: FigureTable) -> None:
        with self._written(f"Making the SQLite table {table.name!r}") as database:
            for grain in table.every:
                name, key = table.physical(grain), table.key_columns(grain)
                columns = [f"{grain.name} integer", *(f"{dimension} text" for dimension in table.by)]
                database.execute(
                    f"create table if not exists {name} ({', '.join(columns)}, _version integer, _gone integer, "
                    f"primary key ({', '.join(key)})) without rowid"
                )
                there = {column[1] for column in database.execute(f"pragma table_info({name})")}
                for figure in (figure for figure in table.figures if figure.name not in there):
                    column = f"{figure.name} {_TYPES[figure.rules.value]}"
                    database.execute(f"alter table {name} add column {column}")

    def remove(self, table: FigureTable) -> None:
        with self._written(f"Removing the SQLite table {table.name!r}") as database:
            for grain in table.every:
                database.execute(f"drop table if exists {table.physical(grain)}")

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        name, key = table.physical(grain), table.key_columns(grain)
        values = [*(figure.name for figure in table.figures), "_version", "_gone"]
        changes = ", ".join(f"{column} = excluded.{column}" for column in values)
        statement = (
            f"insert into {name} ({', '.join([*key, *values])}) values ({', '.join('?' * len([*key, *values]))}) "
            f"on conflict do update set {changes} where excluded._version >= _version"
        )
        found = (
            [*map(_stored, table.key(row, grain)), *(_stored(row[f.name]) for f in table.figures), version, 0]
            for row in plain_rows(rows)
        )
        with self._written(f"Writing the SQLite table {table.name!r}") as database:
            database.executemany(statement, found)

    def dump(self, table: FigureTable, grain: Grain, *, since: datetime | None = None) -> dict[Any, Any]:
        return {table.key(row, grain): row for row in self.read(table, grain, since=since)}

    def load(self, table: FigureTable, grain: Grain, rows: Mapping[Any, Any], *, version: int) -> None:
        self.write(table, grain, list(rows.values()), version=version)

    def delete(self, table: FigureTable, grain: Grain, keys: Collection[Any], *, version: int) -> None:
        conditions = " and ".join(f"{column} = ?" for column in table.key_columns(grain))
        statement = f"update {table.physical(grain)} set _gone = 1, _version = ? where {conditions} and _version <= ?"
        with self._written(f"Deleting from the SQLite table {table.name!r}") as database:
            database.executemany(statement, ([version, *map(_stored, key), version] for key in keys))

    def read(
        self,
        table: FigureTable,
        grain: Grain,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        figures: Sequence[Figure] | None = None,
        by: Sequence[str] | None = None,
        only: Only | None = None,
    ) -> list[Row]:
        chosen = table.figures if figures is None else figures
        rows = (row for row, _ in self._rows(table, grain, chosen, since, until) if is_among(row, only))
        return combined(rows, table, grain, figures, by)

    def read_versions(
        self, table: FigureTable, grain: Grain, *, since: datetime, until: datetime, figures: Sequence[Figure]
    ) -> list[tuple[Row, int]]:
        return list(self._rows(table, grain, figures, since, until))

    def check_rows(self, table: RowTable) -> None:
        check_name(table)
        check_key(table)

    def create_rows(self, table: RowTable) -> None:
        with self._written(f"Making the SQLite table {table.name!r}") as database:
            self.check_rows(table)
            database.execute("create table if not exists _tables (name text primary key, key text, types text)")
            (found,) = database.execute("select key, types from _tables where name = ?", [table.name]).fetchall() or [
                (None, "{}")
            ]
            types = json.loads(found[1])
            if found[0] is not None:
                require_same(table, "SQLite", key=json.loads(found[0]), types=types, wanted=str)
            else:
                columns = ", ".join(f'"{name}"' for name in [*table.types, "_version", "_gone", "_writer", "_place"])
                key = ", ".join(f'"{name}"' for name in table.key or ["_version", "_writer", "_place"])
                database.execute(f'create table "{table.name}" ({columns}, primary key ({key}))')
                types = dict(table.types)
            for name in table.types.keys() - types.keys():
                database.execute(f'alter table "{table.name}" add column "{name}"')
            said = [table.name, json.dumps(table.key), json.dumps(types | table.types)]
            database.execute("insert or replace into _tables values (?, ?, ?)", said)

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        names = [*table.types, "_version", "_gone", "_writer", "_place"]
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in names)
        columns = ", ".join(f'"{name}"' for name in names)
        statement = (
            f'insert into "{table.name}" ({columns}) values ({", ".join("?" * len(names))}) '
            f"on conflict do update set {changes} where excluded._version >= _version"
        )
        with self._written(f"Writing the SQLite table {table.name!r}") as database:
            found = prepared(table, rows).to_pylist()
            database.executemany(
                statement,
                (
                    [
                        *(pickle.dumps(row[name], protocol=5) for name in table.types),
                        *(by.version, row[DELETED], by.writer, place),
                    ]
                    for place, row in enumerate(found)
                ),
            )

    def read_rows(self, table: RowTable) -> pa.Table:
        columns = ", ".join(f'"{table.name}"."{name}"' for name in table.types)
        found = self._asked(f'select {columns} from "{table.name}" where not _gone', [])
        rows = [[value and pickle.loads(value) for value in row] for row in found]
        return pa.Table.from_pylist([dict(zip(table.types, row, strict=True)) for row in rows], schema_of(table))

    def remove_rows(self, table: RowTable) -> None:
        with self._written(f"Removing the SQLite table {table.name!r}") as database:
            database.execute(f'drop table if exists "{table.name}"')
            if database.execute("select 1 from sqlite_master where name = '_tables'").fetchall():
                database.execute("delete from _tables where name = ?", [table.name])

    def _rows(
        self,
        table: FigureTable,
        grain: Grain,
        figures: Sequence[Figure],
        since: datetime | None,
        until: datetime | None,
    ) -> Iterator[tuple[Row, int]]:
        columns = [*table.key_columns(grain), *(figure.name for figure in figures)]
        kinds = [Value.TIME, *(None for _ in table.by), *(figure.rules.value for figure in figures)]
        statement = (
            f"select {', '.join(columns)}, _version from {table.physical(grain)} where not _gone "
            f"and {grain.name} >= coalesce(?, {grain.name}) and {grain.name} < coalesce(?, {grain.name} + 1)"
        )
        for *values, version in self._asked(statement, [_stored(since), _stored(until)]):
            row = {name: _read(kind, value) for name, kind, value in zip(columns, kinds, values, strict=True)}
            yield row, version

    def _asked(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            database = sqlite3.connect(f"{self._file.as_uri()}?mode=ro", timeout=60, uri=True)
            try:
                return database.execute(statement, values).fetchall()
            finally:
                database.close()
        except sqlite3.OperationalError as error:
            raise NoSuchTable(f"SQLite can't read this: {error}.", remedy="A job makes its tables.") from error

    @contextmanager
    def _written(self, what: str) -> Iterator[sqlite3.Connection]:
        """A transaction, which a notebook that is tried has only in its own namespace."""
        require_own(self._settings, what)
        self._folder.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._file, timeout=60)
        try:
            with database:
                yield database
        finally:
            database.close()


def _stored(value: Any) -> Any:
    match value:
        case datetime():
            return (value - _EPOCH) // _MICROSECOND
        case Decimal():
            return str(value)
    return value


def _read(kind: Value | None, value: Any) -> Any:
    match kind:
        case Value.TIME if value is not None:
            return _EPOCH + value * _MICROSECOND
        case Value.DECIMAL if value is not None:
            return Decimal(value)
    return value


register(SqliteStore.name, SqliteStore, FigureStore, RowStore, Local)
