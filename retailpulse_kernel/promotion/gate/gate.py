"""The gate that a notebook passes on its way to production, step by step; the first step that fails ends it.

>>> promotion = promote(settings, Path("notebooks/jobs/sales.ipynb"))  # doctest: +SKIP
>>> promotion.version.label  # doctest: +SKIP
'v4'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.notebooks.environment import environment_of
from retailpulse_kernel.notebooks.files import code_cells, is_parameters, read_notebook
from retailpulse_kernel.notebooks.parameters import read_parameters
from retailpulse_kernel.notebooks.testing import sibling_of
from retailpulse_kernel.promotion.cutover.catch_up import CatchUp, catch_up
from retailpulse_kernel.promotion.gate.backlog import Backlog
from retailpulse_kernel.promotion.gate.candidate import choices, run_as
from retailpulse_kernel.promotion.gate.dry_run import dry_run
from retailpulse_kernel.promotion.gate.landlock import is_possible
from retailpulse_kernel.promotion.gate.ownership import name_of, other_writer
from retailpulse_kernel.promotion.gate.result import Promotion
from retailpulse_kernel.promotion.gate.resume import Verdict, check_checkpoint
from retailpulse_kernel.promotion.gate.shadow import sample_events, shadow_of
from retailpulse_kernel.promotion.gate.static import static_problems
from retailpulse_kernel.promotion.gate.trial import Candidate, Tried, run_tests, try_out
from retailpulse_kernel.promotion.registry.manifest import Manifest, Step
from retailpulse_kernel.promotion.registry.registry import Registry, Version
from retailpulse_kernel.promotion.registry.schedules import check_schedule
from retailpulse_kernel.stores.confinement import require_free
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch, jobs_with_checkpoints
from retailpulse_kernel.streaming.plan.data import Plan
from retailpulse_kernel.streaming.run.changes import Effect, compare

__all__ = ["promote"]

#: Messages of the live topic that a dry run gets.
SAMPLE = 20_000
_EVENTS = "retail.events"


class _Failed(Exception):
    """A step failed; the promotion has the step."""


def promote(
    settings: Settings,
    notebook: Path,
    given: Mapping[str, str] | None = None,
    *,
    schedule: str | None = None,
    name: str | None = None,
    only_try: bool = False,
    sample: int = SAMPLE,
    report: Callable[[Step], None] = lambda step: None,
    on_catch_up: Callable[[CatchUp], None] = lambda state: None,
) -> Promotion:
    """Take a notebook through the gate, and freeze it as the pipeline's next version.

    Nothing is written when a step of the gate fails. The live job runs on. The new version takes over after the
    present micro-batch. For a version that needs a new epoch, a staged epoch catches up first.

    Parameters
    ----------
    settings : Settings
        The live namespace. The notebook is tried on a sample of its events and a copy of its checkpoint.
    notebook : Path
        The notebook to promote.
    given : mapping of str to str, optional
        The parameters that the notebook is run with.
    schedule : str, optional
        ``@continuous``, a cron expression or preset, ``asset:NAME``. When absent: the current version's schedule,
        or the one that fits the notebook's run mode.
    name : str, optional
        The pipeline's name. When absent: the pipeline of the notebook's job, or the notebook's own name.
    only_try : bool
        Go through the gate and freeze nothing.
    sample : int
        Messages of the live topic that the dry run gets.
    report : callable
        Called with each step as it ends.
    on_catch_up : callable
        Called every second or so while a staged epoch catches up with the live job.

    Raises
    ------
    UsageError
        There is no such notebook, or the schedule is not valid.
    """
    require_free(settings, f"Promoting {notebook.name}")
    registry, promotion = Registry(settings), Promotion(report=report)
    given = dict(given or {})
    if schedule is not None:
        check_schedule(schedule)
    try:
        _static(promotion, notebook, given)
        if not is_possible():
            promotion.add("", "files stay writable during the trial: this system has no Landlock", "")
        _tests(promotion, settings, notebook, given)
        with shadow_of(settings, name or notebook.stem.lower()) as shadow:
            copied = {_EVENTS: sample_events(settings, shadow, _EVENTS, limit=sample)}
            described = _described(promotion, settings, shadow, notebook, given)
            manifest = _manifest(registry, promotion, notebook, given, described.plan, schedule, name)
            if promotion.before is not None and _is_same(promotion.before, notebook, manifest):
                promotion.unchanged = True
                return promotion
            if (frozen := _frozen_before(registry, promotion, notebook, manifest)) is not None and not only_try:
                promotion.add("version", f"passed the gate before, as {frozen.label}")
                promotion.version = frozen
                _catch_up(promotion, settings, on_catch_up)
                return promotion
            if described.plan is not None:
                copied = {topic: copied[topic] if topic in copied else
                          sample_events(settings, shadow, topic, limit=sample)
                          for topic in described.plan.topics}  # fmt: skip
            _try_on_sample(promotion, settings, shadow, notebook, manifest, copied)
            if manifest.plan is not None:
                _check_state(promotion, settings, shadow, notebook, manifest)
    except _Failed:
        return promotion
    if not only_try:
        promotion.version = registry.freeze(notebook, _decided(manifest, promotion), activate=False)
        _catch_up(promotion, settings, on_catch_up)
    return promotion


def _catch_up(promotion: Promotion, settings: Settings, on_catch_up: Callable[[CatchUp], None]) -> None:
    """Make the version the current one, after the catch-up of its staged epoch where the version needs one."""
    assert promotion.version is not None
    try:
        done = catch_up(settings, promotion.version, on_catch_up)
    except RetailPulseError as error:
        promotion.add("catch-up", str(error), "failed", ok=False)
        return
    if done is None:
        return
    if done.messages:
        promotion.add("catch-up", f"{done.messages:,} messages in the staged epoch, {done.seconds:.0f} s")
    if done.compared is not None:
        promotion.add("comparison", f"in closed windows: {done.compared}", "ok" if not done.problem else "failed",
                      ok=not done.problem)  # fmt: skip
    if done.rows is not None and done.rows.rows:
        promotion.add("", f"in tables of rows, while the live job runs: {done.rows}", "")
    if done.problem:
        promotion.add("cutover", done.problem, "failed", ok=False)


def _static(promotion: Promotion, notebook: Path, given: Mapping[str, str]) -> None:
    problems = static_problems(notebook, given)
    if problems:
        for problem in problems:
            promotion.add("notebook", problem, "refused", ok=False)
        raise _Failed
    count = len(read_parameters(notebook))
    kernel = read_notebook(notebook).metadata.kernelspec.name
    promotion.add("parameters", f"{count} typed, all read" if count else "none")
    promotion.add("notebook", f"no outputs, no secrets, no absolute paths, kernel {kernel}")


def _tests(promotion: Promotion, settings: Settings, notebook: Path, given: Mapping[str, str]) -> None:
    try:
        found = run_tests(settings, notebook, given)
    except RetailPulseError as error:
        promotion.add("tests", str(error), "failed", ok=False)
        raise _Failed from error
    if not found.ok:
        promotion.add("tests", str(found), "refused", ok=False)
        raise _Failed
    promotion.add("tests", str(found), "ok" if found.cases else "")


def _described(
    promotion: Promotion, live: Settings, shadow: Settings, notebook: Path, given: Mapping[str, str]
) -> Tried:
    """The plan of the notebook's job. A notebook without a job is only run in the dry run."""
    if not any("job" in source.lower() for source in code_cells(read_notebook(notebook))):
        return Tried()
    tried = try_out(shadow, [Candidate(str(notebook), dict(given), live=live.namespace.name)])[0]
    if tried.error is not None or tried.jobs > 1:
        why = tried.error or f"the notebook runs {tried.jobs} jobs; a promoted notebook runs one job"
        promotion.add("job", why, "refused", ok=False)
        raise _Failed
    return tried


