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
# # A tour of Hive: every event, for good
#
# The job `archive` keeps every accepted event as Parquet, with the message as it came. HiveQL asks anything of it, at
# the price of some seconds. This tour needs the servers, but no job and no Spark: it fills a namespace of its own with
# a small shop.

# %% tags=["parameters"]
namespace: str = "tour_hive"  # everything made here lies in this namespace

# %%
# %rp connect --namespace :namespace

# %%
from retailpulse_kernel.feed.sample_shop import fill

shop = fill(rp.connect(namespace=namespace))

# %% [markdown]
# ## What is there
#
# One table, `events`, partitioned by day and hour: name a day, and the others are not read.

# %%
rp.hive.columns()

# %% [markdown]
# ## A question in HiveQL
#
# `:days` is the variable `days`. HiveServer2 binds no values itself, so each becomes a typed literal that can't end its
# own quotes.

# %%
days = sorted({str(event.event_time.date()) for event in shop})

# %% tags=["active-ipynb"]
# %%hive --into by_type
# select event_type, count(*) events, count(distinct user_id) users
# from events
# where dt in :days
# group by event_type
# order by events desc

# %%
by_type

# %% [markdown]
# ## What is viewed and not bought
#
# A question that no stored figure answers: the funnel of each category.

# %% tags=["active-ipynb"]
# %%hive --into funnel --limit all
# select category,
#        sum(if(event_type = 'view', 1, 0)) views,
#        sum(if(event_type = 'add_to_cart', 1, 0)) carts,
#        sum(if(event_type = 'purchase' and order_line = 1, 1, 0)) orders
# from events
# where dt in :days
# group by category
# order by views desc

# %%
from retailpulse_kernel.live.drawing import bars

bars(funnel.head(8), ["views", "carts", "orders"], "category", "Funnel by category")

# %% [markdown]
# ## How Hive does it

# %% tags=["active-ipynb"]
# %%hive --explain
# select count(*) from events where dt in :days

# %% [markdown]
# ## Straight from the files
#
# For more than a glance, `rp.hive.events()` reads the archive's files themselves, without HiveServer2, into a frame;
# `rp.hive.record_batches()` does it an hour at a time. `%%sql` asks the same table by Spark.

# %%
events = rp.hive.events(columns=["event_type", "category", "price", "event_time"])
events.dtypes

# %% [markdown]
# ## Is it right?
#
# Hive counts what was sent, event by event.

# %%
from collections import Counter

assert dict(zip(by_type["event_type"], by_type["events"], strict=True)) == Counter(event.event_type for event in shop)
assert len(events) == len(shop) and funnel["views"].sum() == sum(event.event_type == "view" for event in shop)
print(f"{len(events):,} events in the archive")
