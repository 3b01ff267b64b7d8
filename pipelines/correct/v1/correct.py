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
# # Batch: correct the figures
#
# The jobs leave late events out. This adds them, from the archive, each event once: what late events add to a window
# is kept beside the table, and `rp.figures` and the read API show both together. Run it every few minutes; killed
# at any moment, it leaves nothing that the next run does not complete.

# %%
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.upkeep.correcting import correct

done = correct(Settings.load())
print(f"{done.changed:,} rows were corrected in {done.seconds:.1f} s.")
for note in done.notes:
    print(note)

# %%
import pandas as pd

pd.DataFrame([vars(table) for table in done.tables], columns=["store", "table", "job", "late_events", "changed"])
