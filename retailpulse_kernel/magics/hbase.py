"""``%%hbase``: tables, rows and scans of HBase."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from IPython.core.magic import line_cell_magic, magics_class, needs_local_scope, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.magics.base import COUNT_SECONDS, StoreMagics, Variables, options, split_options
from retailpulse_kernel.stores.frames import to_frame

__all__ = ["COMMANDS", "PARAMETERS", "HBaseMagics"]

COMMANDS = ("get", "scan", "tables")
PARAMETERS = ("columns", "last", "prefix", "since", "until")


@magics_class
class HBaseMagics(StoreMagics):
    """Commands for HBase."""

    @needs_local_scope
    @no_var_expand
    @magic_arguments()
    @options
    @argument(
        "command", nargs="*", help="tables | get TABLE KEY | scan TABLE, with prefix=, columns=, last=, since=, until="
    )
    @line_cell_magic
    def hbase(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Read from HBase, in the namespace's tables.

        A word ``:name`` is the value of that variable. Examples::

            %hbase tables

            %%hbase --into sessions --limit 20
            scan session_hour prefix=20261124T10 columns=user_id,revenue

            %%hbase
            scan session_hour since=:begin until=2026-11-24T12:00

            %%hbase
            get user_day :key
        """
        text, rest = split_options(self.hbase.parser, line)
        given = self.parsed(self.hbase, text)
        variables = self.variables(local_ns)
        words = variables.words(f"{rest} {cell or ''}")
        command = words[0] if words else ""
        if command not in COMMANDS:
            raise UnknownName("command for HBase", str(command), COMMANDS)
        started = time.monotonic()
        store = self.bench(given.profile).hbase
        if command == "tables":
            return self.finish(to_frame(["table"], [[table] for table in store.tables()], {0: "text"}), given, started)
        if len(words) < 2:
            raise UsageError(f"{command} of which table?", remedy="`%hbase tables` lists them.")
        # The word behind the table is the key, whatever it looks like: `dXNlcg==` names no parameter.
        key = words[2:3] if command == "get" else []
        plain, named = _named(words[2 + len(key) :], variables)
        plain = [*key, *plain]
        if given.explain:
            print(_explained(command, words[1], plain, named))
            return None
        if command == "get":
            if len(plain) != 1 or named.keys() - {"columns"}:
                raise UsageError("get takes a table and a key.", remedy="Such as: get user_day 20261124#u1#USD")
            row = store.get(words[1], _key(plain[0]), named.get("columns"))
            return self.finish(to_frame(["column", "value"], row.items(), {0: "text"}), given, started)
        if plain:
            raise UsageError(
                f"scan does not know what {plain[0]!r} is.", remedy=f"Give {', '.join(PARAMETERS)} by name."
            )
        with unsaid():
            frame = store.scan(words[1], limit=given.limit, count_for=COUNT_SECONDS, **named)
        return self.finish(frame, given, started)


def _key(word: Any) -> str | bytes:
    """A row's key: text, or bytes of a variable; a number as its digits."""
    return word if isinstance(word, bytes) else bytes(word) if isinstance(word, bytearray | memoryview) else str(word)


def _named(words: list[Any], variables: Variables) -> tuple[list[Any], dict[str, Any]]:
    """Words by themselves, and those of the form ``name=value``."""
    plain: list[Any] = []
    named: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=") if isinstance(word, str) else ("", "", "")
        if not equals or not name.isidentifier():
            plain.append(word)
        elif name not in PARAMETERS:
            raise UnknownName("parameter of a scan", name, PARAMETERS)
        else:
            named[name] = variables.word(value)
    if isinstance(named.get("columns"), str):
        named["columns"] = named["columns"].split(",")
    return plain, named


def _explained(command: str, table: str, plain: list[Any], named: Mapping[str, Any]) -> str:
    if command == "get":
        return f"One row of {table}, by its key {plain[0] if plain else '?'}: one request to one region."
    if "prefix" in named:
        return f"A scan of the rows of {table} whose key begins with {named['prefix']}; no other row is read."
    if "last" in named:
        return f"A scan of the rows of {table} whose windows start in the last {named['last']}; no other row is read."
    if named.keys() & {"since", "until"}:
        return (
            f"A scan of the rows of {table} whose windows start from {named.get('since', 'the first')} until "
            f"{named.get('until', 'the last')}; no other row is read."
        )
    return f"A scan of all rows of {table}: give a prefix, or since and until, to read less."
