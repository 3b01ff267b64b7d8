"""What may be a name: of a namespace, a table, a pipeline, a job."""

from __future__ import annotations

import re

__all__ = ["NAME_RULE", "RESERVED", "is_job_name", "is_name"]

#: What `is_name` asks for, as a remedy.
NAME_RULE = "Use lower-case letters, digits and '_', starting with a letter, at most 40."

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_JOB = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


def is_name(text: str) -> bool:
    """Whether a text can be the name of a namespace, a table or a pipeline, in every store, topic and folder.

    Parameters
    ----------
    text : str
        What may be one.
    """
    return bool(_NAME.fullmatch(text))


def is_job_name(text: str) -> bool:
    """Whether a text can be the name of a job, in folders, locks, the keys of topics, and DAGs.

    Parameters
    ----------
    text : str
        What may be one.
    """
    return bool(_JOB.fullmatch(text))


# -- names that a store keeps for itself: a namespace is a keyspace and a database -------------

#: Keyspaces, databases and catalogs that are there already or mean something else.
_SERVERS = """
    all default global_temp hbase information_schema spark_catalog sys system system_auth system_distributed
    system_schema system_traces system_views system_virtual_schema
"""
#: What CQL can't take for a name without quotes.
_CQL = """
    add allow alter and apply asc authorize batch begin by columnfamily create default delete desc describe drop
    entries execute from full grant if in index infinity insert into is keyspace limit materialized mbean mbeans
    modify nan norecursive not null of on or order primary rename replace revoke schema select set table to token
    truncate unlogged unset update use using view where with
"""
#: The same of HiveQL.
_HIVE = """
    all alter and array as authorization between bigint binary boolean both by cache case cast char column commit
    conf constraint create cross cube current current_date current_timestamp cursor database date dayofweek decimal
    delete describe distinct double drop else end exchange exists extended external extract false fetch float floor
    following for foreign from full function grant group grouping having if import in inner insert int integer
    intersect interval into is join lateral left less like local macro map more none not null numeric of on only or
    order out outer over partialscan partition percent preceding precision preserve primary procedure range reads
    reduce references regexp revoke right rlike rollback rollup row rows select set smallint start sync table
    tablesample then time timestamp to transform trigger true truncate unbounded union uniquejoin update user using
    utc_tmestamp values varchar views when where window with
"""

#: Names that no namespace has.
RESERVED = frozenset(f"{_SERVERS} {_CQL} {_HIVE}".split())
