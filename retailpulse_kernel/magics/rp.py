"""``%rp``: the workbench itself."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

import retailpulse_kernel
from retailpulse_kernel.magics import schema
from retailpulse_kernel.magics.base import StoreMagics

__all__ = ["COMMANDS", "RetailPulseMagics"]

COMMANDS = ("connect", "help", "profile", "profiles", "status")

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

    @magic_arguments()
    @argument("--namespace", metavar="NAME", help="connect: these topics, tables and checkpoints")
    @argument("command", nargs="?", default="help", choices=COMMANDS, help="help when absent")
    @argument("name", nargs="?", help="a profile, or the path of a .toml file")
    @line_magic
    def rp(self, line: str) -> Any:
        """Look at the workbench, or connect it to other servers.

        Examples::

            %rp status
            %rp profile cluster
            %rp connect cluster --namespace mine
        """
        given = self.parsed(self.rp, line)
        if given.command == "help":
            print(_HELP)
        elif given.command == "profiles":
            from retailpulse_kernel.profiles import profile_names

            print("\n".join(profile_names()))
        elif given.command == "profile":
            print(self.bench(given.name))
        elif given.command == "connect":
            settings = retailpulse_kernel.default_workbench().settings
            bench = retailpulse_kernel.connect(
                given.name or settings.profile_name, given.namespace or settings.namespace_name
            )
            described = repr(bench)  # a profile that can't be read changes nothing
            retailpulse_kernel.use_workbench(bench)
            schema.forget()
            print(described)
        else:
            return retailpulse_kernel.default_workbench().status()
        return None
