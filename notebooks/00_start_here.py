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
# # Start here
#
# Ten minutes, from nothing to a figure that moves and a streaming job of your own. You need the servers
# (`retailpulse up` in a terminal) and this kernel, *RetailPulse*, in which `rp` is there from the beginning.
#
# Run the cells one by one with Shift-Enter.

# %% tags=["parameters"]
namespace: str = "start_here"  # everything made here lies in this namespace
seconds: int = 20  # how long the shop below is open
rate: int = 100  # events a second

# %% [markdown]
# ## 1. Are the servers there?
#
# A *namespace* is one isolated set of topics, tables and checkpoints. This notebook takes one of its own, so
# that nothing in it touches the real shop's figures.

# %%
# %rp connect --namespace :namespace

# %%
status = rp.status()
assert status.servers["healthy"].all(), "Start them: `retailpulse up` in a terminal, then run this cell again."
status

# %% [markdown]
# ## 2. Open the shop
#
# A generator makes up events that are shaped like real traffic: views, carts, purchases, the odd refund. It sends
# them to Kafka in the background while you go on. First, what an earlier run of this notebook left is removed.

# %%
from threading import Thread

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.feed.replay import send
from retailpulse_kernel.stores import namespaces
from retailpulse_kernel.stores.kafka.topics import ensure_topics

settings = rp.connect(namespace=namespace).settings
namespaces.drop(settings)
ensure_topics(settings)

shop = Generator(rate=rate, seconds=seconds, seed=7, currencies={"USD": 0.8, "EUR": 0.2})
opened = Thread(target=send, args=(settings, shop.messages()))
opened.start()

# %% [markdown]
# ## 3. Watch it
#
# `rp.kafka.tail(...)` is the newest of a topic as a pandas frame. Read once a second, it makes a figure that moves
# until the shop closes: `rp.canvas()` is a place for a Plotly figure, and each `draw` replaces what is shown there.

# %%
from IPython.display import display

from retailpulse_kernel.live.drawing import bars


def distribution(events):
    counts = events["event_type"].value_counts().rename_axis("event type").reset_index(name="events")
    return bars(counts, "events", "event type", f"{len(events):,} events so far")


# %%
canvas = rp.canvas()
display(canvas)
moving = True
while moving:
    moving = opened.is_alive()
    canvas.draw(distribution(rp.kafka.tail(last="1h")))
    opened.join(1)

# %% [markdown]
# The same from a magic. `%kafka?` shows what it can do; whenever a result is cut, it says so.

# %%
# %kafka tail --last 1h --limit 5

# %% [markdown]
# ## 4. A figure, by hand
#
# Revenue is what was bought less what came back. Prices are exact decimals, so the sum is exact too. Money of
# different currencies is never added up.

# %%
events = rp.kafka.tail(last="1h")
sales = events[events["event_type"].isin(["purchase", "refund"])]
signs = sales["event_type"].map({"purchase": 1, "refund": -1}).astype(int)
parts = zip(sales["price"], sales["quantity"], signs, strict=True)
amounts = [price * int(pieces) * sign for price, pieces, sign in parts]
by_hand = sales.assign(revenue=amounts, category=sales["category"].astype("object").fillna("unknown"))
by_hand = by_hand.groupby(["category", "currency"], observed=True)["revenue"].sum()
by_hand

# %% [markdown]
# ## 5. Your own streaming job
#
# In production nobody adds up a topic again and again: a job does it once, exactly, also when it crashes and starts
# again. It is these few lines. `REVENUE` and its like are defined once for the whole project, in
# `retailpulse_kernel/shop/figures.py`. `preview` shows what the job would write. The local stack's Spark server
# computes it, in some seconds.

# %%
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, ORDERS, REVENUE, UNITS

job = rp.job("my_first_job", run="available_now")  # all that the topic holds, then it ends
by_category = job.events(watermark="10m").figures(
    EVENTS,
    UNITS,
    REVENUE,
    ORDERS,
    ACTIVE_USERS,
    by=["currency", "category", "event_type"],
    every=["1 minute", "1 hour", "1 day"],
    table="category",
)
by_category.preview(5)

# %% [markdown]
# `write` says where to, `run` runs it. With `run="continuous"` it would follow the topic for as long as you like.

# %%
job.write(by_category, to=rp.cassandra)
job.run()

# %% [markdown]
# ## 6. Read it back
#
# From now on the figures are there for everybody: as frames, in CQL, on dashboards.

# %%
figures = rp.figures(REVENUE, ORDERS, by="category")
figures.sort_values("revenue", ascending=False).head(10)

# %%
from datetime import UTC, datetime

today = datetime.now(UTC).date()

# %% tags=["active-ipynb"]
# %%cql
# select category, currency, revenue, orders from category_day where day = :today

# %% [markdown]
# ## 7. Is it right?
#
# The job's revenue, read from Cassandra, is to the cent what we added up by hand from the topic.

# %%
stored = rp.figures(REVENUE, by="category").set_index(["category", "currency"])["revenue"]
assert {key: value for key, value in stored.items() if value} == {key: value for key, value in by_hand.items() if value}
assert rp.figures(EVENTS, by="currency")["events"].sum() == len(events) == shop.truth.sent
print(f"{len(events):,} events, and every cent of their revenue is there.")

# %%
totals = rp.figures(REVENUE, by="category", currency="USD", as_="float")  # money is exact; a plot takes floats
best = totals[totals["revenue"] > 0].nlargest(10, "revenue")
bars(best, "revenue", "category", "Revenue per category", unit="USD")

# %% [markdown]
# ## Where to go from here
#
# - `tour_kafka`, `tour_cassandra`, `tour_hbase`, `tour_hive`: ten minutes in each store.
# - `live`, `categories`, `funnel`, `data_quality`: the shop as it moves, and questions to it.
# - `writing_a_job` and `promoting`: a job of your own, step by step, and its way to production.
# - `jobs/metrics`: the job that production runs. It is as short as yours.
# - `figures`: what a figure is, and how to make one of your own.
# - `%rp` lists what there is; `%%cql?`, `%%hive?`, `%%sql?`, `%%hbase?` and `%kafka?` show options and examples.
#
# To remove all that this notebook made: `namespaces.drop(settings)`.
