"""``%%cql``, ``%%hive`` and ``%%sql``: a statement in a cell, its result as a frame."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from IPython.core.magic import line_cell_magic, magics_class, needs_local_scope, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.magics import schema
from retailpulse_kernel.magics.base import COUNT_SECONDS, StoreMagics, options, split_options
from retailpulse_kernel.stores.binding import Dialect

__all__ = ["LANGUAGES", "StatementMagics"]


class Language(NamedTuple):
    """A magic's language: what of the workbench runs its statements, their dialect, and the store of its tables."""

    client: str
    dialect: Dialect
    tables: str


LANGUAGES = {
    "cql": Language("cassandra", "cql", "cassandra"),
    "hive": Language("hive", "hive", "hive"),
    "sql": Language("_spark", "spark", "hive"),
}
_CHANGES = re.compile(r"\s*(create|drop|alter|truncate)\b", re.IGNORECASE)


@magics_class
class StatementMagics(StoreMagics):
    """Statements for Cassandra, Hive and Spark."""

    @needs_local_scope
    @no_var_expand
    @magic_arguments()
    @options
    @argument("statement", nargs="*", help="one statement; ':name' is the variable of that name, bound by the driver")
    @line_cell_magic
    def cql(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Run CQL in Cassandra, in the namespace's keyspace.

        Examples::

            %%cql --into first --limit 20
            select category, revenue from category_day where day = :today

        With ``--explain`` the statement is run and its trace is shown: CQL has no EXPLAIN.
        """
        return self._run("cql", line, cell, local_ns)

    @needs_local_scope
    @no_var_expand
    @magic_arguments()
    @options
    @argument("statement", nargs="*", help="one statement; ':name' is the variable of that name, as a typed literal")
    @line_cell_magic
    def hive(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Run HiveQL in HiveServer2, in the namespace's database.

        Examples::

            %%hive
            select event_type, count(*) events from events where dt = :day group by event_type
        """
        return self._run("hive", line, cell, local_ns)

    @needs_local_scope
    @no_var_expand
    @magic_arguments()
    @options
    @argument("statement", nargs="*", help="one statement; ':name' is the variable of that name, bound by Spark")
    @line_cell_magic
    def sql(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Run Spark SQL over Hive's tables and this notebook's views, on the Spark server that ad hoc work shares.

        Examples::

            %%sql --limit all --as arrow
            select category, sum(price * quantity) revenue from events where currency in :currencies group by category
        """
        return self._run("sql", line, cell, local_ns)

    def _run(self, magic: str, line: str, cell: str | None, local_ns: Mapping[str, Any] | None) -> Any:
        function = getattr(self, magic)
        text, statement = split_options(function.parser, line)
        given = self.parsed(function, text)
        statement = f"{statement}\n{cell or ''}".strip()
        if not statement:
            raise UsageError(
                f"There is no statement for %%{magic}.",
                remedy=f"Write it below the line %%{magic}; `%%{magic}?` helps.",
            )
        started = time.monotonic()
        language = LANGUAGES[magic]
        client = getattr(self.bench(given.profile), language.client)
        values = self.variables(local_ns).of(statement, language.dialect)
        if given.explain:
            return _explained(client, statement, values)
        with unsaid():
            frame = client.query(statement, values, limit=given.limit, count_for=COUNT_SECONDS)
        if _CHANGES.match(statement):
            schema.forget()
        return self.finish(frame, given, started)


def _explained(client: Any, statement: str, variables: Mapping[str, Any]) -> Any:
    if client.name == "cassandra":
        print("CQL has no EXPLAIN: the statement was run, and this is its trace.")
        return client.trace(statement, variables)
    if client.name == "hive":
        print("\n".join(map(str, client.query(f"explain {statement}", variables).iloc[:, 0])))
    else:
        print(client.explain(statement, variables))
    return None
