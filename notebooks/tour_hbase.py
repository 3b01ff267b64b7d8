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
# # A tour of HBase: sessions and users
#
# The job `engagement` keeps what each session and each user did in HBase. Keys begin with the window's start, so a
# scan by prefix is a scan by time. This tour needs the servers, but no job and no Spark: it fills a namespace of its
# own with a small shop.

# %% tags=["parameters"]
namespace: str = "tour_hbase"  # everything made here lies in this namespace

# %%
# %rp connect --namespace :namespace

# %%
from retailpulse_kernel.feed.sample_shop import fill

shop = fill(rp.connect(namespace=namespace))

# %% [markdown]
# ## What is there

# %%
# %hbase tables

# %% [markdown]
# ## A scan
#
# By prefix of the key, with the columns you want. `:hour` is the variable `hour`.

# %%
hour = f"{shop[-1].event_time:%Y%m%dT%H}"

# %% tags=["active-ipynb"]
# %%hbase --limit 5
# scan session_hour prefix=:hour columns=session_id,events,revenue

# %% [markdown]
# Or by time. HBase reads only the rows of that range.

# %%
begin = shop[-1].event_time.replace(minute=0, second=0, microsecond=0)

# %% tags=["active-ipynb"]
# %%hbase --into sessions --limit all
# scan session_hour since=:begin

# %%
assert set(sessions["session_id"]) == {event.session_id for event in shop if event.event_time >= begin}
sessions[["user_id", "events", "views", "purchases", "revenue", "first_event", "last_event"]].describe()

# %% [markdown]
# ## One row
#
# By its key, in milliseconds.

# %%
key = sessions.sort_values("events")["row"].iloc[-1]

# %% tags=["active-ipynb"]
# %%hbase
# get session_hour :key

# %% [markdown]
# ## How long people stay
#
# The same frame in Python: times are UTC, money is exact.

# %%
import plotly.express as px

rows = rp.hbase.scan("session_hour", limit=None)
minutes = (rows["last_event"] - rows["first_event"]).dt.total_seconds() / 60
px.histogram(minutes, nbins=30, title="Minutes a session lasts within an hour", height=320)

# %% [markdown]
# ## Is it right?
#
# Every event is in exactly one session's hour, and in one user's day.

# %%
users = rp.hbase.scan("user_day", limit=None)
assert rows["events"].sum() == users["events"].sum() == len(shop)
assert rows["revenue"].sum() == users["revenue"].sum()
print(f"{len(rows):,} rows of sessions, {len(users):,} of users, {rows['events'].sum():,} events")
