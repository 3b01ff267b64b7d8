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
# # How good is the data?
#
# Every message that a job takes is accounted for: it is accepted, a duplicate, too late, or bad, and nothing is
# dropped in silence. This notebook opens a shop that makes mistakes on purpose and counts them, runs the job *metrics*
# on it, and compares. It needs the servers, and Spark for half a minute. On your own shop, leave the cells out that
# make events and run the job.

# %% tags=["parameters"]
namespace: str = "data_quality"  # everything made here lies in this namespace
events: int = 6_000  # messages that the shop sends
run_for: str = "12s"  # how long a run of the job follows the topic

# %%
# %rp connect --namespace :namespace

# %%
from datetime import UTC, datetime, timedelta

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.feed.replay import send
from retailpulse_kernel.stores import namespaces
from retailpulse_kernel.stores.kafka.topics import ensure_topics

settings = rp.connect(namespace=namespace).settings
namespaces.drop(settings)
ensure_topics(settings)
shop = Generator(
    rate=events / 600, seconds=600, seed=11, start=datetime.now(UTC) - timedelta(minutes=10),
    duplicates=0.03, late=0.02, bad=0.02,
)  # fmt: skip
send(settings, shop.messages(), paced=False)
truth = shop.truth
f"{truth.sent:,} messages: {truth.duplicates} repeat another, {truth.late} come hours late, {truth.bad.total()} are bad"

# %% [markdown]
# ## The job
#
# As in production, for some seconds a run; the next run goes on where the one before stood. It judges lateness only
# while it follows the topic; a bounded run has the whole topic before it, and nothing is late there.

# %%
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, ORDERS, REVENUE, UNITS

job = rp.job("metrics", run="continuous", run_for=run_for)
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
job.write(by_category, to=rp.cassandra)

# %%
accounts = rp.kafka.tail("progress", last="1h")
while not len(accounts) or accounts["consumed"].sum() < truth.sent:
    job.run()
    accounts = rp.kafka.tail("progress", last="1h")

# %% [markdown]
# ## Where did every message go?
#
# Each micro-batch leaves an account in the topic `progress`; these are the job's.

# %%
counts = accounts[["consumed", "accepted", "duplicate", "late", "bad"]].sum()
assert counts["consumed"] == counts[["accepted", "duplicate", "late", "bad"]].sum()
assert (counts["consumed"], counts["accepted"]) == (truth.sent, truth.accepted)
assert (counts["duplicate"], counts["late"], counts["bad"]) == (truth.duplicates, truth.late, truth.bad.total())
counts

# %%
import plotly.express as px

from retailpulse_kernel.live.drawing import as_text, bars

lost = counts[["duplicate", "late", "bad"]].rename_axis("fate").reset_index(name="messages")
bars(lost, "messages", "fate", "Messages that are not counted")

# %% [markdown]
# ## What is bad, and why?
#
# A bad message lies in the topic `dlq`, with the reason, where it stood, and itself. A sudden reason is a release
# that went wrong somewhere: look at one of its messages.

# %%
bad = rp.kafka.tail("dlq", last="1h")
reasons = bad["reason"].value_counts()
assert reasons.to_dict() == dict(truth.bad)
bars(reasons.rename_axis("reason").reset_index(name="messages"), "messages", "reason", "Bad messages by reason")

# %%
bad[["reason", "detail", "partition", "offset", "value"]].head()

# %% [markdown]
# Bad messages that were mended at their source are sent again as new ones: their `event_id` was never counted.
#
# ## What is late, and what does it cost?
#
# Late events are valid. They are not in the stream's figures, since their windows were closed; they are in the archive,
# flagged, and a backfill with `late="include"` counts them when a day is closed.

# %%
import json

import pandas as pd

late = rp.kafka.tail("late", last="1h")
values = pd.DataFrame([json.loads(value) for value in late["value"]])
times = pd.to_datetime(values["event_time"], utc=True, format="ISO8601")
hours_behind = (
    pd.to_datetime(late["arrival"], utc=True, format="ISO8601").reset_index(drop=True) - times
) / pd.Timedelta("1h")
assert len(late) == truth.late and set(late["reason"]) == {"late"}
px.histogram(hours_behind, nbins=24, title="Hours that late events are behind", height=300).update_layout(
    showlegend=False
)

# %%
from decimal import Decimal

sold = values[values["event_type"] == "purchase"] if len(values) else values
missing = sum((Decimal(str(row.price)) * int(row.quantity) for row in sold.itertuples()), Decimal(0))
print(f"{len(sold)} late purchases: {missing:,} USD that only a closed day has")

# %% [markdown]
# ## What has no category?
#
# A third of a real shop's events name none. They count, as `unknown`.

# %%
figures = rp.figures(EVENTS, REVENUE, by="category", currency="USD").set_index("category")
unknown = figures.loc["unknown"]
share = unknown["events"] / figures["events"].sum()
print(f"{share:.1%} of the events and {unknown['revenue']:,} USD are in no category")

# %%
shares = figures["events"].groupby(figures.index.astype(str).str.split(".").str[0]).sum().sort_values(ascending=False)
px.pie(names=shares.index.map(as_text), values=shares, title="Events by branch", height=340)

# %% [markdown]
# ## Are the figures right for all that?
#
# Not one duplicate, late or bad message is in them: revenue of every category is what the shop truly sold, to the cent.

# %%
cents = {name: int(revenue * 100) for name, revenue in figures["revenue"].items() if revenue}
assert cents == {name: value for name, value in truth.on_time.cents["USD"].items() if value}
assert figures["events"].sum() == truth.accepted
print(f"{sum(cents.values()) / 100:,.2f} USD in {len(cents)} categories, every cent of it as it was sold")
