"""Making and removing a namespace: topics, keyspace, HBase tables, Hive database, checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.monitoring.recording import forget
from retailpulse_kernel.settings import Namespace, Settings
from retailpulse_kernel.stores.cassandra import CassandraStore
from retailpulse_kernel.stores.hbase import HBaseStore
from retailpulse_kernel.stores.hive import HiveStore
from retailpulse_kernel.topics import delete_topics

__all__ = ["drop"]


def drop(settings: Settings) -> None:
    """Remove all that a namespace holds, in every store.

    Raises
    ------
    UsageError
        It is the default namespace, which is never dropped as a whole.
    StoreUnavailable
        A store does not answer.
    """
    name = settings.namespace.name
    if name == Namespace.DEFAULT:
        raise UsageError(
            f"The namespace {name!r} is not dropped.", remedy="Use `retailpulse down --wipe` to remove all data."
        )
    _drop(settings)
    beside = settings.within(settings.namespace.beside)
    if Path(beside.checkpoints.removeprefix("file://")).is_dir():
        _drop(beside)


def _drop(settings: Settings) -> None:
    delete_topics(settings)
    for store in (CassandraStore(settings), HBaseStore(settings), HiveStore(settings)):
        store.drop()
        store.close()
    for folder in (settings.checkpoints.removeprefix("file://"), str(settings.home / "runs" / settings.namespace.name)):
        shutil.rmtree(folder, ignore_errors=True)
    forget(settings)
