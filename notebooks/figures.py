# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: RetailPulse
#     language: python
#     name: retailpulse
# ---

# %% [markdown]
# # What a figure is
#
# A figure is defined once, in `retailpulse_kernel/shop/figures.py`. Spark's columns, the tables in
# Cassandra and HBase, and what you read back are derived from that definition. This notebook needs
# no server: it folds a few events in plain Python, the way the tests check every store.

# %%
from datetime import UTC, datetime
from decimal import Decimal

from retailpulse_kernel.answers.reading import grouped
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import AVERAGE_ORDER_VALUE, ORDERS, REVENUE, Figure, sum_of
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable

REVENUE

# %% [markdown]
# The same definition as Spark SQL, for one event and for many:

# %%
print(REVENUE.sql)
print(REVENUE.aggregate_sql)

# %% [markdown]
# An order of two lines, and a part of it that came back:

# %%
noon = datetime(2026, 1, 1, 12, tzinfo=UTC)


def line(event_type: str, number: int, price: str, quantity: int = 1) -> Event:
    return Event(
        event_id=f"{event_type}-{number}",
        event_type=event_type,
        event_time=noon,
        user_id="ann",
        session_id="s1",
        product_id=f"p{number}",
        category="books",
        price=Decimal(price),
        quantity=quantity,
        order_id="o1",
        order_line=number,
    )


events = [line("purchase", 1, "19.90", 2), line("purchase", 2, "5.05"), line("refund", 2, "5.05")]

# %% [markdown]
# Refunds are rows of their own with negative revenue, an order counts on its first line, and the
# average order value is divided only at the end: revenue by orders, never an average of averages.

# %%
rows = [{**row, "bucket": row["day"]} for row in fold(events, CATEGORY, GRAINS["day"])]
(books,) = grouped(rows, ["category"])
assert books["revenue"] == Decimal("39.80")
assert books["orders"] == 1
assert books[AVERAGE_ORDER_VALUE.name] == Decimal("39.8000")
books

# %% [markdown]
# A figure of your own is one line, and a table of it another:

# %%
TWO_OR_MORE = Figure("multiples", "Lines of two pieces or more", sum_of("1"), where="purchase and quantity >= 2")
mine = FigureTable("multiples", (TWO_OR_MORE, ORDERS), by=("category",), every=(GRAINS["hour"],))
(row,) = fold(events, mine, GRAINS["hour"])
assert (row["multiples"], row["orders"]) == (1, 1)
row
