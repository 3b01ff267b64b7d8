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
# # Taking a job to production
#
# What production runs is not this folder's notebooks but frozen versions of them: `retailpulse promote NOTEBOOK` takes
# one through a gate and freezes it, Airflow runs what was frozen, and `retailpulse rollback` leads back. Here a small
# job goes that way, in a folder and a namespace of its own. It needs the servers, and Spark for about a minute.

# %% tags=["parameters"]
namespace: str = "promoting"  # everything made here lies in this namespace
sample: int = 1_000  # events of the topic that a notebook is tried on

# %%
# %rp connect --namespace :namespace

# %%
import tempfile
from pathlib import Path

from retailpulse_kernel.feed.sample_shop import fill
from retailpulse_kernel.ground.settings import Settings

shop = fill(rp.connect(namespace=namespace), events=3_000)
folder = Path(tempfile.mkdtemp(prefix="promoting-"))
# The real one is `pipelines/` of the checkout, under git.
settings = Settings.load(namespace=namespace, pipelines=folder / "pipelines")

# %% [markdown]
# ## The notebook
#
# That of `writing_a_job`, in three cells. The first has the tag `parameters`.

# %%
import nbformat

CELLS = [
    """from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"
watermark: str = '10m'""",
    """import retailpulse_kernel as rp
from retailpulse_kernel.shop.figures import ORDERS, REVENUE, UNITS

job = rp.job("brands", run=run)
sold = job.events(watermark=watermark, rejects="count").where("event_type = 'purchase' and brand is not null")
by_brand = sold.figures(UNITS, REVENUE, ORDERS, by=["currency", "brand"], every=["1 day"], table="brand")
job.write(by_brand, to=rp.cassandra)""",
    "job.run()",
]


def saved(cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    path = folder / "brands.ipynb"
    nbformat.write(notebook, path)
    return path


# %% [markdown]
# ## What the gate refuses
#
# Some things are told without running anything: outputs, secrets, absolute paths, parameters without a type or that
# nothing reads. In a terminal this is `retailpulse promote brands.ipynb`.

# %%
from retailpulse_kernel.promotion.gate.gate import promote


def shown(step):
    print(f"{step.name:<12} {step.found}  {step.verdict}")


# A parameter without a type, and a path that only this machine has.
wrong = promote(settings, saved(["run = 'available_now'", *CELLS[1:]]), report=shown)
assert not wrong.ok and wrong.version is None and not (folder / "pipelines").exists()
wrong.sentence()

# %% [markdown]
# ## Through the gate
#
# It is run beside production, in a *shadow* namespace that is removed afterwards, on a sample of the live topic. Every
# message of it must be accounted for, and what it writes must have unique keys.

# %%
first = promote(settings, saved(CELLS), sample=sample, report=shown)
assert first.ok and first.version is not None, first.sentence()
first.sentence()

# %% [markdown]
# What was frozen is the notebook, its script for reviews, and a manifest: parameters, schedule, environment, verdict.

# %%
print("\n".join(sorted(str(path.relative_to(folder)) for path in (folder / "pipelines").rglob("*") if path.is_file())))
print((first.version.folder / "manifest.toml").read_text()[:900])

# %% [markdown]
# The same notebook once more changes nothing, so a pipeline that promotes on every commit restarts nothing.

# %%
same = promote(settings, saved(CELLS), sample=sample, report=shown)
assert same.unchanged and same.version is None
same.sentence()

# %% [markdown]
# ## A change, and what it means
#
# An hour's windows beside the day's. Where the job has a checkpoint already, the gate tries the change on a copy of
# it, and says whether the job can go on from there, begins anew and writes its tables again, or must stay out.

# %%
changed = [CELLS[0], CELLS[1].replace('every=["1 day"]', 'every=["1 hour", "1 day"]'), CELLS[2]]
second = promote(settings, saved(changed), sample=sample, report=shown)
assert second.ok and second.version.label == "v2", second.sentence()
second.sentence()

# %%
from retailpulse_kernel.promotion.registry.diffing import diff_versions

difference = "\n".join(diff_versions(settings, "brands", "v1", "v2").lines())
assert "1 hour" in difference
print(difference)

# %% [markdown]
# ## And back

# %%
from retailpulse_kernel.promotion.cutover.overview import overview
from retailpulse_kernel.promotion.cutover.versions import rollback

before = overview(settings)
rollback(settings, "brands")
after = overview(settings)
assert (before[0]["version"], after[0]["version"]) == ("v2", "v1")
after

# %% [markdown]
# ## A picture of the gate
#
# What each dry run wrote, as the steps said.

# %%
import re

import pandas as pd
import plotly.express as px

tables = {p.version.label: {s.name: s.found for s in p.steps}["tables"] for p in (first, second)}
rows = [
    {"version": version, "table": name, "rows": int(count.replace(",", ""))}
    for version, found in tables.items()
    for name, count in re.findall(r"(\w+_(?:day|hour|minute)) ([\d,]+)", found)
]
assert {row["table"] for row in rows if row["version"] == "v2"} == {"brand_hour", "brand_day"}
px.bar(pd.DataFrame(rows), x="version", y="rows", color="table", title="Rows that each dry run wrote", height=320)

# %% [markdown]
# ## In production
#
# Airflow makes a DAG of each promoted job (`dags/`); `retailpulse run brands` runs the current version once, by hand.
# `retailpulse jobs` lists them with their lag, `retailpulse runs brands` their output notebooks, and
# `retailpulse pause brands` holds one after its micro-batch. What this notebook made is removed:

# %%
import shutil

from retailpulse_kernel.stores import namespaces

shutil.rmtree(folder)
namespaces.drop(settings)
