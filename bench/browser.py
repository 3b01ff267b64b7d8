"""JupyterLab in a headless Chromium, as tests, benchmark and screenshots use it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from playwright.sync_api import Error as PlaywrightError

import retailpulse_kernel
from bench.lab import free_port
from retailpulse_kernel.ground.errors import RequirementError, RetailPulseError
from retailpulse_kernel.ground.settings import Settings, environment

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

__all__ = ["Labs", "Notebook", "chromium", "chromium_path", "jupyter_lab", "write_notebook"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_ASKED = """([n, before]) =>
  document.querySelectorAll(".jp-CodeCell")[n].querySelector(".jp-InputPrompt").textContent !== before"""
_RUN = """n => /\\[\\d+\\]/.test(
  document.querySelectorAll(".jp-CodeCell")[n].querySelector(".jp-InputPrompt").textContent)"""
#: Seconds that JupyterLab has to start, and a page to show something.
_START, _PAGE = 120.0, 60.0


def chromium_path() -> str | None:
    """A Chromium or Chrome of this machine, or None."""
    return os.environ.get("RETAILPULSE_CHROMIUM") or next((path for n in _NAMES if (path := shutil.which(n))), None)


@contextlib.contextmanager
def chromium(**options: Any) -> Iterator[BrowserContext]:
    """A headless browser with an empty profile.

    Raises
    ------
    RequirementError
        There is none on this machine.
    """
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    if path is None:
        raise RequirementError("There is no Chromium.", remedy="Install Debian's package chromium, or Google Chrome.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        context = browser.new_context(**{"viewport": {"width": 1366, "height": 900}, **options})
        context.set_default_timeout(_PAGE * 1000)
        try:
            yield context
        finally:
            context.close()
            browser.close()


class Labs:
    """A running JupyterLab.

    Attributes
    ----------
    root : Path
        Its folder of notebooks.
    url, token : str
        Where it is.
    """

    def __init__(self, root: Path, url: str, token: str) -> None:
        self.root, self.url, self.token = root, url, token

    def address(self, notebook: str) -> str:
        """The address of a notebook, in a workspace of its own."""
        return f"{self.url}/lab/tree/{notebook}?token={self.token}&reset"


@contextlib.contextmanager
def jupyter_lab(settings: Settings, root: Path, *, theme: str = "JupyterLab Light") -> Iterator[Labs]:
    """JupyterLab on a folder, with the settings' servers and namespace, ended with the block."""
    port = free_port()
    own = root / ".jupyter"
    overrides = own / "lab" / "user-settings" / "@jupyterlab"
    for name, text in {
        "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
        "apputils-extension/themes": f'{{"theme": "{theme}"}}',
    }.items():
        path = overrides / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    log = own / "lab.log"
    command = [
        sys.executable, "-m", "jupyter", "lab", "--ip=127.0.0.1", f"--port={port}", "--no-browser", "--allow-root",
        f"--ServerApp.root_dir={root}", "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    folders = {
        "JUPYTER_CONFIG_DIR": own,
        "JUPYTERLAB_SETTINGS_DIR": own / "lab" / "user-settings",
        "JUPYTERLAB_WORKSPACES_DIR": own / "lab" / "workspaces",
    }
    folders["JUPYTER_PATH"] = _with_extension(own / "share")
    env = {**os.environ, **environment(settings), **{name: str(folder) for name, folder in folders.items()}}
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
    try:
        deadline = time.monotonic() + _START
        while not (found := re.search(rf"http://127\.0\.0\.1:{port}/\S*token=(\w+)", log.read_text(errors="replace"))):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RetailPulseError(f"JupyterLab did not start: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.2)
        yield Labs(root, f"http://127.0.0.1:{port}", found[1])
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _with_extension(folder: Path) -> Path:
    """A folder of Jupyter's in which the extension is that of this checkout, and not the installed one."""
    place = folder / "labextensions" / "retailpulse"
    place.parent.mkdir(parents=True)
    place.symlink_to(Path(retailpulse_kernel.__file__).parent / "lab" / "extension")
    return folder


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """A notebook of code cells for the kernel RetailPulse."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in cells],
        metadata={
            "kernelspec": {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"},
            "language_info": {"name": "python"},
        },
    )
    nbformat.write(notebook, path)


class Notebook:
    """A notebook that is open in a page.

    Attributes
    ----------
    page : Page
        The page.
    errors : list of str
        What went to the page's console as an error, and exceptions.
    requests : list of str
        Addresses that are not on this machine.
    """

    def __init__(self, context: BrowserContext, lab: Labs, name: str) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._lab, self._name = lab, name
        self.page: Page = context.new_page()
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._hear))
        self.open()

    def _hear(self, frame: bytes | str) -> None:
        content = frame.encode() if isinstance(frame, str) else frame
        self._answered = self._answered or b"kernel_info_reply" in content

    def _note(self, url: str) -> None:
        if not url.startswith((self._lab.url, self._lab.url.replace("http", "ws", 1), "data:", "blob:", "about:")):
            self.requests.append(url)

    def open(self) -> None:
        """Open it, and wait until its kernel is ready."""
        self._answered = False
        self.page.goto(self._lab.address(self._name), wait_until="domcontentloaded")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        # A cell that is run before the kernel has answered is lost, or JupyterLab asks which kernel it should be.
        deadline = time.monotonic() + _PAGE
        while not self._answered:
            if time.monotonic() > deadline:
                raise RetailPulseError(f"The kernel did not answer the page within {_PAGE:.0f} s.")
            self.page.wait_for_timeout(50)
        self.page.wait_for_function(
            "() => document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'"
        )

    def run(self, number: int, *, wait: bool = True) -> None:
        """Run the code cell of some number, from 0, and wait for its prompt."""
        cell = self.page.locator(".jp-CodeCell").nth(number)
        before = cell.locator(".jp-InputPrompt").text_content()
        for _ in range(10):
            cell.locator(".cm-content").click()
            self.page.keyboard.press("Control+Enter")
            # JupyterLab forgets a cell that was run just before it has connected to the kernel.
            try:
                self.page.wait_for_function(_ASKED, arg=[number, before], timeout=3_000)
                break
            except PlaywrightError:
                continue
        if wait:
            try:
                self.page.wait_for_function(_RUN, arg=number)
            except PlaywrightError as error:
                picture = Path(tempfile.gettempdir()) / "retailpulse-failed.png"
                self.page.screenshot(path=picture)
                raise RetailPulseError(f"The cell {number} did not run; see {picture}.") from error

    def save(self) -> None:
        """Save it, and wait until it is saved."""
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+s")
        self.page.wait_for_function(
            "() => !document.querySelector('.jp-Document .jp-mod-dirty, .lm-TabBar-tab.jp-mod-dirty')"
        )
