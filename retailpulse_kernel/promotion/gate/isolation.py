"""The process of a trial: it can write into one namespace and a few folders only, and gets no foreign secrets.

``python -m retailpulse_kernel.promotion.gate.isolation MODULE:FUNCTION REQUEST RESULT`` makes files read-only for
itself and all that it starts, calls the function with the request's content, and writes what that returns.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.promotion.gate.landlock import make_read_only
from retailpulse_kernel.stores.base import Local
from retailpulse_kernel.stores.registry import open_store, used

__all__ = ["CELL", "explained", "remove_own_folders", "run_apart", "trial_environment"]

#: Variables that tell programs where things are and how to speak; none of them is a secret.
_KEPT = {
    "COLUMNS", "CONDA_PREFIX", "DBUS_SESSION_BUS_ADDRESS", "DYLD_LIBRARY_PATH", "HADOOP_CONF_DIR", "HADOOP_HOME",
    "HOME", "JAVA_HOME", "JDK_JAVA_OPTIONS", "KRB5CCNAME", "KRB5_CONFIG", "LANG", "LANGUAGE", "LD_LIBRARY_PATH",
    "LOGNAME", "PATH", "SHELL", "SPARK_CONF_DIR", "SPARK_HOME", "SPARK_LOCAL_IP", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "TERM", "TZ", "USER", "VIRTUAL_ENV", "YARN_CONF_DIR",
}  # fmt: skip
_KEPT_BEGINNINGS = ("LC_", "PYTHON", "XDG_")
#: Seconds that a stopped trial has to end its notebook.
_ENDING_SECONDS = 60
_LAST_LINES = 3
#: The file, among the trial's temporary ones, with the number of the cell that runs.
CELL = "cell"


def trial_environment(shadow: Settings, folder: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment variables of a trial: those that say where things are, and the secrets of its servers.

    Parameters
    ----------
    shadow : Settings
        The namespace that the notebook is tried in.
    folder : Path
        The trial's own folder for temporary files.
    environ : mapping
        What to choose from.
    """
    kept = {n: text for n, text in environ.items() if n in _KEPT or n.startswith(_KEPT_BEGINNINGS)}
    needed = {n: environ[n] for n in _references(shadow) if n in environ}
    own = {
        "TMPDIR": folder,
        "IPYTHONDIR": folder / "ipython",
        "JUPYTER_RUNTIME_DIR": folder / "jupyter",
        "MPLCONFIGDIR": folder / "matplotlib",
    }
    return {**kept, **needed, **{n: str(path) for n, path in own.items()}, **environment(shadow.confined())}


def _references(settings: Settings) -> Iterator[str]:
    """The variables that a profile refers to for the servers which a notebook uses."""
    servers = settings.profile.model_dump(
        include={"kafka", "cassandra", "hbase", "hive", "registry", "spark", "stores"}
    )
    values: list[Any] = list(servers.values())
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, str) and value.startswith("env:"):
            yield value.removeprefix("env:")


def run_apart(shadow: Settings, function: str, request: bytes, *, timeout: float, log: Path | None = None) -> bytes:
    """Call a function in a process that is confined to a namespace, and return its result.

    Parameters
    ----------
    shadow : Settings
        The namespace.
    function : str
        The function as ``module:name``, which is called with the settings and the request.
    request : bytes
        The request, as the function reads it.
    timeout : float
        Seconds that the process may take.
    log : Path, optional
        Gets the process's stderr.

    Raises
    ------
    JobError
        The process died, or took too long.
    """
    # Short, in the system's own place: sockets are made below it, whose paths have at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="rp-"))
    asked, answer, said = folder / "request", folder / "result", folder / "stderr"
    asked.write_bytes(request)
    command = [sys.executable, "-m", "retailpulse_kernel.promotion.gate.isolation", function, str(asked), str(answer)]
    try:
        with (log or said).open("ab") as stderr:
            code = _wait(command, trial_environment(shadow, folder), stderr, timeout)
        if code or not answer.is_file():
            raise _ended(code, folder / CELL, log or said)
        return answer.read_bytes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def explained(failure: str, namespace: str) -> str:
    """The error of a cell, with what only the trial knows: where files may be written, and whose namespace it is.

    >>> explained("There is no keyspace 'shadow_a'.", "shadow_a").partition(". ")[2]
    "'shadow_a' is the trial's namespace: the job makes its tables there, in job.run()."

    Parameters
    ----------
    failure : str
        The error, in a line.
    namespace : str
        The trial's.
    """
    if "PermissionError" in failure:
        failure += " During the trial, a notebook may write files only below `tempfile.gettempdir()`."
    if namespace in failure:
        failure += f" {namespace!r} is the trial's namespace: the job makes its tables there, in job.run()."
    return failure


def _ended(code: int, cell: Path, said: Path) -> JobError:
    """Why there is no answer: a cell has ended the process, or the process has failed."""
    if code >= 0 and cell.is_file():
        return JobError(
            f"Cell {cell.read_text()} ended the trial's process, with the exit code {code}.",
            remedy="Remove what ends the process, such as os._exit(). A cell that raises an error ends the run.",
        )
    lines = [line for line in said.read_text(errors="replace").splitlines() if line.strip()]
    return JobError(f"The trial ended with {code}: {' '.join(lines[-_LAST_LINES:])}")


def _wait(command: list[str], env: dict[str, str], stderr: IO[bytes], timeout: float) -> int:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, env=env)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise JobError(f"The trial did not end within {timeout:.0f} s.", remedy="See whether a cell waits.") from None
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _writable(settings: Settings) -> Iterator[Path]:
    """The folders of a trial."""
    yield Path(tempfile.gettempdir())
    yield Path(os.devnull).parent
    for folder in _own_folders(settings):
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def _own_folders(settings: Settings) -> list[Path]:
    """The folders of a namespace, and of no other."""
    own = [settings.home / kind / settings.namespace.name for kind in ("runs", "metrics", "locks")]
    own += [Path(settings.checkpoints.removeprefix("file://"))] if _is_local(settings.checkpoints) else []
    for store in (open_store(name, settings) for name in used(settings, Local)):
        assert isinstance(store, Local), "it has registered as one"
        own += store.folders()
    return own


def remove_own_folders(settings: Settings) -> None:
    """Remove the folders of a trial that has left nothing elsewhere.

    Parameters
    ----------
    settings : Settings
        The trial's namespace.
    """
    for folder in _own_folders(settings):
        shutil.rmtree(folder, ignore_errors=True)


def _is_local(location: str) -> bool:
    return urlparse(location).scheme in ("", "file")


def main(function: str, request: str, result: str) -> None:
    """Answer a request; in the other process.

    Parameters
    ----------
    function : str
        As ``module:name``.
    request, result : str
        The files with the request, and for the result.
    """
    settings = Settings.load()
    # Before any other thread starts: the restriction holds for this thread and what it starts.
    make_read_only(_writable(settings))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    module, _, name = function.partition(":")
    Path(result).write_bytes(getattr(importlib.import_module(module), name)(settings, Path(request).read_bytes()))


def _end_with(parent: int) -> None:
    """End when the parent process has ended: nothing would read the result."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
