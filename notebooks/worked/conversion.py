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
# # Worked: conversion by device and campaign
#
# How many of the views end in an order, by device and by campaign, every five minutes. Shown here: fields of the
# shop's own, and windows of any width.
#
# `device` and `campaign` are fields of the contract `shop.toml` beside this notebook. Name the contract in your
# profile, or start the kernel with `RETAILPULSE_CONTRACT=notebooks/worked/shop.toml`. `retailpulse generate --context`
# sends events that have both.

# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow the topic, or take what is there
run_for: timedelta | None = None  # how long a continuous run lasts; None: until it is stopped
trigger: timedelta = timedelta(seconds=5)  # how often a continuous run starts a micro-batch
watermark: timedelta = timedelta(minutes=10)  # how far time runs ahead before an event is late

# %%
import retailpulse_kernel as rp
from retailpulse_kernel.shop.figures import ORDERS, VIEWS, Figure, Ratio, count

job = rp.job("conversion", run=run, run_for=run_for, trigger=trigger)
# The job "metrics" publishes bad and late messages; here they are only counted.
events = job.events(watermark=watermark, rejects="count")
# An event that violates this is counted, and the run's report says how many did.
events.expect("the device is known", "device <> 'unknown'")

# %% [markdown]
# ## What is counted
#
# A table keeps what can be added up: views, carts, orders. The share is divided when it is read. So one table answers
# for five minutes, an hour, or all devices together.

# %%
CARTS = Figure("carts", "Carts", count(), where="add_to_cart")
CONVERSION = Ratio("conversion", "Conversion", ORDERS, VIEWS)

by_campaign = events.figures(VIEWS, CARTS, ORDERS, by=["device", "campaign"], every=["5 minutes"], table="conversion")
job.write(by_campaign, to=rp.cassandra)

# %% tags=["test"]
job.test(
    "an order counts once, and in the five minutes in which it was made",
    given="""
        event_type   event_time            device  campaign  order_id  order_line  price
        view         2026-01-31T10:00:00Z  phone   spring    null      null        5.00
        view         2026-01-31T10:04:59Z  phone   spring    null      null        5.00
        add_to_cart  2026-01-31T10:04:59Z  phone   spring    null      null        5.00
        purchase     2026-01-31T10:05:00Z  phone   spring    o1        1           5.00
        purchase     2026-01-31T10:05:00Z  phone   spring    o1        2           7.00
        view         2026-01-31T10:05:30Z  null    null      null      null        5.00
    """,
    expected="""
        minutes_5             device   campaign  views  carts  orders
        2026-01-31T10:00:00Z  phone    spring    2      1      0
        2026-01-31T10:05:00Z  phone    spring    0      0      1
        2026-01-31T10:05:00Z  unknown  none      1      0      0
    """,
)

# %%
job.run()

# %% [markdown]
# ## What was written
#
# Of all five-minute windows together: each campaign's views, orders, and their share.

# %%
rp.figures(VIEWS, CARTS, ORDERS, CONVERSION, by=["device", "campaign"], table="conversion")
