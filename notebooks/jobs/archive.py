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
# # Job: archive
#
# Every valid event, with the message it came in and the place where that stood in Kafka, kept in
# Hive's table `events`, partitioned by day and hour. Late events are kept too, flagged.

# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow the topic, or take what is there
run_for: timedelta | None = None  # how long a continuous run lasts; None: until it is stopped
trigger: timedelta = timedelta(seconds=15)  # longer than the other jobs': every micro-batch leaves files
watermark: timedelta = timedelta(minutes=10)  # how far time runs ahead before an event is late
dedup_horizon: timedelta | None = None  # how long an id is known behind the watermark; None: as long as that is

# %%
import retailpulse_kernel as rp

job = rp.job("archive", run=run, run_for=run_for, trigger=trigger)
# The job "metrics" publishes bad and late messages; here they are only counted.
events = job.events(watermark=watermark, dedup_horizon=dedup_horizon, rejects="count")

# %%
job.write(events, to=rp.hive)

# %% tags=["test"]
job.test(
    "an event is kept once, in its hour",
    given="""
        event_id  event_time            user_id
        e1        2026-01-31T10:59:59Z  u1
        e2        2026-01-31T11:00:00Z  u2
        e1        2026-01-31T11:30:00Z  u1
    """,
    expected="""
        event_id  user_id  dt          hour  late
        e1        u1       2026-01-31  10    false
        e2        u2       2026-01-31  11    false
    """,
)

# %%
job.run()
