"""``rp.promote()`` and ``rp.jobs()``: the way to production, and what runs there, as widgets in a notebook."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from retailpulse_kernel.errors import RetailPulseError
from retailpulse_kernel.parameters import REQUIRED, Parameter, read_parameters
from retailpulse_kernel.promotion.candidate import cleaned, preview, running_version, this_notebook
from retailpulse_kernel.promotion.diffing import diff_versions
from retailpulse_kernel.promotion.manifest import CONTINUOUS
from retailpulse_kernel.promotion.overview import overview, runs_of
from retailpulse_kernel.promotion.registry import Registry
from retailpulse_kernel.promotion.rendering import STYLE, diff_html, job_html, sentence_html, steps_html
from retailpulse_kernel.promotion.schedules import PRESETS
from retailpulse_kernel.promotion.switching import rollback
from retailpulse_kernel.running import environment
from retailpulse_kernel.settings import Settings

__all__ = ["Gate", "Jobs"]

#: Seconds between two looks at the jobs, and how long a view that nobody uses is kept up to date.
_REFRESH, _ATTENTION = 3.0, 3600.0
_WIDE = widgets.Layout(width="100%")


class Gate(widgets.VBox):
    """The gate: parameters, schedule, the diff to what runs, and the steps as they pass.

    What is promoted is the notebook as it was saved last, without its outputs and without the cell that shows this.

    Parameters
    ----------
    settings : Settings
        The live namespace.
    notebook : str or Path, optional
        This one when absent.
    parameters : mapping
        What it is run with, to begin with.
    """

    def __init__(self, settings: Settings, notebook: str | Path | None, parameters: Mapping[str, Any]) -> None:
        self._settings = settings
        self._source = Path(notebook) if notebook is not None else this_notebook()
        self._folder = tempfile.TemporaryDirectory(prefix="retailpulse-")
        self._process: subprocess.Popen[str] | None = None
        self.result: dict[str, Any] | None = None
        self._head, self._steps, self._end, self._diff = (widgets.HTML() for _ in range(4))
        self._fields = {
            name: _field(parameter, parameters.get(name)) for name, parameter in read_parameters(self._source).items()
        }
        self._schedule = widgets.Combobox(
            placeholder="as before, or what fits",
            options=[CONTINUOUS, *PRESETS],
            description="schedule",
            ensure_option=False,
            continuous_update=False,
        )
        self._try = widgets.Button(description="Try", icon="check", tooltip="Pass the gate; freeze nothing")
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
        now = f"{running.manifest.name} {running.label} runs" if running else "not in production yet"
        self._head.value = (
            f"{STYLE}<h4>{self._source.stem} → production</h4><span class='rp-dim'>{now} · namespace "
            f"{self._settings.namespace.name} · {self._source.name} as it was saved at {saved:%H:%M:%S}</span>"
        )
        if running is None:
            self._diff.value = "<span class='rp-dim'>There is no version yet to compare it with.</span>"
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
        """Begin; the steps appear as they pass."""
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
        """End it; what has been frozen stays, and the live version runs on."""
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
                waiting = f"catching up beside the live version: {told['left']:,} of {told['of']:,} messages left"
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
            self._end.value = sentence_html(" ".join(said) or "It was stopped.", good=False)
        self._process = None
        self._busy(False)
        with contextlib.suppress(OSError, RetailPulseError):
            self._show()


def _field(parameter: Parameter, given: Any) -> widgets.Text:
    default = "must be given" if parameter.default is REQUIRED else str(parameter.default)
    return widgets.Text(
        value="" if given is None else str(given),
        placeholder=default,
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


class Jobs(widgets.VBox):
    """The promoted jobs: state, lag, versions, the records of their runs, and the way back.

    Parameters
    ----------
    settings : Settings
        The namespace in which they run.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._rows = settings, {}  # type: tuple[Settings, dict[str, _Row]]
        self._list, self._note, self._detail = widgets.VBox(layout=_WIDE), widgets.HTML(), widgets.HTML()
        head = widgets.HTML(f"{STYLE}<h4>Jobs in {settings.namespace.name}</h4>")
        super().__init__([head, self._list, self._note, self._detail], layout=_WIDE)
        self.add_class("rp-jobs")
        self._used = time.monotonic()
        self.refresh()
        threading.Thread(target=self._keep_up, name="rp-jobs", daemon=True).start()

    def refresh(self) -> None:
        """Look again."""
        try:
            rows = overview(self._settings)
        except RetailPulseError as error:
            self._note.value = sentence_html(str(error), good=False)
            return
        for row in rows:
            if row["job"] not in self._rows:
                self._rows[row["job"]] = _Row(self, row["job"])
            self._rows[row["job"]].show(self._settings, row)
        self._list.children = [self._rows[row["job"]].box for row in rows]
        if not rows:
            self._note.value = sentence_html("Nothing is promoted yet: rp.promote().", good=True)

    def _keep_up(self) -> None:
        while self.comm is not None and time.monotonic() - self._used < _ATTENTION:
            time.sleep(_REFRESH)
            self.refresh()

    def act(self, action: Callable[[], str], detail: str = "") -> None:
        """Do what a button says, and show what came of it."""
        self._used = time.monotonic()
        try:
            self._note.value, good = sentence_html(action(), good=True), True
        except RetailPulseError as error:
            self._note.value, good = sentence_html(str(error), good=False), False
        self._detail.value = detail if good else ""
        self.refresh()


