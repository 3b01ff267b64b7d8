"""Airflow as one of the local servers: its secrets, its database, its health, and how people log in.

Four processes: the API server with the user interface, the scheduler that also runs the tasks, the reader of
DAGs, and the triggerer. ``airflow standalone`` would leave children behind when it is stopped.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.credentials import resolve_secret
from retailpulse_kernel.ground.errors import ServiceError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.settings import environment as of_settings
from retailpulse_kernel.machine.daemon import Supervisor
from retailpulse_kernel.telemetry.statsd import STATSD_PORT

__all__ = [
    "USERS",
    "delete_dag",
    "environment",
    "is_up",
    "login",
    "make_secrets",
    "prepare",
    "require_healthy",
    "values",
]

#: Who may log in; the first may do everything, the other one look.
USERS = ("admin", "viewer")
#: The name of each process in what the API server says of itself.
_COMPONENTS = {
    "airflow-api-server": "metadatabase",
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag_processor",
    "airflow-triggerer": "triggerer",
}
_SECONDS = 5.0
#: What Airflow reads where no checkout has the project's own `dags` folder.
_FACTORY = """\
from retailpulse_kernel.promotion.airflow.dags import dags

globals().update(dags())
"""


@dataclass(frozen=True)
class Login:
    """Where people find Airflow, and how they get in.

    Attributes
    ----------
    url : str
        Of the user interface.
    user : str
        Who may do everything.
    passwords : Path
        The file that holds the users' passwords, readable for its owner alone.
    """

    url: str
    user: str
    passwords: Path


def _home(settings: Settings) -> Path:
    return settings.home / "airflow"


def _secrets(settings: Settings) -> Path:
    return _home(settings) / "secrets"


def _url(settings: Settings) -> str:
    from retailpulse_kernel.stack.services import SERVICES, ports

    return f"http://127.0.0.1:{ports(settings, SERVICES['airflow-api-server'])['port']}"


def login(settings: Settings) -> Login:
    """Where people find Airflow, and how they get in.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    """
    return Login(_url(settings), USERS[0], _secrets(settings) / "passwords.json")


def values(settings: Settings) -> dict[str, str]:
    """What the template of Airflow's configuration may name, beside ports and folders.

    Parameters
    ----------
    settings : Settings
        Home, ports and profile.
    """
    return {
        "dags": str(_dags(settings)),
        "secrets": str(_secrets(settings)),
        "database": _database(settings),
        "statsd": str(STATSD_PORT + settings.port_offset),
    }


def _dags(settings: Settings) -> Path:
    root = project_root()
    return root / "dags" if root else _home(settings) / "dags"


def _database(settings: Settings) -> str:
    """The setting of the database's address; by a command that prints it where it holds a password."""
    if reference := settings.profile.airflow.database:
        command = shlex.join([sys.executable, "-m", "retailpulse_kernel.ground.credentials", reference])
        return f"sql_alchemy_conn_cmd = {command.replace('%', '%%')}"
    return f"sql_alchemy_conn = sqlite:///{_home(settings)}/data/airflow.db"


def environment(settings: Settings, name: str) -> dict[str, str]:
    """Environment variables of one of the processes, and so of the notebooks that the scheduler runs.

    Parameters
    ----------
    settings : Settings
        Home, ports and profile.
    name : str
        The process's service.
    """
    home = _home(settings)
    return {
        **of_settings(settings),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(home / "conf" / "airflow.cfg"),
        "RETAILPULSE_SERVICE": name,
        # Airflow renames its processes; without this it would write over the variables by which they are found.
        "SPT_NOENV": "1",
        # Its banner and colours are for terminals.
        "NO_COLOR": "1",
    }


def prepare(settings: Settings) -> None:
    """Make secrets and the database's tables, or bring those up to date.

    Parameters
    ----------
    settings : Settings
        Home and profile.

    Raises
    ------
    MissingExtra
        The extra ``airflow`` is not installed.
    ServiceError
        The database can't be reached, or Airflow can't use it.
    """
    require_extra("airflow")
    if reference := settings.profile.airflow.database:
        resolve_secret(reference)  # said here if it leads to nothing
    make_secrets(_secrets(settings))
    if project_root() is None:
        _dags(settings).mkdir(parents=True, exist_ok=True)
        write_whole(_dags(settings) / "retailpulse.py", _FACTORY)
    marker, wanted = _home(settings) / "data" / "migrated", f"{version('apache-airflow')} {_database(settings)}\n"
    if marker.is_file() and marker.read_text() == wanted:
        return
    done = _airflow(settings, "db", "migrate")
    if done.returncode:
        raise ServiceError(
            f"Airflow's database can't be prepared: {_last_words(done)}",
            remedy="Check the profile's [airflow] database; SQLite is used when there is none.",
        )
    write_whole(marker, wanted)


def delete_dag(settings: Settings, name: str) -> bool:
    """Remove a DAG's runs and history from Airflow's database; False where it holds none of that DAG.

    Parameters
    ----------
    settings : Settings
        Of the home whose Airflow it is.
    name : str
        The DAG's.

    Raises
    ------
    ServiceError
        Airflow can't do it.
    """
    if not (_home(settings) / "data" / "migrated").is_file():
        return False  # Airflow was never started here
    done = _airflow(settings, "dags", "delete", "--yes", name)
    if done.returncode and "DagNotFound" not in done.stderr:
        raise ServiceError(
            f"Airflow can't delete the DAG {name!r}: {_last_words(done)}",
            remedy="See `retailpulse logs airflow-api-server`, and try again.",
        )
    return not done.returncode


def _airflow(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env={**os.environ, **environment(settings, f"airflow-{arguments[0]}")},
        cwd=_home(settings) / "data",
        capture_output=True,
        text=True,
    )


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    words = (done.stderr or done.stdout).strip().splitlines()
    return words[-1] if words else "it said nothing"


def make_secrets(folder: Path) -> None:
    """Keys and passwords, each made once; an existing one is kept, because what is stored is encrypted with it.

    Parameters
    ----------
    folder : Path
        Made for its owner alone.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    _keep(folder / "fernet", base64.urlsafe_b64encode(os.urandom(32)).decode())
    for name in ("api", "jwt"):
        _keep(folder / name, secrets.token_urlsafe(48))
    # Airflow makes passwords itself where it finds none, and prints them to its log.
    _keep(folder / "passwords.json", json.dumps({user: secrets.token_urlsafe(18) for user in USERS}))


def _keep(path: Path, content: str) -> None:
    if path.is_file() and path.stat().st_size:
        path.chmod(0o600)
        return
    write_whole(path, content, mode=0o600)


def is_up(settings: Settings) -> bool:
    """Whether Airflow runs in this home, or is about to.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    """
    scheduler = Supervisor(settings).processes().get("airflow-scheduler", {})
    return scheduler.get("statename") in ("STARTING", "RUNNING")


def require_healthy(settings: Settings, name: str) -> None:
    """Ask the API server how one of the four processes is.

    Parameters
    ----------
    settings : Settings
        Says where the API server is.
    name : str
        The process's service.

    Raises
    ------
    ConnectionError
        It is not well.
    """
    import httpx

    answer = httpx.get(f"{_url(settings)}/api/v2/monitor/health", timeout=_SECONDS)
    answer.raise_for_status()
    state: dict[str, Any] = answer.json().get(_COMPONENTS[name]) or {}
    if state.get("status") != "healthy":
        raise ConnectionError(f"its last sign of life is not recent ({state.get('status') or 'none yet'})")
