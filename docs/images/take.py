"""Takes the README's screenshots from the running product: ``python docs/images/take.py``.

It feeds a namespace of its own for some minutes, with the jobs "metrics" and "archive", and drops it.
"""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from bench.browser import Notebook, chromium, jupyter_lab, write_notebook
from bench.jobs import generator, primed, started
from bench.lab import Lab
from retailpulse_kernel.settings import Settings

HERE = Path(__file__).parent
RATE, SECONDS = 300, 400


def main() -> None:
    """Feed the shop, open the notebooks, take the pictures."""
    with Lab(Settings.load(), Console(stderr=True, highlight=False)) as lab:
        settings = lab.namespace("pictures")
        with started(lab, settings, ["metrics", "archive"], topic=settings.namespace.events_topic) as running:
            primed(lab, settings, running)
            with lab.ended(generator(lab, settings, rate=RATE, seconds=SECONDS)):
                time.sleep(SECONDS / 2)  # the line needs some minutes, and the pictures take some
                for theme in ("Light", "Dark"):
                    _live(lab, settings, theme)
                _explorer(lab, settings)


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
    write_notebook(folder / "explore.ipynb", ["rp.explore(last='1h')"])
    with jupyter_lab(settings, folder) as server, chromium() as context:
        notebook = Notebook(context, server, "explore.ipynb")
        notebook.run(0)
        notebook.page.wait_for_selector(".rp-explorer[data-question='categories'] .main-svg")
        notebook.page.wait_for_timeout(1_000)
        assert not notebook.page.inner_text(".rp-note"), "the archive has not come yet"
        notebook.page.screenshot(path=HERE / "explorer.png")


if __name__ == "__main__":
    main()
