"""Writes to Cassandra: a statement for each row, in batches of one partition each, many of them under way at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cassandra.cluster import Session
    from cassandra.query import BatchStatement

__all__ = ["CONCURRENCY", "run_in_batches"]

#: Requests under way at once.
CONCURRENCY = 64
#: Rows in one unlogged batch; batches of one partition were measured fastest at this size.
_ROWS = 20
#: Bytes of sketches, texts and lists in one; Cassandra refuses batches of more than 50 KiB by default.
_BYTES = 16 * 1024


def run_in_batches(session: Session, cql: str, partitions: Iterable[Iterable[list[Any]]]) -> None:
    """Run a statement for each row.

    Parameters
    ----------
    session : Session
        The connection.
    cql : str
        The statement, with ``?`` for each value. Run again, it must change nothing.
    partitions : iterable of iterable of list
        The values to bind for each row, by the partition that holds the rows.
    """
    from cassandra.concurrent import execute_concurrent
    from cassandra.query import BatchStatement, BatchType

    # Held until all batches are there: the driver knows a statement no longer than somebody else does, and
    # must prepare it again when the table is altered meanwhile.
    statement = session.prepare(cql)

    def batches() -> Iterator[tuple[BatchStatement, None]]:
        for rows in partitions:
            for portion in _portions(rows):
                batch = BatchStatement(BatchType.UNLOGGED)
                batch.is_idempotent = True
                for values in portion:
                    batch.add(statement, values)
                yield batch, None

    execute_concurrent(session, batches(), concurrency=CONCURRENCY)


def _portions(rows: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    """Rows of a partition in batches that are neither too many nor too large: a sketch of many users has 32 KiB."""
    portion: list[list[Any]] = []
    size = 0
    for row in rows:
        more = sum(len(value) for value in row if isinstance(value, (bytes, str, list)))
        if portion and (len(portion) >= _ROWS or size + more > _BYTES):
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += more
    if portion:
        yield portion
