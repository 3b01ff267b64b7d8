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
# # Worked: time from cart to purchase
#
# How long people think it over: for each purchased line, the time since its user put the product into the cart. Shown
# here: a join of two streams.
#
# A stream has no end, so the join has to know how long an event can wait for its match. Here that is six hours: the
# condition bounds the times, and Spark forgets what is older.

# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow the topic, or take what is there
run_for: timedelta | None = None  # how long a continuous run lasts; None: until it is stopped
trigger: timedelta = timedelta(seconds=5)  # how often a continuous run starts a micro-batch
watermark: timedelta = timedelta(minutes=10)  # how far time runs ahead before an event is late
hours: int = 6  # how long a cart waits for its purchase

# %%
import retailpulse_kernel as rp

job = rp.job("cart_to_purchase", run=run, run_for=run_for, trigger=trigger)
# The job "metrics" publishes bad and late messages; here they are only counted.
events = job.events(watermark=watermark, rejects="count")

# %% [markdown]
# ## What is computed
#
# `events.df` is asked for once for each side. A product that was put into the cart twice has a row for each time.

# %%
from pyspark.sql import functions as F

left, right = events.df, events.df

carts = left.where("event_type = 'add_to_cart'").select(
    F.col("event_id").alias("cart_id"), F.col("event_time").alias("added"), "user_id", "product_id"
)
purchases = right.where("event_type = 'purchase'").select(
    F.col("event_id").alias("purchase_id"),
    F.col("event_time").alias("bought"),
    F.col("user_id").alias("buyer"),
    F.col("product_id").alias("product"),
)
same = F.expr(
    f"buyer = user_id AND product = product_id AND bought >= added AND bought <= added + INTERVAL {hours} HOURS"
)
waited = carts.join(purchases, same).select(
    "purchase_id",
    "cart_id",
    "user_id",
    "product_id",
    "added",
    "bought",
    (F.unix_millis("bought") - F.unix_millis("added")).alias("milliseconds"),
)
job.write(waited, to=rp.cassandra, table="cart_to_purchase", key=["purchase_id", "cart_id"])

# %% tags=["test"]
job.test(
    "only the same product of the same user counts, bought within six hours after it was put into the cart",
    given="""
        event_id  event_type   event_time            user_id  product_id  price
        c1        add_to_cart  2026-01-31T10:00:00Z  u1       p1          5.00
        b1        purchase     2026-01-31T10:02:30Z  u1       p1          5.00
        b2        purchase     2026-01-31T10:02:30Z  u2       p1          5.00
        b3        purchase     2026-01-31T10:02:30Z  u1       p2          5.00
        b4        purchase     2026-01-31T09:59:00Z  u1       p1          5.00
        b5        purchase     2026-01-31T16:00:00Z  u1       p1          5.00
        b6        purchase     2026-01-31T16:00:01Z  u1       p1          5.00
    """,
    expected="""
        purchase_id  cart_id  milliseconds
        b1           c1       150000
        b5           c1       21600000
    """,
)

# %%
job.run()

# %% [markdown]
# ## What was written

# %%
rows = rp.table("cart_to_purchase")
(rows["milliseconds"] / 60_000).describe()
