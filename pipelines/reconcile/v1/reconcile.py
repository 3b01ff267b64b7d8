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
# # Batch: reconcile
#
# Every job's accounts, and the figures in Cassandra, HBase and Hive, against a plain fold of the
# topic. The run fails when anything differs, and names the first key that does. Jobs may go on
# meanwhile: only windows are compared that can't change any more.

# %% tags=["parameters"]
from datetime import datetime

since: datetime | None = None  # compare windows from this time on, UTC
until: datetime | None = None  # compare windows up to this time, UTC

# %%
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.reconcile import reconcile

result = reconcile(Settings.load(), since, until)

# %%
import pandas as pd

pd.DataFrame([{"job": job.job, **job.reported, "problems": "; ".join(job.problems)} for job in result.jobs])

# %%
pd.DataFrame(
    [
        {"currency": total.currency, "figure": figure, **by_source, "equal": total.equal}
        for total in result.totals
        for figure, by_source in total.figures.items()
    ]
)

# %%
pd.DataFrame(result.tables).drop(columns="first")

# %%
for line in [*result.notes, *result.differences]:
    print(line)
result.require_equal()