def _manifest(
    registry: Registry,
    promotion: Promotion,
    notebook: Path,
    given: Mapping[str, str],
    plan: Plan | None,
    schedule: str | None,
    name: str | None,
) -> Manifest:
    """What the version would be frozen with."""
    promotion.name = name or name_of(registry, notebook, plan)
    versions = registry.versions(promotion.name)
    promotion.before = registry.version(promotion.name) if promotion.name in registry.names() else None
    if writer := other_writer(registry, promotion.name, plan):
        promotion.add("tables", writer, "refused", ok=False)
        raise _Failed
    before = promotion.before.manifest if promotion.before else None
    if before is not None and before.plan is not None and plan is None:
        promotion.add(
            "job", f"the notebook runs no job, but {promotion.name} v{before.version} does", "refused", ok=False
        )
        raise _Failed
    if plan is not None and before is not None and before.plan is not None:
        plan = replace(plan, revision=before.plan.revision)
    chosen, parameters = run_as(notebook, given, schedule=schedule, before=before, runs_job=plan is not None)
    told = ", ".join([chosen or "by hand", *(f"{name} = {text}" for name, text in parameters.items())])
    promotion.add("run", told)
    return Manifest(
        name=promotion.name,
        version=versions[-1].manifest.version + 1 if versions else 1,
        notebook=f"{promotion.name}.ipynb",
        sha256="",
        kind="stream" if plan is not None else "batch",
        schedule=chosen,
        doc=next((c.source for c in read_notebook(notebook).cells if c.cell_type == "markdown"), ""),
        promoted=iso_text(datetime.now(UTC), "seconds"),
        parameters=parameters,
        environment=environment_of(),
        plan=plan,
    )


