"""The checkpoint gate: whether a changed notebook may resume from the live checkpoint.

The notebook may resume when two conditions hold. The job starts on a copy of the checkpoint, and does a batch there.
The figures are the same: by their definitions, and by the rows of that batch, which the live version does on a copy
of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.gate.snapshot import Snapshot, snapshot
from retailpulse_kernel.promotion.gate.trial import Candidate, Tried, try_out
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, find_epoch
from retailpulse_kernel.streaming.plan.data import Plan, read_plan
from retailpulse_kernel.streaming.run.changes import Difference, Effect, again, compare

__all__ = ["Verdict", "check_checkpoint", "judge"]

Outcome = Literal["first", "resume", "new epoch", "refused"]

#: Differences after which the same batch may rightly give other rows.
_OTHER_ROWS = {"watermark", "output"}


@dataclass(frozen=True)
class Verdict:
    """What becomes of the checkpoint.

    Attributes
    ----------
    outcome : {"first", "resume", "new epoch", "refused"}
        There is no checkpoint yet; the job continues from the live checkpoint; the job needs a new epoch, which
        reads the topic from its beginning; or the job can't run.
    reasons : tuple of str
        Why, in words.
    evidence : tuple of str
        What the trial on the copy showed.
    plan : Plan, optional
        The plan of the notebook's job.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    evidence: tuple[str, ...] = ()
    plan: Plan | None = None


def check_checkpoint(
    live: Settings, shadow: Settings, job: str, candidates: Sequence[Candidate], *, baseline: Candidate | None
) -> list[Verdict]:
    """Judge notebooks that would replace a job. The live job runs on, and its checkpoint is only read.

    Parameters
    ----------
    live, shadow : Settings
        The namespace of the live job, and the shadow namespace in which the notebooks run.
    job : str
        The live job.
    candidates : sequence of Candidate
        The notebooks, each to be judged by itself.
    baseline : Candidate, optional
        The current version. The rows of the candidates are compared with its rows.
    """
    folder = Path(shadow.checkpoints.removeprefix("file://")) / "trial"
    epoch = find_epoch(f"{live.checkpoints}/{job}")
    copied = None if epoch is None else snapshot(epoch, folder / "live" / Path(epoch.path).name)
    try:
        tried = _on_copies(live, shadow, copied, folder, [*([baseline] if baseline else []), *candidates])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if baseline is not None:
        before, *tried = tried
        known = before.plan if before.copy is not None and before.copy.error is None else None
    else:
        known = None
    if copied is None or epoch is None:
        return [_without(one) for one in tried]
    # The plan in the checkpoint describes the state best.
    plan = read_plan(epoch.path) or known
    return [_unless_again(epoch, judge(plan, one, copied, compared=known is not None)) for one in tried]


def _unless_again(epoch: Epoch, verdict: Verdict) -> Verdict:
    """The verdict, unless the epoch has had and given up an output that comes again."""
    reasons = again(epoch.path, verdict.plan) if verdict.plan is not None and verdict.outcome == "resume" else []
    return replace(verdict, outcome="new epoch", reasons=tuple(reasons)) if reasons else verdict


def _on_copies(
    live: Settings, shadow: Settings, copied: Snapshot | None, folder: Path, candidates: Sequence[Candidate]
) -> list[Tried]:
    own = [replace(candidate, live=live.namespace.name) for candidate in candidates]
    if copied is not None:
        for number, candidate in enumerate(own):
            path = folder / str(number) / copied.path.name
            shutil.copytree(copied.path, path)
            own[number] = replace(candidate, checkpoint=str(path))
    return try_out(shadow, own)


def _without(tried: Tried) -> Verdict:
    if failure := _failure(tried):
        return Verdict("refused", (failure,), plan=tried.plan)
    return Verdict(
        "first", ("there is no checkpoint yet: the job starts at the topic's first message",), plan=tried.plan
    )


def _failure(tried: Tried) -> str | None:
    if tried.error is not None:
        return tried.error
    if tried.jobs != 1:
        return (
            f"the notebook runs {tried.jobs or 'no'} job{'s' if tried.jobs > 1 else ''}; a promoted notebook runs one"
        )
    return None


def judge(old: Plan | None, tried: Tried, copied: Snapshot, *, compared: bool) -> Verdict:
    """The verdict on one notebook.

    Parameters
    ----------
    old : Plan, optional
        The plan of the live checkpoint, where the plan is known.
    tried : Tried
        The trial of the notebook.
    copied : Snapshot
        The copy of the checkpoint.
    compared : bool
        Whether the live version has done the same batch.
    """
    if failure := _failure(tried):
        return Verdict("refused", (failure,), plan=tried.plan)
    assert tried.plan is not None and tried.copy is not None
    if tried.copy.refused:
        return Verdict("refused", (tried.copy.error or "",), plan=tried.plan)
    # The batch shows whether the revision is another one.
    differences = None if old is None else compare(old, replace(tried.plan, revision=old.revision))
    if tried.copy.error is not None and (tried.fresh is None or tried.fresh.error is not None):
        why = tried.fresh.error if tried.fresh and tried.fresh.error else tried.copy.error
        return Verdict("refused", (f"the job does not run, on an empty checkpoint either: {why}",), plan=tried.plan)
    evidence = _evidence(tried, copied, compared=compared)
    reasons = _reasons(tried, differences, compared=compared)
    if refused := tuple(d.reason for d in differences or () if d.effect is Effect.REFUSED):
        return Verdict("refused", refused, evidence, tried.plan)
    if reasons:
        return Verdict("new epoch", reasons, evidence, tried.plan)
    notes = tuple(difference.reason for difference in differences or ())
    return Verdict("resume", notes or ("the job computes the same as before",), evidence, tried.plan)


def _reasons(tried: Tried, differences: list[Difference] | None, *, compared: bool) -> tuple[str, ...]:
    """Why the job can't continue from the checkpoint; empty where it can."""
    assert tried.copy is not None
    if differences is None:
        return ("no plan says what the checkpoint is the state of",)
    reasons = tuple(d.reason for d in differences if d.effect is Effect.EPOCH)
    if tried.copy.error is not None:
        return reasons or (f"Spark can't continue from the checkpoint: {tried.copy.error}",)
    same_rows = not any(d.what in _OTHER_ROWS for d in differences)
    if not reasons and compared and same_rows and tried.copy.differing:
        return (f"the same batch gives other figures than the live version does: {tried.copy.first}",)
    return reasons


def _evidence(tried: Tried, copied: Snapshot, *, compared: bool) -> tuple[str, ...]:
    assert tried.copy is not None
    where = f"a copy of the checkpoint, batch {copied.batch} again with {copied.messages:,} messages"
    if tried.copy.error is not None:
        return (f"on {where}: {tried.copy.error}", "on an empty checkpoint: the job runs")
    batches = "1 batch" if tried.copy.batches == 1 else f"{tried.copy.batches} batches"
    found = [f"on {where}: the job runs, {batches}, {tried.copy.rows:,} rows"]
    within = f" in the columns that both have: {tried.copy.columns}" if tried.copy.columns else ""
    if compared and tried.copy.differing:
        found.append(
            f"{tried.copy.differing:,} of {tried.copy.compared:,} rows differ from the live version's{within}, "
            f"the first is {tried.copy.first}"
        )
    elif compared and tried.copy.compared:
        found.append(f"the job's {tried.copy.compared:,} rows equal those of the live version{within}")
    return tuple(found)
