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
# # Worked: each user's basket
#
# What each user has in the basket now, one row for each user in HBase. Shown here: state of your own, with a timer.
#
# The state is the pieces of each product. What is put in, taken out or bought changes it. Whoever leaves a basket alone
# for two hours finds it empty: a timer removes the state and the row.

# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow the topic, or take what is there
run_for: timedelta | None = None  # how long a continuous run lasts; None: until it is stopped
trigger: timedelta = timedelta(seconds=5)  # how often a continuous run starts a micro-batch
watermark: timedelta = timedelta(minutes=10)  # how far time runs ahead before an event is late
hours: int = 2  # how long a basket is kept after it has changed

# %%
import retailpulse_kernel as rp

job = rp.job("basket", run=run, run_for=run_for, trigger=trigger)
# The job "metrics" publishes bad and late messages; here they are only counted.
events = job.events(watermark=watermark, rejects="count")

# %% [markdown]
# ## The state
#
# Spark calls `handleInputRows` with the new events of a user, in any order. It calls `handleExpiredTimer` once the
# watermark has passed the time of a timer. What is kept in the handle's states is there in the next micro-batch, also
# after a crash.
#
# The watermark follows behind the events, so an event may come after the two hours and before the timer. Then the event
# finds an empty basket, too.
#
# A row with a true `_deleted` removes the user's row.

# %%
from collections import Counter

import pandas as pd
from pyspark.sql.streaming.stateful_processor import StatefulProcessor

CHANGES = {"add_to_cart": 1, "remove_from_cart": -1, "purchase": -1}
ROWS = "user_id string, products array<string>, pieces long, changed timestamp, _deleted boolean"
KEEP_MS = hours * 3_600_000


class Basket(StatefulProcessor):
    def init(self, handle):
        self.handle = handle
        self.pieces = handle.getMapState("pieces", "product_id string", "pieces long")
        self.changed = handle.getValueState("changed", "milliseconds long")

    def handleInputRows(self, key, rows, timerValues):
        events = pd.concat(list(rows)).sort_values("event_time", kind="stable")
        changed = self.changed.get()[0] if self.changed.exists() else None
        basket = Counter({product: pieces for (product,), (pieces,) in self.pieces.iterator()})
        for event in events.itertuples():
            at = int(event.event_time.timestamp() * 1000)
            if changed is not None and at > changed + KEEP_MS:
                basket.clear()
            change = CHANGES[event.event_type] * event.quantity
            basket[event.product_id] = max(0, basket[event.product_id] + change)
            changed = at if changed is None else max(at, changed)
        self.keep(+basket, changed)
        yield self.row(key, +basket, changed)

    def keep(self, basket, changed):
        self.pieces.clear()
        for product, pieces in basket.items():
            self.pieces.updateValue((product,), (pieces,))
        self.changed.update((changed,))
        for timer in list(self.handle.listTimers()):
            self.handle.deleteTimer(timer)
        self.handle.registerTimer(changed + KEEP_MS)

    def handleExpiredTimer(self, key, timerValues, expiredTimerInfo):
        (changed,) = self.changed.get()
        self.pieces.clear()
        self.changed.clear()
        yield self.row(key, {}, changed, deleted=True)

    def row(self, key, basket, changed, deleted=False):
        return pd.DataFrame(
            {
                "user_id": [key[0]],
                "products": [sorted(basket)],
                "pieces": [sum(basket.values())],
                "changed": [pd.Timestamp(changed, unit="ms")],
                "_deleted": [deleted],
            }
        )

    def close(self):
        pass


# %%
from pyspark.sql import functions as F

changes = events.df.where(F.col("event_type").isin(*CHANGES))
baskets = changes.groupBy("user_id").transformWithStateInPandas(Basket(), ROWS, "Update", "EventTime")
job.write(baskets, to=rp.hbase, table="baskets", key="user_id", mode="update")

# %% tags=["test"]
CHANGED = """
    event_type        event_time  user_id  product_id  price  quantity
    add_to_cart       10:00       u1       p1          5.00   2
    add_to_cart       10:01       u1       p2          5.00   1
    remove_from_cart  10:02       u1       p1          5.00   1
    purchase          10:03       u1       p2          5.00   1
    add_to_cart       11:00       u2       p3          5.00   1
    view              11:30       u2       p1          5.00   1
    add_to_cart       10:00       u3       p1          5.00   1
    add_to_cart       12:01       u3       p2          5.00   1
"""
job.test(
    "a basket has what was put in less what went out, and begins anew after two hours",
    given=CHANGED,
    expected="""
        user_id  products  pieces  changed
        u1       ["p1"]    1       10:03
        u2       ["p3"]    1       11:00
        u3       ["p2"]    1       12:01
    """,
    at="2026-01-31T12:05Z",
)
job.test(
    "a basket that nobody has touched for two hours is gone",
    given=CHANGED,
    expected="""
        user_id  products  pieces
        u3       ["p2"]    1
    """,
    at="2026-01-31T13:30Z",
)

# %%
job.run()

# %% [markdown]
# ## What was written

# %%
rp.table("baskets", limit=20)
