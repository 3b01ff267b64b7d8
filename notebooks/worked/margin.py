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
# # Worked: margin by supplier
#
# What the shop earns with the products of each supplier, hour by hour: revenue less what the products cost. Shown here:
# a reference table at the side of a stream.
#
# The cost and the supplier of a product are in `products.csv` beside this notebook, as the contract `shop.toml` says.
# Name the contract in your profile, or start the kernel with `RETAILPULSE_CONTRACT=notebooks/worked/shop.toml`. A
# running job reads the file again every ten minutes.

# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow the topic, or take what is there
run_for: timedelta | None = None  # how long a continuous run lasts; None: until it is stopped
trigger: timedelta = timedelta(seconds=5)  # how often a continuous run starts a micro-batch
watermark: timedelta = timedelta(minutes=10)  # how far time runs ahead before an event is late

# %%
import retailpulse_kernel as rp

job = rp.job("margin", run=run, run_for=run_for, trigger=trigger)
# The job "metrics" publishes bad and late messages; here they are only counted.
events = job.events(watermark=watermark, rejects="count")
# A sale without an amount would hide a loss: it goes to the dead-letter topic.
events.expect("what is sold has a price", "NOT event_type IN ('purchase', 'refund') OR price > 0", otherwise="reject")
products = job.reference("products")

# %% [markdown]
# ## What is computed
#
# A refund takes its pieces back. A product that the file does not have goes to the supplier `unknown`, whose cost and
# margin are null: what nobody knows is not 0. Money of different currencies is never added up.

# %%
from pyspark.sql import functions as F

pieces = F.when(F.col("event_type") == "refund", -F.col("quantity")).otherwise(F.col("quantity"))

sold = events.df.where("event_type IN ('purchase', 'refund')").join(F.broadcast(products), "product_id", "left")
hours = (
    sold.groupBy(
        F.window("event_time", "1 hour").alias("hour"), F.coalesce("supplier", F.lit("unknown")).alias("by"), "currency"
    )
    .agg(F.sum(pieces * F.col("price")).alias("revenue"), F.sum(pieces * F.col("cost")).alias("cost"))
    .select(
        F.col("hour.start").alias("start"),
        F.col("by").alias("supplier"),
        "currency",
        "revenue",
        "cost",
        (F.col("revenue") - F.col("cost")).alias("margin"),
    )
)
job.write(hours, to=rp.cassandra, table="margin", key=["start", "supplier", "currency"])

# %% tags=["test"]
job.test(
    "a refund takes its cost back, nobody knows the cost of an unknown product, and a gift is no sale",
    given="""
        event_type  event_time            product_id  price  quantity
        purchase    2026-01-31T10:00:00Z  p1          10.00  3
        refund      2026-01-31T10:50:00Z  p1          10.00  1
        purchase    2026-01-31T11:00:00Z  p1          9.00   1
        purchase    2026-01-31T11:10:00Z  p9          5.00   1
        view        2026-01-31T11:20:00Z  p1          9.00   1
        purchase    2026-01-31T11:30:00Z  p1          0.00   1
    """,
    references={
        "products": """
            product_id  supplier  cost
            p1          north     6.25
        """
    },
    expected="""
        start                 supplier  currency  revenue  cost   margin
        2026-01-31T10:00:00Z  north     USD       20.00    12.50  7.50
        2026-01-31T11:00:00Z  north     USD       9.00     6.25   2.75
        2026-01-31T11:00:00Z  unknown   USD       5.00     null   null
    """,
)

# %%
job.run()

# %% [markdown]
# ## What was written

# %%
rp.table("margin", order=["-start", "supplier"], limit=20)
