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
# # Writing a streaming job
#
# A job is a notebook of a few cells: what it reads, what it counts, where that goes. Here one is made step by step,
# that keeps sales and what was given back by brand. It needs the servers, and Spark for half a minute.

# %% tags=["parameters"]
namespace: str = "writing_a_job"  # everything made here lies in this namespace
events: int = 4_000  # what the shop has sold so far

# %%
# %rp connect --namespace :namespace

# %% [markdown]
# ## A shop to look at
#
# `shop` is what was sent, so that the job's result can be checked.

# %%
from retailpulse_kernel.feed.sample_shop import fill

shop = fill(rp.connect(namespace=namespace), events=events)
sold = [event for event in shop if event.event_type in ("purchase", "refund") and event.brand]
len(sold)

# %% [markdown]
# ## 1. What it reads
#
# `events` are the topic's, parsed, validated and each taken once. The job *metrics* publishes bad and late messages,
# so this one only counts them. `where` is any condition of Spark SQL. Nothing runs yet.

# %%
job = rp.job("brands", run="available_now")  # all that is there, then it ends
events_read = job.events(watermark="10m", rejects="count").where(
    "event_type in ('purchase', 'refund') and brand is not null"
)

# %% [markdown]
# ## 2. What it counts
#
# `UNITS`, `REVENUE` and `ORDERS` are the project's. One of your own is a line: its name, title, measure, and when it
# counts. Money needs the currency among the dimensions, since it is never added up across it.

# %%
from retailpulse_kernel.shop.figures import ORDERS, REVENUE, UNITS, Figure, sum_of

GIVEN_BACK = Figure("given_back", "Given back", sum_of("price * quantity"), where="refund", unit="currency")
by_brand = events_read.figures(
    UNITS, REVENUE, ORDERS, GIVEN_BACK, by=["currency", "brand"], every=["1 hour", "1 day"], table="brand"
)
print(GIVEN_BACK.sql)

# %% [markdown]
# ## 3. Look before it runs
#
# `preview` counts the newest events, shows them as the table will, and writes nothing. The local stack's
# Spark server computes it, in some seconds.

# %%
seen = by_brand.preview(5, every="1 day")
assert list(seen.columns) == ["day", "currency", "brand", "units", "revenue", "orders", "given_back"]
seen

# %% [markdown]
# ## 4. Where it goes, and run
#
# The tables `brand_hour` and `brand_day` are made by the first run.

# %%
job.write(by_brand, to=rp.cassandra)
job.run()

# %% [markdown]
# ## Is it right?
#
# What was sent, added up by hand, against what stands in Cassandra: to the cent.

# %%
from collections import defaultdict
from decimal import Decimal


def stored():
    rows = []
    for day in sorted({event.event_time.date() for event in shop}):
        found = rp.cassandra.query("select * from brand_day where day = :day", {"day": day}, limit=None)
        rows += found.to_dict("records")
    return sorted(rows, key=lambda row: (row["day"], row["currency"], row["brand"]))


by_hand = defaultdict(lambda: [Decimal(0), Decimal(0)])
for event in sold:
    amount = event.price * event.quantity
    sums = by_hand[event.event_time.date(), event.currency, event.brand]
    sums[0] += amount if event.event_type == "purchase" else -amount
    sums[1] += amount if event.event_type == "refund" else 0

rows = stored()
assert len(rows) == len(by_hand)
for row in rows:
    assert [row["revenue"], row["given_back"]] == by_hand[row["day"], row["currency"], row["brand"]], row
print(f"{len(rows)} rows, every cent of them as it was sold")

# %%
import pandas as pd

from retailpulse_kernel.live.drawing import bars

frame = pd.DataFrame(rows)
best = frame[frame["currency"] == "USD"].assign(revenue=lambda f: f["revenue"].astype(float)).nlargest(12, "revenue")
bars(best, "revenue", "brand", "Revenue by brand", unit="USD")

# %% [markdown]
# ## Once is once
#
# Run it again: it goes on where its checkpoint stands, finds nothing new, and no number moves. The same holds after a
# crash in the middle of a batch: the batch is done again and writes the same values under the same keys.

# %%
job.run()

# %%
assert stored() == rows

# %% [markdown]
# ## Make it a notebook of its own
#
# `rp.new_job("brands")`, or `retailpulse new job brands` in a terminal, makes `notebooks/jobs/brands.ipynb`: typed
# parameters, a test, a preview and a run, ready to be changed to what was written above. It runs as it is:
# `retailpulse run notebooks/jobs/brands.ipynb -p run continuous` gives it another parameter; one that is unknown or of
# another type stops it before the first cell. The notebook `promoting` takes it to production.
