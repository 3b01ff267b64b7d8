"""The command `epochs`: the epochs of the jobs' checkpoints."""

from __future__ import annotations

from typing import Annotated, Any

import filelock
import typer
from rich.console import Console
from rich.table import Table

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import AsJson, NamespaceOption, ProfileOption, print_json
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import iso_text, moment_at

__all__: list[str] = []


@app.command()
def epochs(
    job: Annotated[str | None, typer.Argument(help="Show only this job.", show_default="every job")] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new epoch of the job. The job must not run.")] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Accept the loss of messages that the topic deleted before the job read them. The job must not run.",
        ),
    ] = False,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """List the checkpoint epochs of each job. `--new` starts an epoch that reads the topic from the beginning.

    A change of keys, figures or queries needs a new epoch. A promoted job gets one from `retailpulse promote`. Tables
    of figures keep their figures until the new epoch has written them again. Tables of rows are made anew when the
    epoch's first run starts. With --accept-loss, the job's next run accounts for the deleted messages as lost.
    """
    from retailpulse_kernel.stores.confinement import require_own
    from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch, jobs_with_checkpoints, new_epoch
    from retailpulse_kernel.streaming.checkpoint.log import newest_batch
    from retailpulse_kernel.streaming.checkpoint.writer import writer_lock

    settings = Settings.load(profile=profile, namespace=namespace)
    known = jobs_with_checkpoints(settings.checkpoints)
    if job is not None and job not in known:
        raise UnknownName("job with a checkpoint", job, known)
    if (new or accept_loss) and job is None:
        option = "--new" if new else "--accept-loss"
        raise UsageError(f"{option} needs a job.", remedy=f"Name one: retailpulse epochs JOB {option}.")
    if new and accept_loss:
        raise UsageError("A new epoch has lost nothing.", remedy="Use --new or --accept-loss.")
    if job is not None and (new or accept_loss):
        require_own(settings, f"Changing the epochs of {job}")
        try:
            with writer_lock(settings, job).acquire(timeout=0):
                if new:
                    new_epoch(f"{settings.checkpoints}/{job}")
                else:
                    _accept_loss(settings, job)
        except filelock.Timeout:
            raise UsageError(f"The job {job!r} runs.", remedy="Stop it first.") from None
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
                "since": iso_text(moment_at(epoch.start_ms), "seconds"),
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


def _accept_loss(settings: Settings, job: str) -> None:
    """Note what is gone of the topic; the words go to stderr, as the list may be JSON."""
    from retailpulse_kernel.stores.kafka.store import KafkaStore
    from retailpulse_kernel.streaming.checkpoint.epochs import open_epoch
    from retailpulse_kernel.streaming.checkpoint.log import newest_batch
    from retailpulse_kernel.streaming.checkpoint.losses import accept, consumed_offsets, gaps_of

    path = open_epoch(f"{settings.checkpoints}/{job}").path
    batch = newest_batch(path)
    found = []
    for topic in batch.offsets if batch else ():
        gaps = gaps_of(consumed_offsets(path, topic), KafkaStore(settings).offsets(topic), topic)
        accept(path, gaps)
        found += [f"{gap.messages:,} messages of {topic}, {gap}" for gap in gaps]
    said = f"The next run of {job!r} accounts for these as lost: " + "; ".join(found) + "."
    nothing = f"Nothing to accept: the topic holds every message that the job {job!r} has not taken."
    Console(stderr=True, highlight=False, soft_wrap=True).print(said if found else nothing)


def _moment(ms: int) -> str | None:
    return iso_text(moment_at(ms), "seconds") if ms else None
