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
# # Worked: abandoned carts
#
# Visits in which something was put into the cart and nothing was bought. Each is one message of a topic, for example
# for a reminder by mail. Shown here: session windows, and Kafka as an output.
#
# A visit ends when its user has done nothing for half an hour. It is written then, once, and does not change any more.

# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow the topic, or take what is there
run_for: timedelta | None = None  # how long a continuous run lasts; None: until it is stopped
trigger: timedelta = timedelta(seconds=5)  # how often a continuous run starts a micro-batch
watermark: timedelta = timedelta(minutes=10)  # how far time runs ahead before an event is late
gap: timedelta = timedelta(minutes=30)  # how long a user does nothing before a visit has ended

# %%
import retailpulse_kernel as rp

job = rp.job("abandoned", run=run, run_for=run_for, trigger=trigger)
# The job "metrics" publishes bad and late messages; here they are only counted.
events = job.events(watermark=watermark, rejects="count")

# %% [markdown]
# ## What is computed
#
# All events of a user make the visit, so a view keeps it open too. The amount is that of the pieces in the cart: what
# was put in, less what was taken out.

# %%
from pyspark.sql import functions as F

sign = F.when(F.col("event_type") == "add_to_cart", 1).when(F.col("event_type") == "remove_from_cart", -1)
pieces = sign * F.col("quantity")

visits = events.df.groupBy(
    F.session_window("event_time", f"{gap.total_seconds():.0f} seconds").alias("visit"), "user_id", "currency"
).agg(
    F.count_if(F.col("event_type") == "purchase").alias("purchases"),
    F.sum(pieces).alias("pieces"),
    F.sum(pieces * F.col("price")).alias("amount"),
    F.max(F.when(F.col("event_type") == "add_to_cart", F.col("event_time"))).alias("last_added"),
)
carts = visits.where("purchases = 0 AND pieces > 0").select(
    "user_id", F.col("visit.start").alias("start"), "currency", "pieces", "amount", "last_added"
)
job.write(carts, to=rp.kafka, topic="abandoned_carts", key=["user_id", "start", "currency"])

# %% tags=["test"]
VISITS = """
    event_type        event_time  user_id  price  quantity
    view              10:00       u1       10.00  1
    add_to_cart       10:05       u1       10.00  2
    view              10:30       u1       3.00   1
    add_to_cart       10:00       u2       8.00   1
    purchase          10:20       u2       8.00   1
    add_to_cart       10:00       u3       4.00   1
    remove_from_cart  10:10       u3       4.00   1
    add_to_cart       11:55       u4       2.00   1
"""
ABANDONED = """
    user_id  start  pieces  amount  last_added
    u1       10:00  2       20.00   10:05
"""
job.test(
    "who bought or took all out abandons nothing, and an open visit is not written",
    given=VISITS,
    expected=ABANDONED,
    at="2026-01-31T12:00Z",
)
job.test(
    "a visit is written once its user has done nothing for half an hour",
    given=VISITS,
    expected=f"{ABANDONED}\n u4 11:55 1 2.00 11:55",
    at="2026-01-31T12:36Z",
)

# %%
job.run()

# %% [markdown]
# ## What was written
#
# The newest rows. A consumer of your own reads the topic `abandoned_carts`. In a namespace other than the default, the
# name of the topic begins with the namespace and a dot.

# %%
rp.table("abandoned_carts", order="-last_added", limit=20)
