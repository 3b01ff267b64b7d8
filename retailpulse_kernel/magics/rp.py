"""``%rp``: the workbench itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from IPython.core.magic import line_magic, magics_class, needs_local_scope, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from retailpulse_kernel.magics import schema
from retailpulse_kernel.magics.base import StoreMagics
from retailpulse_kernel.workbench.default import connect, default_workbench, use_workbench

__all__ = ["COMMANDS", "RetailPulseMagics"]

COMMANDS = ("connect", "help", "profile", "profiles", "status")

#: As notebooks that were promoted before have it: IPython itself put the variable's value there.
_OLDER = re.compile(r"^\{(\w+)\}$")
_HELP = """\
%rp status                      servers, versions, jobs and their lag
%rp profile [NAME]              where the servers are and how to log in; passwords are never shown
%rp profiles                    the profiles that go by a name
%rp connect NAME                let rp.* and the magics use another profile, or --namespace NAME

%%cql    Cassandra     %%hive   HiveQL           %%sql   Spark SQL over Hive's tables
%%hbase  HBase         %kafka   topics, tail, consume, produce

`%%cql?` shows a magic's options and examples. In a statement, :name is the value of the variable `name`.
In Python: rp.kafka, rp.cassandra, rp.hbase, rp.hive, rp.spark, rp.sql(...), rp.figures(...), rp.job(...)."""


@magics_class
class RetailPulseMagics(StoreMagics):
    """Commands for the workbench."""

    @needs_local_scope
    @no_var_expand
    @magic_arguments()
    @argument("--namespace", metavar="NAME", help="connect: these topics, tables and checkpoints")
    @argument("command", nargs="?", default="help", choices=COMMANDS, help="help when absent")
    @argument("name", nargs="?", help="a profile, or the path of a .toml file")
    @line_magic
    def rp(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Look at the workbench, or connect it to other servers.

        Examples::

            %rp status
            %rp profile cluster
            %rp connect cluster --namespace mine
            %rp connect --namespace :namespace
        """
        given = self.parsed(self.rp, line)
        variables = self.variables(local_ns)
        name, namespace = (
            variables.word(_OLDER.sub(r":\1", word or "")) or None for word in (given.name, given.namespace)
        )
        if given.command == "help":
            print(_HELP)
        elif given.command == "profiles":
            from retailpulse_kernel.ground.profiles import profile_names

            print("\n".join(profile_names()))
        elif given.command == "profile":
            print(self.bench(name))
        elif given.command == "connect":
            settings = default_workbench().settings
            bench = connect(name or settings.profile_name, namespace or settings.namespace_name)
            described = repr(bench)  # a profile that can't be read changes nothing
            use_workbench(bench)
            schema.forget()
            print(described)
        else:
            return default_workbench().status()
        return None