def _is_same(version: Version, notebook: Path, manifest: Manifest) -> bool:
    """Whether a version would be frozen with the same content once more."""
    old = version.manifest
    return (
        _content(version.notebook) == _content(notebook)
        and _tests_beside(version.notebook) == _tests_beside(notebook)
        and (old.parameters, old.schedule, old.plan) == (manifest.parameters, manifest.schedule, manifest.plan)
        and old.environment.lock_sha256 == manifest.environment.lock_sha256
    )


def _frozen_before(registry: Registry, promotion: Promotion, notebook: Path, manifest: Manifest) -> Version | None:
    """The newest version where its content is the same: a rollback or a broken catch-up came after its gate."""
    versions = registry.versions(promotion.name)
    return versions[-1] if versions and _is_same(versions[-1], notebook, manifest) else None


def _tests_beside(notebook: Path) -> list[tuple[str, str, bool]]:
    """The content of a notebook's file of tests; nothing where there is none."""
    return _content(tests) if (tests := sibling_of(notebook)).is_file() else []


def _content(notebook: Path) -> list[tuple[str, str, bool]]:
    return [(cell.cell_type, cell.source, is_parameters(cell)) for cell in read_notebook(notebook).cells]


def _try_on_sample(
    promotion: Promotion,
    live: Settings,
    shadow: Settings,
    notebook: Path,
    manifest: Manifest,
    copied: Mapping[str, int],
) -> None:
    given = dict(manifest.parameters)
    if "available_now" in choices(notebook, "run"):
        given["run"] = "available_now"
        given.pop("run_for", None)
    try:
        for step in dry_run(live, shadow, notebook, given, manifest.plan, copied=copied):
            promotion.add(step.name, step.found, step.verdict, ok=step.ok)
            if not step.ok:
                raise _Failed
    except RetailPulseError as error:
        promotion.add("dry run", str(error), "failed", ok=False)
        raise _Failed from error
    ran = jobs_with_checkpoints(shadow.checkpoints)
    if ran != ([] if manifest.plan is None else [manifest.plan.job]):
        promotion.add(
            "job", f"the dry run ran {', '.join(ran) or 'no job'}; the cells had shown another job", "refused", ok=False
        )
        raise _Failed


def _check_state(promotion: Promotion, live: Settings, shadow: Settings, notebook: Path, manifest: Manifest) -> None:
    plan, before = manifest.plan, promotion.before
    assert plan is not None
    job = before.manifest.plan.job if before and before.manifest.plan else plan.job
    if find_epoch(f"{live.checkpoints}/{job}") is None:
        promotion.verdict = Verdict("first", ("none yet: the job starts at the topic's first message",), plan=plan)
    else:
        baseline = Candidate(str(before.notebook), before.manifest.parameters) if before else None
        candidate = Candidate(str(notebook), dict(manifest.parameters))
        promotion.verdict = check_checkpoint(live, shadow, job, [candidate], baseline=baseline)[0]
    verdict, notes = promotion.verdict, [*promotion.verdict.evidence]
    label: str = verdict.outcome
    if label == "new epoch":
        backlog = Backlog.of(live, plan)
        label = f"new epoch, backfill of {backlog.messages:,} events"
        notes += backlog.notes(plan)
    promotion.add("checkpoint", "; ".join(verdict.reasons), label, ok=verdict.outcome != "refused")
    for note in notes:
        promotion.add("", note, "")
    if verdict.outcome == "refused":
        raise _Failed


def _decided(manifest: Manifest, promotion: Promotion) -> Manifest:
    verdict, plan = promotion.verdict, manifest.plan
    live = promotion.before.manifest.plan if promotion.before else None
    if plan is not None and live is not None and verdict is not None and verdict.outcome == "new epoch":
        plans_differ = any(difference.effect >= Effect.EPOCH for difference in compare(live, plan))
        plan = plan if plans_differ else replace(plan, revision=f"v{manifest.version}")
    return replace(
        manifest,
        plan=plan,
        outcome=verdict.outcome if verdict else "",
        reasons=verdict.reasons if verdict else (),
        steps=tuple(promotion.steps),
    )
