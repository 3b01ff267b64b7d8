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

# %% tags=["parameters"]
since: str | None = None  # the range, on whole minutes; the last day when absent
until: str | None = None
currency: str = "USD"  # whose money is looked at

# %% [markdown]
# # What sells, and what is only looked at
#
# Questions about categories. Sums come from the figures in Cassandra, what needs single events from the archive in
# Hive; the two are written by different jobs, so each answer here is checked against the other store. `rp.explore()`
# asks the same by clicking; its *code behind it* is what stands here.

# %%
from datetime import UTC, datetime, timedelta

import pandas as pd
import plotly.express as px

import retailpulse_kernel as rp
from retailpulse_kernel.answers.questions import Scope, brands, categories, funnel, hours, order_values, over_time
from retailpulse_kernel.ground.spans import moment_of
from retailpulse_kernel.live.drawing import as_text, bars, draw

# The archive is written every 15 seconds or so: up to two minutes ago both stores have everything.
end = moment_of(until) or datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
begin = moment_of(since) or end - timedelta(days=1)
scope = Scope(since=begin, until=end, currency=currency)
rp.explore(since=begin, until=end, currency=currency)

# %%
figures = rp.figures(by=["category", "event_type"], since=begin, until=end, currency=currency)
columns = ["event_type", "event_time", "product_id", "category", "brand", "price", "quantity", "currency", "order_id"]
events = rp.hive.events(begin, end, columns=columns, late=False)
events = events[events["currency"] == currency]
events["branch"] = events["category"].astype(str).str.split(".").str[0]
assert len(events) == figures["events"].sum(), "every event of the range is in both stores"
f"{len(events):,} events"

# %% [markdown]
# ## Which categories earn the money?

# %%
branches = categories(rp, scope)
branches[["category", "revenue", "orders", "average_order_value"]]

# %%
draw("categories", branches, scope)

# %% [markdown]
# The archive's purchases less what came back say the same of each branch, to the cent:

# %%
money = events[events["event_type"].isin(["purchase", "refund"])].copy()
signs = money["event_type"].map({"purchase": 1, "refund": -1}).astype(int)
amounts = zip(money["price"], money["quantity"], signs, strict=True)
money["amount"] = [price * int(pieces) * sign for price, pieces, sign in amounts]
by_hand = money.groupby("branch")["amount"].sum()
assert {b: r for b, r in zip(branches["category"], branches["revenue"], strict=True) if r} == by_hand[
    by_hand != 0
].to_dict()

# %% [markdown]
# ## What sells at the peaks?
#
# The hour of the day with the highest revenue, and what earns more of the money in it than it does all day.

# %%
by_hour = hours(rp, scope)
peak = int(by_hour.loc[by_hour["revenue"].astype(float).idxmax(), "hour"])
assert by_hour["revenue"].sum() == branches["revenue"].sum()
draw("hours", by_hour, scope)

# %%
at_peak = money[money["event_time"].dt.hour == peak]
assert at_peak["amount"].sum() == by_hour.set_index("hour")["revenue"][peak]
shares = (
    pd.DataFrame({"at the peak": at_peak.groupby("branch")["amount"].sum(), "all day": by_hand}).fillna(0).astype(float)
)
shares = shares / shares.sum()
shares["more than usual"] = shares["at the peak"] - shares["all day"]
shares = shares.sort_values("more than usual", ascending=False)
assert abs(shares["more than usual"].sum()) < 1e-9, "what some gain, others lose"
print(f"At {peak}:00 UTC, {shares.index[0]} earns {shares.iloc[0, 2]:+.1%} more of the money than all day.")

# %%
title = f"Share of revenue, {currency}, at {peak}:00 UTC and all day"
bars(shares.reset_index(), ["at the peak", "all day"], "branch", title)

# %% [markdown]
# The same over time, and the busiest moment of each branch:

# %%
series = over_time(rp, scope)
assert series["revenue"].sum() == branches["revenue"].sum()
draw("over_time", series, scope)

# %% [markdown]
# ## What is viewed and not bought?
#
# Products that nobody bought, by how often they were looked at. It is the list to show to whoever sets the prices.

# %%
views = events[events["event_type"] == "view"].groupby("product_id", observed=True).agg(
    views=("product_id", "size"), category=("category", "first"), brand=("brand", "first")
)  # fmt: skip
bought = set(events.loc[events["event_type"] == "purchase", "product_id"])
unsold = views[~views.index.isin(bought)].sort_values("views", ascending=False)
assert views["views"].sum() == figures.loc[figures["event_type"] == "view", "events"].sum()
print(
    f"{len(unsold):,} of {len(views):,} products that were looked at were not bought: {unsold['views'].sum():,} views"
)
unsold.head(10)

# %%
bars(unsold.head(15).reset_index(), "views", "product_id", "Viewed most, and not bought")

# %% [markdown]
# And in the branch that earns most: how far sessions come, and the brands that are looked at most for each piece sold.

# %%
best = str(branches["category"].iloc[0])
inside = Scope((best,), since=begin, until=end, currency=currency)
steps = funnel(rp, inside)
draw("funnel", steps, inside)

# %%
top = brands(rp, inside)
assert top["revenue"].sum() <= by_hand[best] or len(top) < 20
top.assign(views_for_a_sale=top["views"] / top["units"].where(top["units"] > 0)).nlargest(5, "views_for_a_sale")[
    ["brand", "views", "units", "views_for_a_sale"]
]

# %% [markdown]
# ## How does the order value differ by category?
#
# Orders have lines, often of one branch. The average is revenue by orders; a few large orders move it, so the picture
# shows all of them.

# %%
draw("order_values", order_values(rp, scope), scope)

# %%
orders = money[money["event_type"] == "purchase"].groupby(["branch", "order_id"])["amount"].sum().reset_index()
orders["amount"] = orders["amount"].astype(float)
several = orders["branch"].value_counts()
often = orders[orders["branch"].isin(several[several >= 5].index)]
px.box(
    often.assign(branch=often["branch"].map(as_text)), x="amount", y="branch", log_x=True, height=420,
    title=f"Value of an order's part in each branch, {currency} (branches with five orders or more)",
).update_yaxes(type="category")  # fmt: skip

# %%
counted = events[events["event_type"] == "purchase"].drop_duplicates("order_id")
assert branches["orders"].sum() == len(counted)
branches.sort_values("average_order_value", ascending=False)[["category", "orders", "average_order_value"]].head()
