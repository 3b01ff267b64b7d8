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
# # Batch: data quality
#
# The newest part of the stream. The notebook judges what share of the messages is bad or late, whether more events
# than usual have no category, and whether a type of event fell silent while others went on. What is usual is the time
# before: some shops have no category for a third of their events. What is too little to judge is not judged, and says
# so. A stream that is silent as a whole raises the alert NoEvents instead. The run fails when something is not as
# expected, and says what; Airflow does not retry it.

# %% tags=["parameters"]
from datetime import datetime, timedelta

last: timedelta = timedelta(hours=1)  # what is judged
before: timedelta = timedelta(days=1)  # the time before: what is usual
until: datetime | None = None  # up to when, UTC; None: now
bad: float = 0.05  # the largest share of bad messages
late: float = 0.05  # the largest share of late events
unknown: float = 0.1  # by how much the share of events of no category may be above the usual one
age: timedelta = timedelta(minutes=15)  # how old a table may be while messages wait for its job
nulls: float | None = 0.1  # by how much a column's share of nulls may be above the usual one; None: no rows are read
silence: timedelta = timedelta(minutes=15)  # how long a type of event may be silent, or twice as long as it was before

# %%
from datetime import UTC

import pandas as pd

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.upkeep.quality import Limits, quality, require
from retailpulse_kernel.upkeep.table_quality import TableLimits, table_quality

limits = Limits(bad=bad, late=late, unknown=unknown, silence=silence)
settings, end = Settings.load(), until or datetime.now(UTC)
found = quality(settings, limits, until=end, last=last, before=before)
pd.DataFrame(found)

# %% [markdown]
# Every table of a promoted job is judged, too: whether its job keeps up with the topic, whether a column has more nulls
# than usual, and whether values of columns that are called as fields of the contract keep the rules of these fields.

# %%
tables = table_quality(settings, TableLimits(age, nulls), until=end, last=last, before=before)
pd.DataFrame(tables)

# %%
require([*found, *tables])
