"""Dashboards of the promoted jobs as files that Grafana reads: there is one for each job, and none for a retired one.

`retailpulse monitor` keeps the folder. So a promotion, a rollback or a retirement is seen wherever it was done: in a
notebook, on the command line or in Airflow.
"""

from __future__ import annotations

from pathlib import Path

from retailpulse_kernel.dashboards.writing import file_text, job_dashboards
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.settings import Settings

__all__ = ["keep_dashboards"]


def keep_dashboards(settings: Settings) -> list[Path]:
    """Write the dashboards that have changed, and remove those of jobs that are no longer promoted.

    Parameters
    ----------
    settings : Settings
        Whose jobs; the files are in the folder ``dashboards`` of its home.

    Returns
    -------
    list of Path
        What was written or removed.
    """
    folder = settings.home / "dashboards"
    folder.mkdir(parents=True, exist_ok=True)
    made = job_dashboards(settings)
    wanted = {name: file_text(one) for name, one in made.items()}
    changed = [path for path in folder.glob("*.json") if path.name not in wanted]
    for path in changed:
        path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            write_whole(path, text)
            changed.append(path)
    return changed
