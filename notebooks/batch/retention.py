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
# # Batch: retention
#
# Lets old data go: Kafka deletes old messages, Cassandra drops old figures by minute (those by hour and by day stay),
# and, where asked, old rows of jobs' own tables go, and closed days leave the archive (their truth stays in `daily`).
# All tables of the catalogue count. The run fails before anything is changed when a job has yet to take messages that
# would go.

# %% tags=["parameters"]
from datetime import timedelta

topics: timedelta = timedelta(days=7)  # how long Kafka keeps messages
minutes: timedelta = timedelta(days=90)  # how long Cassandra keeps figures by minute
rows: timedelta | None = None  # how long Cassandra keeps rows that have a column of times; None: for good
archive: timedelta | None = None  # how long the archive keeps a closed day; None: for good

# %%
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.upkeep.retention import keep_archive, keep_minutes, keep_rows, keep_topics

settings = Settings.load()
print("Kafka:", ", ".join(keep_topics(settings, topics)), "keep messages for", topics)

# %%
print("Figures:", ", ".join(keep_minutes(settings, minutes)) or "no table yet", "for", minutes)
aged = keep_rows(settings, rows, topics=topics) if rows else []
print("Rows:", ", ".join(aged) or "no table", "for", rows or "good")

# %%
gone = keep_archive(settings, archive) if archive else []
print("Hive:", ", ".join(gone) or "no day", "left the archive")
