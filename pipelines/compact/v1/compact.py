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
# # Batch: compact the archive
#
# The job `archive` leaves a few small files an hour of event time with every micro-batch. This merges
# them into one file an hour, beside the running job. Run it hourly; killed at any moment, it leaves
# nothing that the next run, or the job's next batch, does not complete.

# %% tags=["parameters"]
target_mb: int = 256  # a merged file gets no larger than this
fewest: int = 2  # fewer files of an hour than this are left as they are

# %%
import retailpulse_kernel as rp

done = rp.hive.compact(target_bytes=target_mb * 2**20, fewest=fewest)
print(
    f"{done.rows:,} rows of {done.partitions} hours merged into {done.bytes:,} bytes; "
    f"{done.files_before:,} files before, {done.files_after:,} after."
)
done
