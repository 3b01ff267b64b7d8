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
# # The shop, live
#
# `rp.live()` shows the four canonical figures while events arrive: revenue over time with its running total and its
# peaks, the average order value, revenue by category, events by type. The strip above says how many events come in,
# how many of them the stored figures do not hold yet, and what was late, bad or a duplicate.
#
# It needs events and the job *metrics*: `make demo` in a terminal brings both.

# %%
import retailpulse_kernel as rp

view = rp.live(window="1h")
view

# %% [markdown]
# All controls are answered in the browser, so they work while a cell runs:
#
# - **Pause** stops drawing and loses nothing; the list beside it says how much is shown, from 5 minutes to a day.
# - Money of different currencies is never added up: choose one. Categories are a tree; a branch holds all below it.
# - The slider goes back in time, **Replay** plays from there at 1x to 60x, **Live** returns.
# - **Freeze** keeps a copy of the charts below the view, **Export** saves them with their data as one HTML file.
#
# A minute that is not over is a hollow point at the end of dashes, and is not counted as a peak. In `rp.figures` by
# `bucket` the column `complete` says the same.
#
# ## Where the numbers come from
#
# The stored figures are the truth. Each stored row says by its write time which micro-batch wrote it, and the batch's
# account says up to which message it read; the view adds only what came behind that, folded from Kafka in a process of
# its own, which takes nothing from your cells. So a view and `rp.figures` agree to the cent as soon as the job has
# taken an event. Above 10,000 events a second (`fold_up_to=`), or when the job is far behind, the view follows the
# stored figures alone, and says so.

# %%
from decimal import Decimal

import pandas as pd

until = pd.Timestamp.now("UTC").floor("min")  # of the present minute, more may come
since = until - pd.Timedelta("30min")
stored = rp.figures(by=["bucket", "category"], since=since, until=until, grain="minute")
stored.groupby("currency")["revenue"].sum()

# %% [markdown]
# The same from what the view holds, by minute and key, once a browser shows it. In a run without a browser (papermill,
# Airflow) nobody asks the view for anything, so it holds nothing.

# %%
held = view.frame
inside = held[(held["bucket"] >= since) & (held["bucket"] < until)]
if len(held):
    for currency, rows in inside.groupby("currency"):
        mine = rows["revenue"].sum()
        assert abs(mine - stored.loc[stored["currency"] == currency, "revenue"].sum()) < Decimal("0.005"), currency
inside.groupby("currency")["revenue"].sum()

# %% [markdown]
# A view lives on while this kernel does. It rests when no browser shows it, and ends with:

# %%
view.stop()
