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
since: str | None = None  # the range; the last day when absent
until: str | None = None
currency: str = "USD"  # whose money is looked at

# %% [markdown]
# # What sells, and what is only looked at
#
# Questions about categories, each answered with a frame. `rp.explore()` asks the same by clicking; its *code behind
# it* is what stands here.

# %%
import retailpulse_kernel as rp
from retailpulse_kernel.live.drawing import draw
from retailpulse_kernel.live.exploring import Scope, brands, categories, funnel, hours, order_values, over_time
from retailpulse_kernel.spans import moment_of

last = None if since or until else "1d"
scope = Scope(last=last, since=moment_of(since), until=moment_of(until), currency=currency)
explorer = rp.explore(since=since, until=until, last=last, currency=currency)
explorer

# %% [markdown]
# ## Which categories earn the money?

# %%
branches = categories(rp, scope)
branches[["category", "revenue", "orders", "average_order_value"]]

# %%
draw("categories", branches, scope)

# %% [markdown]
# The branches add up to the whole, to the cent:

# %%
bounds = dict(zip(("since", "until"), scope.bounds(), strict=True))
everything = rp.figures(by="currency", **bounds).set_index("currency")
assert branches["revenue"].sum() == everything.loc[currency, "revenue"]
assert branches["orders"].sum() == everything.loc[currency, "orders"]

# %% [markdown]
# ## What sells at the peaks?
#
# The hour with the highest revenue, and the categories in it:

# %%
by_hour = hours(rp, scope)
peak = by_hour.loc[by_hour["revenue"].astype(float).idxmax()]
assert by_hour["revenue"].sum() == everything.loc[currency, "revenue"]
print(f"{int(peak['hour'])}:00 UTC, {peak['revenue']:,} {currency}")
draw("hours", by_hour, scope)

# %%
series = over_time(rp, scope)
at_peak = series[series["bucket"].dt.hour == int(peak["hour"])]
at_peak.groupby("category")["revenue"].sum().sort_values(ascending=False).head()

# %% [markdown]
# ## What is viewed and not bought?
#
# From the archive's single events: sessions by how far they came in the best-selling branch.

# %%
best = branches["category"].iloc[0]
inside = Scope((best,), scope.last, scope.since, scope.until, currency)
steps = funnel(rp, inside)
assert list(steps["sessions"]) == sorted(steps["sessions"], reverse=True) or steps["sessions"].iloc[0] > 0
draw("funnel", steps, inside)

# %% [markdown]
# Brands that are looked at most for each piece that is sold:

# %%
top = brands(rp, inside)
top.assign(views_for_a_sale=top["views"] / top["units"].where(top["units"] > 0)).nlargest(5, "views_for_a_sale")[
    ["brand", "views", "units", "views_for_a_sale"]
]

# %% [markdown]
# ## How does the order value differ?

# %%
draw("order_values", order_values(rp, scope), scope)

# %%
branches.sort_values("average_order_value", ascending=False)[["category", "orders", "average_order_value"]].head()
