"""``rp.promote()``: promotion, as a widget in a notebook."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from retailpulse_kernel.ground.errors import RetailPulseError, UnknownName
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.notebooks.parameters import REQUIRED, Parameter, read_parameters
from retailpulse_kernel.promotion.gate.candidate import cleaned, preview, run_as, running_version, this_notebook
from retailpulse_kernel.promotion.registry.manifest import CONTINUOUS
from retailpulse_kernel.promotion.registry.schedules import PRESETS
from retailpulse_kernel.promotion.widgets.rendering import STYLE, diff_html, sentence_html, steps_html

__all__ = ["Gate"]

_WIDE = widgets.Layout(width="100%")


class Gate(widgets.VBox):
    """The gate: parameters, schedule, the diff to what runs, and the steps as they pass.

    The notebook is promoted as it was saved last, without outputs and without the cell that shows this widget.

    Parameters
    ----------
    settings : Settings
        The live namespace.
    notebook : str or Path, optional
        The notebook to promote; the notebook of this kernel when absent.
    parameters : mapping
        The parameters that the fields begin with.
    """

    def __init__(self, settings: Settings, notebook: str | Path | None, parameters: Mapping[str, Any]) -> None:
        self._settings = settings
        self._source = Path(notebook) if notebook is not None else this_notebook()
        self._folder = tempfile.TemporaryDirectory(prefix="retailpulse-")
        self._process: subprocess.Popen[str] | None = None
        self.result: dict[str, Any] | None = None
        self._head, self._steps, self._end, self._diff = (widgets.HTML() for _ in range(4))
        self._parameters = read_parameters(self._source)
        for name in parameters:
            if name not in self._parameters:
                raise UnknownName("parameter of the notebook", name, self._parameters)
        self._fields = {name: _field(parameter, parameters.get(name)) for name, parameter in self._parameters.items()}
        self._schedule = widgets.Combobox(
            options=[CONTINUOUS, *PRESETS],
            description="schedule",
            ensure_option=False,
            continuous_update=False,
        )
        self._try = widgets.Button(description="Try", icon="check", tooltip="Go through the gate; freeze nothing")
        self._promote = widgets.Button(description="Promote", icon="rocket", button_style="primary")
        self._stop = widgets.Button(description="Stop", icon="stop", disabled=True)
        self._try.on_click(lambda _: self.start(only_try=True))
        self._promote.on_click(lambda _: self.start(only_try=False))
        self._stop.on_click(lambda _: self.stop())
        for field in [*self._fields.values(), self._schedule]:
            field.observe(lambda _: self._show(), "value")
        grid = widgets.GridBox(
            [*self._fields.values(), self._schedule],
            layout=widgets.Layout(grid_template_columns="repeat(auto-fill, minmax(300px, 1fr))", width="100%"),
        )
        changes = widgets.Accordion([self._diff], titles=["What changes"], selected_index=0, layout=_WIDE)
        buttons = widgets.HBox([self._try, self._promote, self._stop])
        super().__init__([self._head, grid, changes, buttons, self._steps, self._end], layout=_WIDE)
        self.add_class("rp-gate")
        self._show()

    @property
    def given(self) -> dict[str, str]:
        """The parameters that differ from the notebook's own."""
        return {name: field.value.strip() for name, field in self._fields.items() if field.value.strip()}

    def _show(self) -> None:
        """What is known before anything is tried."""
        saved = datetime.fromtimestamp(self._source.stat().st_mtime)
        notebook = cleaned(self._source, Path(self._folder.name))
        running = running_version(self._settings, notebook)
        current = running.manifest if running else None
        schedule, frozen = run_as(notebook, self.given, schedule=self._schedule.value or None, before=current)
        # What stands in an empty field is what is frozen, as far as that can be told before the notebook is tried.
        for name, field in self._fields.items():
            field.placeholder = frozen.get(name) or _default(self._parameters[name])
        self._schedule.placeholder = schedule or "by hand"
        now = f"{running.manifest.name} {running.label} runs" if running else "not in production yet"
        self._head.value = (
            f"{STYLE}<h4>{self._source.stem} → production</h4><span class='rp-dim'>{now} · namespace "
            f"{self._settings.namespace.name} · {self._source.name} as it was saved at {saved:%H:%M:%S}</span>"
        )
        if running is None:
            self._diff.value = "<span class='rp-dim'>There is no version yet to compare with.</span>"
            return
        found = preview(running, notebook, self.given, self._schedule.value)
        lines = [*found.cells()]
        old, new = running.manifest, found.new.manifest
        for name in sorted(old.parameters.keys() | new.parameters.keys()):
            before, after = old.parameters.get(name), new.parameters.get(name)
            if before != after:
                lines += [f"- {name} = {before}"] if before is not None else []
                lines += [f"+ {name} = {after}"] if after is not None else []
        if old.schedule != new.schedule:
            lines += [f"- schedule {old.schedule}", f"+ schedule {new.schedule}"]
        self._diff.value = diff_html(lines)

    # -- the gate itself runs in a process of its own: the kernel stays free ------------------

    def start(self, *, only_try: bool) -> None:
        """Start the gate; the steps appear as they end.

        Parameters
        ----------
        only_try : bool
            Go through the gate and freeze nothing.
        """
        if self._process is not None:
            return
        self._show()
        notebook = Path(self._folder.name) / self._source.name
        command = [sys.executable, "-m", "retailpulse_kernel.cli", "promote", str(notebook), "--told"]
        command += [part for name, text in self.given.items() for part in ("-p", name, text)]
        command += ["--schedule", self._schedule.value] if self._schedule.value else []
        command += ["--dry-run"] if only_try else []
        self.result, self._end.value = None, ""
        self._busy(True)
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment(self._settings)},
            cwd=self._source.absolute().parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, args=(self._process,), name="rp-promote", daemon=True).start()

    def stop(self) -> None:
        """Stop the gate. A frozen version stays, and the live version runs on."""
        if self._process is not None:
            self._process.terminate()

    def _busy(self, busy: bool) -> None:
        self._try.disabled = self._promote.disabled = busy
        self._stop.disabled = not busy

    def _listen(self, process: subprocess.Popen[str]) -> None:
        steps: list[dict[str, Any]] = []
        errors: list[str] = []
        assert process.stdout is not None and process.stderr is not None
        stderr = process.stderr
        reader = threading.Thread(target=lambda: errors.extend(stderr), daemon=True)
        reader.start()
        waiting = "at the gate …"
        self._steps.value = steps_html(steps, waiting)
        for line in process.stdout:
            told = _told(line)
            if "step" in told:
                steps.append(told["step"])
            elif "left" in told:
                waiting = f"the staged epoch catches up: {told['left']:,} of {told['of']:,} messages left"
            elif "done" in told:
                self.result = told["done"]
            self._steps.value = steps_html(steps, "" if self.result else waiting)
        process.wait()
        reader.join(5)
        self._steps.value = steps_html(steps)
        if self.result is not None:
            self._end.value = sentence_html(self.result["sentence"], good=self.result["ok"])
        else:
            said = [text.strip() for text in errors if text.strip()][-4:]
            self._end.value = sentence_html(" ".join(said) or "The promotion was stopped.", good=False)
        self._process = None
        self._busy(False)
        with contextlib.suppress(OSError, RetailPulseError):
            self._show()


def _default(parameter: Parameter) -> str:
    return "must be given" if parameter.default is REQUIRED else str(parameter.default)


def _field(parameter: Parameter, given: Any) -> widgets.Text:
    return widgets.Text(
        value="" if given is None else str(given),
        description=parameter.name,
        tooltip=f"{parameter.type_name}  {parameter.help}",
        continuous_update=False,
        layout=widgets.Layout(width="auto"),
    )


def _told(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}  # what a notebook printed
    return found if isinstance(found, dict) else {}
