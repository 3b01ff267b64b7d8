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
# # A tour of Kafka: the events as they arrive
#
# Every click, view, cart and purchase is one message of the topic `retail.events`, keyed by its user. This tour needs
# the servers, but no job and no Spark: it fills a namespace of its own with a small shop.

# %% tags=["parameters"]
namespace: str = "tour_kafka"  # everything made here lies in this namespace

# %%
# %rp connect --namespace :namespace

# %%
from retailpulse_kernel.feed.sample_shop import fill

shop = fill(rp.connect(namespace=namespace))
len(shop)

# %% [markdown]
# ## What is there
#
# Beside the events there are two topics of rejects, `dlq` (not a valid event) and `late` (too late to count), and
# the jobs' accounts, `progress`.

# %%
# %kafka topics

# %% [markdown]
# ## The newest, and the oldest
#
# `tail` is the newest by the broker's time, `consume` reads on from a time, the oldest first. Neither commits anything:
# whoever else reads the topic goes on as before. A cut result says how much of it you see.

# %%
# %kafka tail --last 1h --limit 5

# %%
# %kafka consume --limit 5 --into oldest

# %%
oldest[["arrival", "event_type", "user_id", "price"]]

# %% [markdown]
# In Python the same is a frame with the right types: times in UTC, text as `string`, prices as exact decimals (floats
# with `as_="float"`), few-valued columns as categories. Where `limit` leaves messages out, a line says how many, and
# how far back the frame reaches; `limit=None` reads all.

# %%
events = rp.kafka.tail(last="1h")
assert len(events) == len(shop) and events.attrs["more"] is False
events.dtypes

# %%
import plotly.express as px

counts = events["event_type"].value_counts().rename_axis("event type").reset_index(name="events")
px.pie(counts, names="event type", values="events", title="Event distribution", height=360)

# %% [markdown]
# As polars or Arrow, if you like that better: `as_=` is the same in every store.

# %%
rp.kafka.tail(last="1h", as_="polars").group_by("event_type").len().sort("len", descending=True)

# %% [markdown]
# ## Send something
#
# Records go out as JSON, keyed by one of their fields. A word `:name` is the value of that variable.

# %%
records = [{"user_id": f"u{i}", "note": "from the tour", "price": "0.10"} for i in range(3)]

# %%
# %kafka produce :records --topic dlq

# %%
found = rp.kafka.tail("dlq", last="1h")
assert list(found["note"]) == ["from the tour"] * 3
found

# %% [markdown]
# ## Where messages lie
#
# A user's messages are all in one partition, in their order.

# %%
# %kafka offsets

# %%
assert events.groupby("user_id")["kafka_partition"].nunique().max() == 1
