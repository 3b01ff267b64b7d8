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
# # Worked: a score for each event
#
# How likely it is that somebody buys what they look at, as a model sees it: a number between 0 and 1 for each view and
# each cart. Cassandra serves the score of an event, and Hive keeps all scores. Shown here: a model in a Python
# function, and one DataFrame in two stores.
#
# The model is `score.json` beside this notebook: the coefficients of a logistic regression. A model of scikit-learn
# takes its place with two lines: `job.model("score.joblib", load=joblib.load)`, and
# `model().predict_proba(features)[:, 1]` in the function.

# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow the topic, or take what is there
run_for: timedelta | None = None  # how long a continuous run lasts; None: until it is stopped
trigger: timedelta = timedelta(seconds=5)  # how often a continuous run starts a micro-batch
watermark: timedelta = timedelta(minutes=10)  # how far time runs ahead before an event is late

# %%
import json
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import functions as F

import retailpulse_kernel as rp

job = rp.job("score", run=run, run_for=run_for, trigger=trigger)
# The job "metrics" publishes bad and late messages; here they are only counted.
events = job.events(watermark=watermark, rejects="count")

# %% [markdown]
# ## The model
#
# Each worker loads the file once. The promoted version has a copy of it.

# %%


def load(path):
    return json.loads(Path(path).read_text())


model = job.model("score.json", load=load)


@F.pandas_udf("double")
def score(price: pd.Series, carted: pd.Series) -> pd.Series:
    weights = model()
    log_price = np.log1p(price.astype(float))
    sums = weights["intercept"] + weights["log_price"] * log_price + weights["carted"] * carted.astype(float)
    return pd.Series(1 / (1 + np.exp(-sums)))


# %% [markdown]
# ## What is written
#
# Four digits are kept: a decimal is the same in every store.

# %%
carted = F.col("event_type") == "add_to_cart"
scores = (
    events.df.where("event_type IN ('view', 'add_to_cart') AND price IS NOT NULL")
    .withColumn("score", score("price", carted).cast("decimal(5,4)"))
    .select("event_id", "event_time", "user_id", "product_id", "score")
)
job.write(scores, to=rp.cassandra, table="scores", key="event_id")
job.write(scores, to=rp.hive, table="scores")

# %% tags=["test"]
# By hand: log(1 + 19) = 2.995732; -1 - 0.5 * 2.995732 = -2.497866, whose logistic function is 0.0760.
# In the cart: -2.497866 + 2 = -0.497866, which gives 0.3780.
SCORES = """
    event_id  score
    e1        0.0760
    e2        0.3780
"""
job.test(
    "a product in the cart has a higher score, and a purchase has none",
    given="""
        event_id  event_type   event_time            price
        e1        view         2026-01-31T10:00:00Z  19.00
        e2        add_to_cart  2026-01-31T10:01:00Z  19.00
        e3        purchase     2026-01-31T10:02:00Z  19.00
        e4        view         2026-01-31T10:03:00Z  null
    """,
    expected={"scores": SCORES},
)

# %%
job.run()

# %% [markdown]
# ## What was written
#
# The newest scores as Hive has them.

# %%
rp.table("scores", store="hive", order="-event_time", limit=20)
