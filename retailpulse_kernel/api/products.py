"""The best-selling products, from the archive.

No table is kept by product: its rows would be the shop's assortment times each day and currency, all of them written
again by every micro-batch that sells. The archive has each line of an order exactly once, so a day of it is folded when
someone asks, and kept for half a minute. It trails Cassandra by its job's trigger.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.answers.request import Asked
from retailpulse_kernel.answers.rows import valued
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.events import ORDER_EVENTS
from retailpulse_kernel.shop.figures import REVENUE, UNITS
from retailpulse_kernel.shop.tables import Row
from retailpulse_kernel.stores.hive.archive import Archive

__all__ = ["product_rows"]

#: The longest range that is folded for one answer.
LONGEST = timedelta(days=2)
_COLUMNS = ("event_type", "product_id", "category", "currency", "price", "quantity")


def product_rows(archive: Archive, asked: Asked) -> list[Row]:
    """Revenue and units of each product and currency, the largest first; late events do not count, as in the stream.

    Parameters
    ----------
    archive : Archive
        Where single events are.
    asked : Asked
        Range and filters.

    Raises
    ------
    UsageError
        The range is longer than `LONGEST`.
    """
    if asked.until - asked.since > LONGEST:
        raise UsageError(
            f"Top products of more than {LONGEST.days} days are not folded for one answer.",
            remedy="Ask for a shorter range, or ask Hive: it has every event.",
        )
    since, until = (asked.calendar.shifted(end, -asked.shift) for end in (asked.since, asked.until))
    revenue: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    units: dict[tuple[str, str], int] = defaultdict(int)
    columns = tuple(dict.fromkeys((*_COLUMNS, *asked.dimensions)))
    for batch in archive.record_batches(since, until, columns=columns, late=False):
        sold = batch.filter(pc.is_in(batch["event_type"], value_set=pa.array(sorted(ORDER_EVENTS))))
        for fields in sold.to_pylist():
            line = SimpleNamespace(**fields)
            if not all(getattr(line, name) in values for name, values in asked.where):
                continue
            key = (line.product_id, line.currency)
            revenue[key] += REVENUE.of_event(line) or 0  # type: ignore[arg-type]
            units[key] += UNITS.of_event(line) or 0  # type: ignore[arg-type]
    rows = [
        {"product_id": product, "currency": currency, **valued(amount, is_money=True),
         "units": units[product, currency]}
        for (product, currency), amount in revenue.items()
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row["minor"], row["product_id"]))
    return rows