class _Row:
    """One job's line."""

    def __init__(self, jobs: Jobs, name: str) -> None:
        self._jobs, self._name = jobs, name
        self._text = widgets.HTML(layout=widgets.Layout(flex="1 1 300px"))
        self._versions = widgets.Dropdown(layout=widgets.Layout(width="150px"))
        self._hold = widgets.Button(icon="pause", layout=widgets.Layout(width="90px"))
        back = widgets.Button(description="Run it", icon="history", tooltip="Make this version the current one")
        diff = widgets.Button(description="Diff", icon="columns", tooltip="This version and the one that runs")
        back.layout.width = diff.layout.width = "90px"
        self._of_others = (self._versions, back, diff)
        self._hold.on_click(lambda _: jobs.act(self._held))
        back.on_click(lambda _: jobs.act(self._back))
        diff.on_click(lambda _: self._compare())
        self.box = widgets.HBox(
            [self._text, self._versions, back, diff, self._hold],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center", border_bottom="1px solid #ddd8"),
        )
        self._paused = False

    def show(self, settings: Settings, row: Mapping[str, Any]) -> None:
        """Bring it up to date."""
        newest = next(iter(runs_of(settings, self._name, limit=1)), None)
        record = newest["output"] if newest else ""
        self._text.value = job_html(row, record, link=_link(record))
        registry = Registry(settings)
        labels = [
            version.label for version in reversed(registry.versions(self._name)) if version.label != row["version"]
        ]
        if list(self._versions.options) != labels:
            chosen = f"v{registry.current(self._name).previous}"
            self._versions.options = labels
            self._versions.value = chosen if chosen in labels else next(iter(labels), None)
        for widget in self._of_others:
            widget.disabled = not labels
        self._paused = row["state"] == "held"
        self._hold.description, self._hold.icon = ("Resume", "play") if self._paused else ("Pause", "pause")

    def _held(self) -> str:
        current = Registry(self._jobs._settings).pause(self._name, paused=not self._paused)
        return f"{self._name} v{current.version} {'is held' if current.paused else 'goes on'}"

    def _back(self) -> str:
        done = rollback(self._jobs._settings, self._name, self._versions.value)
        return f"{self._name} {done['from']} → {done['to']}: {done['state']}"

    def _compare(self) -> None:
        label, settings = self._versions.value, self._jobs._settings
        if label is None:
            return

        def found() -> str:
            return f"{self._name}: {label} and {Registry(settings).version(self._name).label}"

        self._jobs.act(found, diff_html(diff_versions(settings, self._name, label).lines()))


def _link(record: str) -> str | None:
    """Where JupyterLab shows a file, as far as a server has it in its folder."""
    from jupyter_server.serverapp import list_running_servers

    for server in list_running_servers():
        root = Path(server["root_dir"])
        if record and Path(record).is_relative_to(root):
            return f"{server['url']}lab/tree/{Path(record).relative_to(root)}"
    return None
