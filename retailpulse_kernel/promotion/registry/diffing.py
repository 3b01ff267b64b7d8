"""What differs between two versions: cell by cell, in parameters, in what is computed, and in the gate's verdicts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.files import read_notebook, same_code
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry, Version
from retailpulse_kernel.shop.contract.comparing import changes
from retailpulse_kernel.streaming.run.changes import compare

__all__ = ["Diff", "diff_versions"]


@dataclass(frozen=True)
class Diff:
    """The differences of two versions of a pipeline.

    Attributes
    ----------
    old, new : Version
        The versions.
    """

    old: Version
    new: Version

    def lines(self) -> Iterator[str]:
        """All sections of the difference, as text."""
        old, new = self.old.manifest, self.new.manifest
        yield f"{old.name} {self.old.label} -> {self.new.label}"
        sections = (
            ("cells", list(self.cells())),
            ("parameters", _pairs(old.parameters, new.parameters)),
            ("schedule", _pairs({"schedule": old.schedule}, {"schedule": new.schedule})),
            ("computes", self.meaning()),
            ("contract", self.contract()),
            ("environment", _pairs(_flat(old), _flat(new))),
            ("verdicts", list(self.verdicts())),
        )
        for title, lines in sections:
            if lines:
                yield ""
                yield title
                yield from lines

    def cells(self) -> Iterator[str]:
        """The notebooks' cells that differ, as a unified diff of each."""
        before, after = (
            [f"# [{cell.cell_type}]\n{cell.source}" for cell in read_notebook(version.notebook).cells]
            for version in (self.old, self.new)
        )
        matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
        for tag, i1, i2, j1, j2 in matcher.get_opcodes():
            if tag == "equal":
                continue
            one, two = ("\n".join(cells).splitlines() for cells in (before[i1:i2], after[j1:j2]))
            yield f"@@ cell {i1 + 1} -> {j1 + 1} @@"
            yield from list(difflib.unified_diff(one, two, lineterm="", n=1))[3:]

    def meaning(self) -> list[str]:
        """What differs in what is computed, in words."""
        old, new = self.old.manifest.plan, self.new.manifest.plan
        if old is None or new is None:
            return []
        return [f"  {difference.reason}" for difference in compare(old, new)]

    def contract(self) -> list[str]:
        """What differs in the contract, in words."""
        old, new = self.old.contract, self.new.contract
        return (
            [] if old is None or new is None else [f"  {change.what:<9} {change.said}" for change in changes(old, new)]
        )

    def verdicts(self) -> Iterator[str]:
        """What the gate said of each."""
        for sign, manifest in (("-", self.old.manifest), ("+", self.new.manifest)):
            yield f"{sign} {manifest.outcome or 'batch'}: {'; '.join(manifest.reasons) or 'passed'}"
            yield from (
                f"{sign}   {step.name:<12} {step.found}  {step.verdict}" for step in manifest.steps if step.name
            )

    def to_json(self) -> dict[str, Any]:
        """The differences for ``--json``."""
        old, new = self.old.manifest, self.new.manifest
        return {
            "name": old.name,
            "old": self.old.label,
            "new": self.new.label,
            "same_code": same_code(read_notebook(self.old.notebook), read_notebook(self.new.notebook)),
            "cells": list(self.cells()),
            "parameters": _changed(old.parameters, new.parameters),
            "schedule": [old.schedule, new.schedule],
            "computes": [line.strip() for line in self.meaning()],
            "contract": [line.strip() for line in self.contract()],
            "environment": _changed(_flat(old), _flat(new)),
            "verdicts": [
                {"version": v.label, "outcome": v.manifest.outcome, "reasons": list(v.manifest.reasons)}
                for v in (self.old, self.new)
            ],
        }


def _flat(manifest: Manifest) -> dict[str, str]:
    environment = manifest.environment
    return {
        "package": environment.package,
        "python": environment.python,
        "lock": environment.lock_sha256[:12],
        "commit": environment.commit[:12],
    }


def _changed(old: dict[str, str], new: dict[str, str]) -> dict[str, list[str | None]]:
    names = [*old, *(name for name in new if name not in old)]
    return {name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)}


def _pairs(old: dict[str, str], new: dict[str, str]) -> list[str]:
    lines = []
    for name, (before, after) in _changed(old, new).items():
        lines += [f"- {name} = {before}"] if before is not None else []
        lines += [f"+ {name} = {after}"] if after is not None else []
    return lines


def diff_versions(settings: Settings, name: str, old: str | None = None, new: str | None = None) -> Diff:
    """The differences of two versions: of the current version and the one before it, when none are named.

    Parameters
    ----------
    settings : Settings
        The promoted versions are read from its `pipelines`.
    name : str
        The pipeline's name.
    old : str, optional
        A version such as ``v3``; the version before `new` when absent.
    new : str, optional
        A version; the current one when absent.

    Raises
    ------
    UnknownName
        There is no such pipeline or version.
    UsageError
        There is only one version.
    """
    registry = Registry(settings)
    after = registry.version(name, new)
    if old is None:
        others = [version for version in registry.versions(name) if version.manifest.version < after.manifest.version]
        if not others:
            raise UsageError(f"{name} has no version before {after.label}.", remedy="See `retailpulse jobs`.")
        return Diff(others[-1], after)
    return Diff(registry.version(name, old), after)
