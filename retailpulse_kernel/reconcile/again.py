"""The notebook of a job, run once more as a batch, in a process and a namespace of its own."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.files import read_notebook
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.plan.finding import promoted
from retailpulse_kernel.streaming.run.batch import Again, Done, ask, found
from retailpulse_kernel.streaming.run.context import RunContext

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Made", "Notebook", "notebook_of", "run_again"]

#: What a batch made of each output that the notebook wrote, and its rows.
Made = dict[str, "tuple[Done, pa.Table | None]"]


@dataclass(frozen=True)
class Notebook:
    """A notebook that runs a job.

    Attributes
    ----------
    label : str
        What a reader of the report calls it.
    path : Path
        The file.
    parameters : dict of str to str
        What it is run with.
    """

    label: str
    path: Path
    parameters: dict[str, str]


def notebook_of(settings: Settings, job: str, given: Path | None) -> Notebook | None:
    """The notebook of a job: that of its current promoted version, else the given one; None where there is none.

    Parameters
    ----------
    settings : Settings
        Whose promoted versions.
    job : str
        The job.
    given : Path, optional
        The notebook for a job that was not promoted.

    Raises
    ------
    UsageError
        The given notebook is not there.
    """
    for version in promoted(settings):
        if version.plan.job == job:
            return Notebook(version.label, version.notebook, version.parameters)
    if given is None:
        return None
    read_notebook(given)
    return Notebook(given.name, given.absolute(), {})


def run_again(settings: Settings, notebook: Notebook, again: Again) -> tuple[Made, str]:
    """Run a notebook as a batch: what it made of each output, and why it failed before it came to the job.

    Parameters
    ----------
    settings : Settings
        The live namespace. It is only read.
    notebook : Notebook
        The notebook.
    again : Again
        What is done again.
    """
    digest = hashlib.blake2b(f"{settings.namespace.name}.{again.job}".encode(), digest_size=8).hexdigest()
    apart, failed = settings.within(f"batch_{digest}"), ""
    with tempfile.TemporaryDirectory(prefix="rp-") as name:
        folder = Path(name)
        ask(folder, again)
        context = RunContext(topics_of=settings.namespace.name, batch=name)
        try:
            run_notebook(
                apart.confined(), notebook.path, notebook.parameters,
                output=folder / "run.ipynb", context=context, temporary=folder,
            )  # fmt: skip
        except RetailPulseError as error:  # a batch that is done ends the notebook, too
            failed = error.message
        finally:
            drop(apart)
        made = {output: one for output in again.outputs if (one := found(folder, output)) is not None}
    return made, "" if made else failed
