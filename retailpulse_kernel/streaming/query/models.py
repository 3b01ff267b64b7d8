"""Models: files beside a notebook that a job's Python functions load, once in each worker."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.files import put_in_place
from retailpulse_kernel.stores.spark.session import scratch_folder

if TYPE_CHECKING:
    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["Model", "model_of"]

#: What this process has loaded, by the file's name among those of Spark.
_LOADED: Final[dict[str, Any]] = {}


class Model:
    """A model, to be called within a Python function of a job.

    >>> @F.pandas_udf("double")  # doctest: +SKIP
    ... def score(price: pd.Series) -> pd.Series:
    ...     return pd.Series(model().predict(price.to_frame()))

    Parameters
    ----------
    name : str
        The file's name.
    sha256 : str
        Of its content.
    load : callable
        Makes the model of the file's path.
    """

    def __init__(self, name: str, sha256: str, load: Callable[[str], Any]) -> None:
        # The meaning of a function that uses the model has all that is here: no path may be among it.
        self.name, self.sha256, self.load = name, sha256, load

    @property
    def file(self) -> str:
        """The file's name among those that Spark gives its workers."""
        return f"{self.sha256[:16]}-{self.name}"

    def __call__(self) -> Any:
        """The model; loaded when the process first asks for it."""
        from pyspark import SparkFiles

        if self.file not in _LOADED:
            _LOADED[self.file] = self.load(SparkFiles.get(self.file))
        return _LOADED[self.file]


def model_of(job: Job, name: str, load: Callable[[str], Any]) -> Model:
    """A file beside the notebook as a model, which Spark gives its workers.

    Parameters
    ----------
    job : Job
        Whose functions use it.
    name : str
        The file's name.
    load : callable
        Makes the model of the file's path.

    Raises
    ------
    UnknownName
        There is no such file.
    UsageError
        It is not the name of a file beside the notebook.
    """
    folder = Path(job.context.folder or Path.cwd())
    if Path(name).name != name:
        raise UsageError(
            f"The model {name!r} is not beside the notebook.",
            remedy="Put the file into the notebook's folder, and name it without a path.",
        )
    if not (folder / name).is_file():
        files = (path.name for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
        raise UnknownName("model beside the notebook", name, files)
    with (folder / name).open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    model = Model(name, sha256, load)
    # Spark takes a file by its name, once: another content needs another name.
    given = scratch_folder(job.settings) / "models" / model.file
    if not given.exists():
        given.parent.mkdir(parents=True, exist_ok=True)
        aside = given.with_name(f".{given.name}-{os.getpid()}")
        shutil.copyfile(folder / name, aside)
        put_in_place(aside, given, synced=False)
    job.spark.sparkContext.addFile(str(given))
    return model
