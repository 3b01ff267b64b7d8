"""A reference table, read whole from where the contract says that it is."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.model import ReferenceTable
from retailpulse_kernel.shop.contract.rows import file_rows, object_rows, typed_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from retailpulse_kernel.stores.cassandra.store import CassandraStore
    from retailpulse_kernel.stores.hive.store import HiveStore

__all__ = ["read_table"]

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def read_table(settings: Settings, table: ReferenceTable) -> pa.Table:
    """All rows of a table, in the contract's columns and their types, in the order of their keys.

    Parameters
    ----------
    settings : Settings
        Whose contract has the table, and in whose namespace the stores' tables and topics are.
    table : ReferenceTable
        The table.

    Raises
    ------
    UnknownName
        There is no such table, or a column is missing.
    UsageError
        The file or topic is not there, or the rows do not fit: a value has another type, a key is null or comes twice.
    StoreUnavailable
        The store does not answer.
    """
    if table.source == "file":
        contract = settings.contract
        return file_rows(table, Path() if contract is None else contract.parent)
    if table.source == "topic":
        return _topic_rows(settings, table)
    if table.source == "hive":
        from retailpulse_kernel.stores.hive.store import HiveStore

        with closing(HiveStore(settings)) as hive:
            return _stored_rows(hive, table, "`")
    from retailpulse_kernel.stores.cassandra.store import CassandraStore

    with closing(CassandraStore(settings)) as cassandra:
        return _stored_rows(cassandra, table, '"')


def _stored_rows(store: HiveStore | CassandraStore, table: ReferenceTable, quote: str) -> pa.Table:
    (known,) = store.columns(table.place).values()
    source = f"{store.name.capitalize()}'s table {table.place}"
    for name, _ in table.columns:
        if name not in known:
            raise UnknownName("column", name, known, of=source)
    columns = ", ".join(f"{quote}{name}{quote}" for name, _ in table.columns)
    rows = store.query(f"select {columns} from {quote}{table.place}{quote}", as_="arrow")
    return typed_rows(table, rows, source)


def _topic_rows(settings: Settings, table: ReferenceTable) -> pa.Table:
    """The newest message of each key; one without a value removes the row."""
    from retailpulse_kernel.stores.kafka.store import KafkaStore

    topic = settings.namespace.topic(table.place)
    newest: dict[bytes, bytes | None] = {}
    with closing(KafkaStore(settings)) as kafka:
        for message in kafka.messages(topic):
            if message.key is None:
                raise UsageError(
                    f"A message of the topic {topic} has no key, at the offset {message.offset} of the partition "
                    f"{message.partition}: it is no row of the reference table {table.name!r}.",
                    remedy="Give each message the key of its row: the newest message of a key is the row.",
                )
            newest[message.key] = message.value
    objects = []
    for key, value in newest.items():
        try:
            if value is not None:
                objects.append(msgspec.convert(_decode(value), dict))
        except msgspec.MsgspecError as error:
            raise UsageError(
                f"The message with the key {key!r} of the topic {topic} is not a JSON object: {error}.",
                remedy="Send the row again as a JSON object.",
            ) from error
    return object_rows(table, objects)
