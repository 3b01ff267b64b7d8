"""The command `epochs`: the lives of the jobs' checkpoints."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import filelock
import typer
from rich.console import Console
from rich.table import Table

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import AsJson, NamespaceOption, ProfileOption, print_json
from retailpulse_kernel.errors import UnknownName, UsageError
from retailpulse_kernel.settings import Settings

__all__: list[str] = []


@app.command()
def epochs(
    job: Annotated[str | None, typer.Argument(help="Only this job.", show_default="every job")] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new epoch of the job, which must not run.")] = False,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """List the jobs' epochs, or begin a new one: it reads the topic from its beginning, and its figures win.

    A new epoch is what a change of keys or figures needs. The tables keep their figures until it has
    written them anew.
    """
    from retailpulse_kernel.streaming.checkpoint import find_epoch, jobs_with_checkpoints, new_epoch, newest_batch
    from retailpulse_kernel.streaming.writer import writer_lock

    settings = Settings.load(profile=profile, namespace=namespace)
    known = jobs_with_checkpoints(settings.checkpoints)
    if job is not None and job not in known:
        raise UnknownName("job with a checkpoint", job, known)
    if new:
        if job is None:
            raise UsageError("--new needs a job.", remedy="Name one: retailpulse epochs metrics --new.")
        try:
            with writer_lock(settings, job).acquire(timeout=0):
                new_epoch(f"{settings.checkpoints}/{job}")
        except filelock.Timeout:
            raise UsageError(f"The job {job!r} runs.", remedy="Stop it first; its next run opens the epoch.") from None
    rows: list[dict[str, Any]] = []
    for name in known if job is None else [job]:
        epoch = find_epoch(f"{settings.checkpoints}/{name}")
        if epoch is None:
            continue
        batch = newest_batch(epoch.path)
        rows.append(
            {
                "job": name,
                "epoch": epoch.number,
                "since": datetime.fromtimestamp(epoch.start_ms / 1000, UTC).isoformat(timespec="seconds"),
                "batches": batch.batch_id + 1 if batch else 0,
                "watermark": _moment(batch.watermark_ms) if batch else None,
                "checkpoint": epoch.path,
            }
        )
    if as_json:
        print_json(rows)
        return
    table = Table(box=None)
    for column in ("job", "epoch", "since", "batches", "watermark", "checkpoint"):
        table.add_column(column, justify="right" if column in ("epoch", "batches") else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(highlight=False).print(table if rows else f"No job has run in {settings.namespace.name!r} yet.")


def _moment(ms: int) -> str | None:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else None
