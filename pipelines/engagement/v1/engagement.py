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
# # Job: engagement
#
# What each session did in each hour, and each user on each day, kept in HBase: `session_hour` and
# `user_day`. A session that crosses the hour has a row in both; its parts add up.

# %% tags=["parameters"]
from datetime import datetime, timedelta
from typing import Literal

run: Literal["continuous", "available_now", "backfill"] = "available_now"  # follow, take what is there, or write again
run_for: timedelta | None = None  # how long a continuous run lasts; None: until it is stopped
trigger: timedelta = timedelta(seconds=2)  # how often a continuous run starts a micro-batch
watermark: timedelta = timedelta(minutes=10)  # how far time runs ahead before an event is late
dedup_horizon: timedelta | None = None  # how long an id is known behind the watermark; None: as long as that is
since: datetime | None = None  # where a backfill begins; None: with the first event
until: datetime | None = None  # where it ends; None: where the job has come to
source: Literal["kafka", "archive"] = "kafka"  # what a backfill reads
late: Literal["exclude", "include"] = "exclude"  # whether a backfill counts late events, to close a day

# %%
import retailpulse_kernel as rp
from retailpulse_kernel.shop.figures import EVENTS, FIRST_EVENT, LAST_EVENT, ORDERS, PURCHASES, REVENUE, UNITS, VIEWS

job = rp.job(
    "engagement", run=run, run_for=run_for, trigger=trigger, since=since, until=until, source=source, late=late
)
# The job "metrics" publishes bad and late messages; here they are only counted.
events = job.events(watermark=watermark, dedup_horizon=dedup_horizon, rejects="count")

# %%
figures = (EVENTS, VIEWS, PURCHASES, UNITS, REVENUE, ORDERS, FIRST_EVENT, LAST_EVENT)

by_session = events.figures(*figures, by=["session_id", "user_id", "currency"], every=["1 hour"], table="session")
by_user = events.figures(*figures, by=["user_id", "currency"], every=["1 day"], table="user")
job.write(by_session, to=rp.hbase)
job.write(by_user, to=rp.hbase)

# %% tags=["test"]
job.test(
    "a session that crosses the hour has a row in both hours, its user one row a day",
    given="""
        event_type  event_time            user_id  session_id  price  quantity
        view        2026-01-31T10:50:00Z  u1       s1          12.50  1
        purchase    2026-01-31T11:10:00Z  u1       s1          12.50  2
    """,
    expected={
        "session_hour": """
            hour                  session_id  events  views  purchases  revenue
            2026-01-31T10:00:00Z  s1          1       1      0          0
            2026-01-31T11:00:00Z  s1          1       0      1          25.00
        """,
        "user_day": """
            day                   user_id  events  units  revenue
            2026-01-31T00:00:00Z  u1       2       2      25.00
        """,
    },
)

# %%
job.run()
