"""Takes the README's screenshots from the running product: ``python docs/images/take.py``.

It feeds a namespace of its own for some minutes, with the job "metrics", fills another one, and drops both. A word as
argument takes only that picture: ``live``, ``explorer``, ``promote`` or ``page``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from rich.console import Console

from bench.api import served
from bench.browser import Notebook, chromium, jupyter_lab, write_notebook
from bench.jobs import generator, primed, started
from bench.lab import Lab, project_file
from retailpulse_kernel.feed.sample_shop import fill
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.environment import environment_of
from retailpulse_kernel.promotion.gate.trial import Candidate, try_out
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.workbench.workbench import Workbench

HERE = Path(__file__).parent
RATE, SECONDS = 300, 400


def main(wanted: str = "") -> None:
    """Feed the shop, open the notebooks, take the pictures."""
    with Lab(Settings.load(), Console(stderr=True, highlight=False)) as lab:
        if wanted in ("", "live"):
            _moving(lab)
        if wanted in ("", "explorer"):
            _explorer(lab, lab.namespace("explorer"))
        if wanted in ("", "promote"):
            _promoting(lab)
        if wanted in ("", "page"):
            _page(lab.namespace("page"))


def _moving(lab: Lab) -> None:
    settings = lab.namespace("pictures")
    with started(lab, settings, ["metrics"], topic=settings.namespace.events_topic) as running:
        primed(lab, settings, running)
        with lab.ended(generator(lab, settings, rate=RATE, seconds=SECONDS)):
            time.sleep(SECONDS * 0.75)  # the line needs some minutes
            for theme in ("Light", "Dark"):
                _live(lab, settings, theme)


def _promoting(lab: Lab) -> None:
    settings = lab.namespace("pictures")
    with started(lab, settings, ["metrics"], topic=settings.namespace.events_topic) as running:
        primed(lab, settings, running)
        _promotion(lab, settings)


def _live(lab: Lab, settings: Settings, theme: str) -> None:
    folder = lab.folder / f"pictures-{theme}"
    folder.mkdir(parents=True, exist_ok=True)
    write_notebook(folder / "live.ipynb", ["rp.live(window='5m')"])
    with jupyter_lab(settings, folder, theme=f"JupyterLab {theme}") as server, chromium() as context:
        notebook = Notebook(context, server, "live.ipynb")
        notebook.run(0)
        notebook.page.wait_for_selector(".rp-view[data-loaded='true']")
        notebook.page.wait_for_timeout(2_000)
        notebook.page.screenshot(path=HERE / f"live-{theme.lower()}.png")


def _explorer(lab: Lab, settings: Settings) -> None:
    folder = lab.folder / "pictures-explorer"
    folder.mkdir(parents=True, exist_ok=True)
    fill(Workbench(settings.profile_name, settings.namespace_name), events=20_000, hours=6)
    write_notebook(folder / "explore.ipynb", ["rp.explore(last='6h')"])
    with jupyter_lab(settings, folder) as server, chromium() as context:
        notebook = Notebook(context, server, "explore.ipynb")
        notebook.run(0)
        notebook.page.wait_for_selector(".rp-explorer[data-question='categories'] .main-svg")
        notebook.page.wait_for_timeout(1_000)
        notebook.page.screenshot(path=HERE / "explorer.png")


def _page(settings: Settings) -> None:
    """The page of the read API."""
    fill(Workbench(settings.profile_name, settings.namespace_name), events=60_000, hours=10)
    with served(settings) as (address, _), chromium(viewport={"width": 1600, "height": 820}) as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("main[data-frames] .rp-chart-pie .slice")
        page.screenshot(path=HERE / "page.png")


def _promotion(lab: Lab, settings: Settings) -> None:
    """The gate, tried with a changed notebook beside the job that runs."""
    folder = lab.folder / "pictures-promotion"
    folder.mkdir(parents=True, exist_ok=True)
    source = nbformat.read(project_file("notebooks", "jobs", "metrics.ipynb"), as_version=4)
    nbformat.write(source, folder / "first.ipynb")
    for cell in source.cells:
        cell.source = cell.source.replace("minutes=10", "minutes=5")
    nbformat.write(source, folder / "metrics.ipynb")
    apart = f"import os\nos.environ['RETAILPULSE_PIPELINES'] = {str(folder / 'pipelines')!r}"
    write_notebook(folder / "promote.ipynb", [apart, "rp.promote('metrics.ipynb')", "rp.jobs()"])
    plan = try_out(settings, [Candidate(str(folder / "first.ipynb"))])[0].plan
    parameters = {"run": "continuous", "run_for": "30m"}
    manifest = Manifest(
        "metrics", 1, "metrics.ipynb", "", "stream", "@continuous", "", "", parameters, environment_of(), "first",
        plan=plan,
    )  # fmt: skip
    Registry(settings.model_copy(update={"pipelines": folder / "pipelines"})).freeze(folder / "first.ipynb", manifest)
    with jupyter_lab(settings, folder) as server, chromium() as context:
        notebook = Notebook(context, server, "promote.ipynb")
        notebook.run(0)
        notebook.run(1)
        notebook.page.locator(".rp-gate").get_by_role("button", name="Try").click()
        notebook.page.wait_for_selector(".rp-verdict", timeout=600_000)
        notebook.run(2)
        notebook.page.wait_for_selector(".rp-jobs .rp-badge")
        notebook.page.locator(".jp-CodeCell").nth(1).scroll_into_view_if_needed()
        notebook.page.wait_for_timeout(1_000)
        notebook.page.screenshot(path=HERE / "promote.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
