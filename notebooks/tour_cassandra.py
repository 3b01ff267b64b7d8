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
# # A tour of Cassandra: the figures by category
#
# The job `metrics` keeps revenue, orders, units, events and active users by minute, hour and day in Cassandra, ready
# to be read in milliseconds. This tour needs the servers, but no job and no Spark: it fills a namespace of its own
# with a small shop.

# %% tags=["parameters"]
namespace: str = "tour_cassandra"  # everything made here lies in this namespace

# %%
# %rp connect --namespace :namespace

# %%
from retailpulse_kernel.feed.sample_shop import fill

shop = fill(rp.connect(namespace=namespace))

# %% [markdown]
# ## What is there
#
# A table for each width of window. The first columns are the key: a query has to say which partition it wants.

# %%
rp.cassandra.columns()

# %% [markdown]
# ## A question in CQL
#
# `:days` is the variable `days`. It is bound by Cassandra, never pasted into the text, so no value can change what the
# statement does. `--into` keeps the frame; Tab completes keywords, tables, columns and variables.

# %%
days = sorted({event.event_time.date() for event in shop})

# %% tags=["active-ipynb"]
# %%cql --into sold --limit all
# select category, currency, revenue, orders, units from category_day where day in :days

# %%
top = sold.groupby(["category", "currency"])[["revenue", "orders", "units"]].sum().sort_values("revenue")
top.tail(5)

# %% [markdown]
# A cut result always says so:

# %% tags=["active-ipynb"]
# %%cql --limit 3
# select category, event_type, events from category_day where day in :days

# %% [markdown]
# ## The figures, without CQL
#
# `rp.figures` reads the right tables for any range and divides ratios at the end. Money is exact, each value a
# `decimal.Decimal`; with `as_="float"` it is what pandas' `nlargest`, `describe` and plots count with.

# %%
from retailpulse_kernel.shop.figures import AVERAGE_ORDER_VALUE, ORDERS, REVENUE

rp.figures(REVENUE, ORDERS, AVERAGE_ORDER_VALUE, by="currency")

# %%
import plotly.express as px

over_time = rp.figures(REVENUE, by="bucket", grain="minute", currency="USD", as_="float")
over_time["running total"] = over_time["revenue"].cumsum()
px.line(over_time, x="bucket", y="running total", title="Revenue, running total, USD", height=320)

# %% [markdown]
# ## How Cassandra does it
#
# CQL has no EXPLAIN; `--explain` runs the statement and shows its trace.

# %% tags=["active-ipynb"]
# %%cql --explain
# select sum(revenue) from category_day where day in :days and currency = 'USD'

# %% [markdown]
# ## Is it right?
#
# The stored revenue is to the cent what the events themselves add up to.

# %%
from collections import Counter
from decimal import Decimal

expected: Counter = Counter()
for event in shop:
    sign = {"purchase": 1, "refund": -1}.get(event.event_type, 0)
    expected[event.currency] += sign * (event.price or Decimal(0)) * event.quantity
stored = rp.figures(REVENUE, by="currency").set_index("currency")["revenue"].to_dict()
assert stored == dict(expected)
stored
