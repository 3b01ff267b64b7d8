"""``rp.jobs()``: what runs in production, as a widget in a notebook."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.overview import overview, runs_of, waits_for
from retailpulse_kernel.promotion.cutover.versions import rollback
from retailpulse_kernel.promotion.registry.diffing import diff_versions
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.promotion.widgets.rendering import STYLE, diff_html, job_html, sentence_html

__all__ = ["Jobs"]

#: Seconds between two refreshes, and how long a view that nobody uses is kept up to date.
_REFRESH, _ATTENTION = 3.0, 3600.0
_WIDE = widgets.Layout(width="100%")


class Jobs(widgets.VBox):
    """The promoted jobs: state, lag, versions, the records of their runs, and rollback.

    Parameters
    ----------
    settings : Settings
        The namespace in which they run.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._rows = settings, {}  # type: tuple[Settings, dict[str, _Row]]
        self._list, self._why = widgets.VBox(layout=_WIDE), widgets.HTML()
        self._note, self._detail = widgets.HTML(), widgets.HTML()
        head = widgets.HTML(f"{STYLE}<h4>Jobs in {settings.namespace.name}</h4>")
        super().__init__([head, self._list, self._why, self._note, self._detail], layout=_WIDE)
        self.add_class("rp-jobs")
        self._used = time.monotonic()
        self.refresh()
        threading.Thread(target=self._keep_up, name="rp-jobs", daemon=True).start()

    def refresh(self) -> None:
        """Read the jobs' states again."""
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
        reason = waits_for(self._settings) if any(row["state"] == "waiting" for row in rows) else ""
        self._why.value = sentence_html(reason, good=False) if reason else ""
        if not rows:
            self._note.value = sentence_html("Nothing is promoted yet: rp.promote().", good=True)

    def _keep_up(self) -> None:
        while self.comm is not None and time.monotonic() - self._used < _ATTENTION:
            time.sleep(_REFRESH)
            self.refresh()

    def act(self, action: Callable[[], str], detail: str = "") -> None:
        """Do what a button says, and show the outcome.

        Parameters
        ----------
        action : callable
            Returns the sentence that is shown.
        detail : str
            HTML that is shown below the sentence when the action succeeds.
        """
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
        """Show the newest state of the job."""
        newest = next(iter(runs_of(settings, self._name, limit=1)), None)
        record = newest["output"] if newest else ""
        error = newest["error"] if newest else ""
        self._text.value = job_html(row, record, link=_link(record), error=error)
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
        return f"{self._name} v{current.version} {'is held' if current.paused else 'is resumed'}"

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
