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
# # Batch: close the day
#
# Once the archive has all of a day, its small files are merged and the day's truth is written to Hive's table
# `daily`: events, units, revenue and orders by currency, category and type, late events counted too, each event
# once. A day of which late events come afterwards is closed again; closing a day twice gives the same rows.
#
# It runs whenever the job `archive` has ended a run, and most of the time finds nothing to do.

# %% tags=["parameters"]
from datetime import datetime, timedelta

settle: timedelta = timedelta(hours=1)  # how long after its end a day is closed
look_back: timedelta = timedelta(days=7)  # how far back late events open a day again
day: datetime | None = None  # this day, over or not; None: those that are over and not closed

# %%
import retailpulse_kernel as rp
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.upkeep.closing import close_day, days_to_close

settings = Settings.load()
days = [day.date()] if day else days_to_close(settings, settle=settle, look_back=look_back)
print(f"To close: {', '.join(map(str, days)) or 'nothing'}.")

# %%
if days:
    done = rp.hive.compact()
    print(f"{done.files_before:,} files became {done.files_after:,}; {done.rows:,} rows were merged.")

# %%
truth = {one: close_day(settings, one) for one in days}
for one, frame in truth.items():
    print(f"{one}: {frame['events'].sum():,} events, {frame['late'].sum():,} of them late")

# %%
import pandas as pd

figures = ["events", "units", "revenue", "orders", "late"]
pd.concat({one: frame.groupby("currency")[figures].sum() for one, frame in truth.items()}) if truth else None
