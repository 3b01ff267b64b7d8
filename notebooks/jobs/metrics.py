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
# # Job: metrics
#
# Sales and engagement by category, in windows of a minute, an hour and a day, kept in Cassandra:
# `category_minute`, `category_hour`, `category_day`. Dashboards, live views and
# `retailpulse figures` read them.
#
# Bad messages go to the dead-letter topic and late events to the topic of late events; this job
# publishes them, the other jobs only count them.

# %% tags=["parameters"]
from datetime import datetime, timedelta
from typing import Literal

run: Literal["continuous", "available_now", "backfill"] = "available_now"  # follow, take what is there, or write again
run_for: timedelta | None = None  # how long a continuous run lasts; None: until it is stopped
trigger: timedelta = timedelta(seconds=1)  # how often a continuous run starts a micro-batch
watermark: timedelta = timedelta(minutes=10)  # how far time runs ahead before an event is late
dedup_horizon: timedelta | None = None  # how long an id is known behind the watermark; None: as long as that is
since: datetime | None = None  # where a backfill begins; None: with the first event
until: datetime | None = None  # where it ends; None: where the job has come to
source: Literal["kafka", "archive"] = "kafka"  # what a backfill reads
late: Literal["exclude", "include"] = "exclude"  # whether a backfill counts late events, to close a day

# %%
import retailpulse_kernel as rp
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, ORDERS, REVENUE, UNITS

job = rp.job("metrics", run=run, run_for=run_for, trigger=trigger, since=since, until=until, source=source, late=late)
events = job.events(watermark=watermark, dedup_horizon=dedup_horizon)

# %%
by_category = events.figures(
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

# %% tags=["test"]
job.test(
    "revenue and units are those of purchases, users are counted once",
    given="""
        event_type  event_time            user_id  category  price  quantity
        purchase    2026-01-31T10:00:00Z  u1       toys      12.50  2
        purchase    2026-01-31T10:20:00Z  u1       toys      5.00   1
        view        2026-01-31T10:30:00Z  u2       toys      5.00   1
        view        2026-01-31T11:00:00Z  u2       toys      5.00   1
    """,
    expected={
        "category_hour": """
            hour                  category  event_type  events  units  revenue  orders  active_users
            2026-01-31T10:00:00Z  toys      purchase    2       3      30.00    2       1
            2026-01-31T10:00:00Z  toys      view        1       0      0        0       1
            2026-01-31T11:00:00Z  toys      view        1       0      0        0       1
        """
    },
)

# %%
job.run()
