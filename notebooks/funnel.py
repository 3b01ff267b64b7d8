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
# # Who stays, and who buys
#
# Sessions are what the job *engagement* keeps in HBase, single events are what *archive* keeps in Hive. This notebook
# needs the servers, but no job and no Spark: it fills a namespace of its own with a small shop, so that every answer
# can be checked against what was really sent. On your own shop, leave the cell with `fill` out.

# %% tags=["parameters"]
namespace: str = "funnel"  # everything made here lies in this namespace
events: int = 6_000  # how many the shop has

# %%
# %rp connect --namespace :namespace

# %%
from retailpulse_kernel.feed.sample_shop import fill

shop = fill(rp.connect(namespace=namespace), events=events)
len(shop)

# %% [markdown]
# ## How long do sessions last?
#
# A row of `session_hour` is a session's part in one hour: one that crosses the hour has two, and its parts add up.

# %%
parts = rp.hbase.scan("session_hour", limit=None)
sessions = parts.groupby("session_id", observed=True).agg(
    events=("events", "sum"),
    views=("views", "sum"),
    purchases=("purchases", "sum"),
    first=("first_event", "min"),
    last=("last_event", "max"),
)
sessions["minutes"] = (sessions["last"] - sessions["first"]).dt.total_seconds() / 60
sessions[["events", "views", "purchases", "minutes"]].describe()

# %% [markdown]
# Is that every session? What was sent says so:

# %%
from collections import Counter

sent = Counter(event.session_id for event in shop)
assert sessions["events"].to_dict() == dict(sent)
assert sessions["purchases"].sum() == sum(event.event_type == "purchase" for event in shop)
print(f"{len(sessions):,} sessions, {sessions['events'].sum():,} events, none of them lost or counted twice")

# %%
import plotly.express as px

px.histogram(sessions, x="minutes", nbins=40, title="Minutes from a session's first event to its last", height=320)

# %% [markdown]
# Half of all sessions are a single look. The picture is of the others, too: who stays longer, buys more often.

# %%
from retailpulse_kernel.answers.questions import Scope, categories, engagement, funnel
from retailpulse_kernel.live.drawing import bars, draw

scope = Scope()  # all categories, all there is; Scope(("electronics",), last="1d") is one branch's last day
lengths = engagement(rp, scope)
lengths["share_that_buys"] = lengths["buyers"] / lengths["sessions"].where(lengths["sessions"] > 0)
assert lengths["sessions"].sum() == len(sent)
assert lengths["buyers"].sum() == len({event.session_id for event in shop if event.event_type == "purchase"})
lengths

# %%
draw("engagement", lengths, scope)

# %% [markdown]
# ## Where do they leave?
#
# The funnel counts sessions that came to each step. In a real shop some buy what they never put into a cart, as with
# a button that buys at once, so a step may have sessions that the step before has not.

# %%
steps = funnel(rp, scope)
reached = {step: {event.session_id for event in shop if event.event_type == step} for step in steps["step"]}
assert dict(zip(steps["step"], steps["sessions"], strict=True)) == {step: len(ids) for step, ids in reached.items()}
print(f"{len(reached['purchase'] - reached['add_to_cart']):,} of {len(reached['purchase']):,} buy without a cart")
draw("funnel", steps, scope)

# %% [markdown]
# ## Is it the same in every branch?

# %%
import pandas as pd

branches = categories(rp, scope)["category"].astype(str)
rows = []
for branch in branches:
    counts = funnel(rp, Scope((branch,))).set_index("step")["sessions"]
    rows.append({"branch": branch, **counts, "buys": counts["purchase"] / counts["view"] if counts["view"] else None})
by_branch = pd.DataFrame(rows).sort_values("buys", ascending=False, ignore_index=True)
by_branch

# %%
# A session that looks at two branches is counted in both.
for row in by_branch.itertuples():
    looked = {e.session_id for e in shop if e.event_type == "view" and e.category.split(".")[0] == row.branch}
    assert row.view == len(looked), row.branch
bars(by_branch, "buys", "branch", "Share of the sessions with a view that buy, by branch")

# %% [markdown]
# ## By clicking
#
# The explorer asks the same; *the code behind it* is what stands above.

# %%
rp.explore(question="funnel", last=None)
