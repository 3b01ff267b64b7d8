"""Tables of rows in Kafka: a topic each, whose messages readers that read committed see exactly once.

With a key, the topic is compacted: of each key the last message stays, and a removed row is a message without a value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import NewTopic

from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.rows import DELETED, RowTable
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.ledger import Ledger
from retailpulse_kernel.stores.kafka.topics import MAX_MESSAGE_BYTES, await_absence, await_leaders
from retailpulse_kernel.stores.kafka.transactions import Transactions
from retailpulse_kernel.stores.kafka.values import keys_of, table_of, values_of
from retailpulse_kernel.stores.rows import check_key, prepared, require_same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

__all__ = ["KafkaRows"]

_TOPIC = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")
_LONGEST = 249
_PARTITIONS = 4


class KafkaRows:
    """What `KafkaStore` does with tables of rows; see `stores.base.RowStore`."""

    if TYPE_CHECKING:
        _settings: Settings
        _transactions: dict[str, Transactions]
        messages: Callable[[str], Iterator[Any]]

    def check_rows(self, table: RowTable) -> None:
        """Refuse a table whose name can't be a topic's, or that has a list or a double in its key.

        Parameters
        ----------
        table : RowTable
            The table; its name is the topic's, without the namespace.

        Raises
        ------
        UsageError
            Kafka has no form for the table.
        """
        topic, own = self._topic(table), self._settings.namespace
        if not _TOPIC.fullmatch(table.name) or len(topic) > _LONGEST:
            raise UsageError(
                f"{table.name!r} can't be the name of a topic.",
                remedy=f"Use letters, digits, '.', '_' and '-', at most {_LONGEST - len(own.topic(''))}.",
            )
        if topic in (*own.topics, Ledger(self._settings).topic):
            raise UsageError(
                f"The topic {table.name!r} is one that RetailPulse itself writes.", remedy="Take another name."
            )
        check_key(table)

    def create_rows(self, table: RowTable) -> None:
        """Make the topic where it is absent, and note its columns.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        UsageError
            The topic has another key, or another type of a column, or is somebody else's.
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Kafka does not answer.
        """
        require_own(self._settings, f"Making the topic {table.name!r}")
        self.check_rows(table)
        admin, ledger, topic = Admin(self._settings), Ledger(self._settings), self._topic(table)
        ledger.ensure(admin)
        there = ledger.table(topic)
        exists = topic in admin.topics()
        if there is not None:
            require_same(table, "Kafka", key=there.key, types=there.types, wanted=str)
        elif exists:
            raise UsageError(
                f"The topic {topic!r} is there, and no job has made it as a table of rows.",
                remedy="Write to a topic of another name, or delete this one with all its messages.",
            )
        if there is None or not table.types.keys() <= there.types.keys():
            more = () if there is None else tuple(c for c in there.columns if c.name not in table.types)
            ledger.put(topic, RowTable(table.name, (*table.columns, *more), table.key))
        if not exists:
            config = {"max.message.bytes": str(MAX_MESSAGE_BYTES), "message.timestamp.type": "LogAppendTime"}
            config |= {"cleanup.policy": "compact"} if table.is_keyed else {}
            admin.create([NewTopic(topic, _PARTITIONS, -1, config=config)])
            await_leaders(admin, {topic: _PARTITIONS})

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        """Send a micro-batch's rows in one transaction, or nothing where they are sent already.

        Parameters
        ----------
        table : RowTable
            The table.
        rows : pyarrow.Table
            The table's columns, and on wish `shop.rows.DELETED`.
        by : MicroBatch
            Who writes.

        Raises
        ------
        UsageError
            A column is absent, does not fit, or is null in a key.
        JobError
            A later micro-batch of the epoch is written already, or another process writes for this output.
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Kafka does not answer; the caller may write the same rows again.
        """
        require_own(self._settings, f"Writing to the topic {table.name!r}")
        found = prepared(table, rows)
        values: list[bytes | None] = list(values_of(table, found))
        for place, deleted in enumerate(found[DELETED].to_pylist()):
            if deleted:
                values[place] = None
        messages = list(zip(keys_of(table, found), values, strict=True))
        writer = self._transactions.setdefault(by.writer, Transactions(self._settings, by.writer))
        writer.write(self._topic(table), messages, by=by)

    def read_rows(self, table: RowTable) -> pa.Table:
        """All rows that are committed; of a keyed table the last one of each key.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        NoSuchTable
            The topic is absent.
        StoreUnavailable
            Kafka does not answer.
        """
        topic = self._topic(table)
        if topic not in Admin(self._settings).topics():
            raise NoSuchTable(f"There is no topic {topic!r}.", remedy="A job makes its topics when it first runs.")
        found = self.messages(topic)
        if not table.is_keyed:
            return table_of(table, [message.value for message in found if message.value is not None])
        last = {message.key: message.value for message in found}
        return table_of(table, [value for value in last.values() if value is not None])

    def remove_rows(self, table: RowTable) -> None:
        """Delete the topic with all messages, and what is known of it.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Kafka does not answer.
        """
        require_own(self._settings, f"Deleting the topic {table.name!r}")
        self.check_rows(table)
        admin, topic = Admin(self._settings), self._topic(table)
        if topic in admin.topics():
            admin.delete([topic])
            await_absence(admin, [topic])
        Ledger(self._settings).forget(topic)
        self._transactions.clear()

    def sent_to(self, table: RowTable) -> str:
        """The topic's full name.

        Parameters
        ----------
        table : RowTable
            The table.
        """
        return self._topic(table)

    def _topic(self, table: RowTable) -> str:
        return self._settings.namespace.topic(table.name)
