"""Where the benchmark works: namespaces, processes and logs of its own, all ended and removed with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import psutil
from rich.console import Console

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.errors import RetailPulseError, UsageError
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.machine import strays
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop

__all__ = ["Child", "Lab", "free_port", "processor_seconds", "project_file", "wait_until"]

_POLL_SECONDS = 0.1


class Child:
    """A process of the benchmark, in a session of its own: Ctrl-C in the terminal is not its business.

    Attributes
    ----------
    started : float
        Epoch seconds.
    pid : int
        The process; others may be below it.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._output = log.with_suffix(".out")
        with log.open("wb") as errors, self._output.open("wb") as output:
            self.started = time.time()
            self._process = subprocess.Popen(
                argv, env={**os.environ, **env}, stdout=output, stderr=errors, start_new_session=True
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def require(self) -> None:
        """Make sure that it has not failed.

        Raises
        ------
        RetailPulseError
            It has; its last line is in the message.
        """
        code = self._process.poll()
        if code:
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            raise RetailPulseError(
                f"{self.log.stem} failed with exit code {code}: {lines[-1] if lines else 'it said nothing'}",
                remedy=f"Its log is {self.log}.",
            )

    def result(self, timeout: float) -> dict[str, Any]:
        """Wait for its end; the JSON in the last line of its output."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.end()
            raise RetailPulseError(
                f"{self.log.stem} did not end within {timeout:.0f} s.", remedy=f"Its log is {self.log}."
            ) from None
        self.require()
        return json.loads(self._output.read_text().splitlines()[-1])

    def end(self, patience: float = 20) -> None:
        """End it and all below it."""
        if self.running:
            strays.end(strays.tree(self.pid), patience)
            self._process.wait()


class Lab:
    """The benchmark's surroundings; leaving the ``with`` block ends and removes all that it made.

    Parameters
    ----------
    settings : Settings
        Which servers. Those of the local stack are started where they don't run, and then also stopped.
    console : Console
        Gets the progress.
    """

    def __init__(self, settings: Settings, console: Console) -> None:
        self.settings = settings
        self.console = console
        self.folder = settings.home / "bench"
        self._children: list[Child] = []
        self._namespaces: dict[str, Settings] = {}
        self._leaving = contextlib.ExitStack()

    def say(self, text: str) -> None:
        """Tell what is being done."""
        self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}")

    def namespace(self, name: str) -> Settings:
        """An empty namespace, with its topics; it is dropped at the end."""
        settings = Settings.load(profile=self.settings.profile_name, namespace=f"bench_{name}")
        drop(settings)  # what a killed run left
        ensure_topics(settings)
        self._namespaces[name] = settings
        return settings

    def forget(self, name: str) -> None:
        """Drop a namespace before the end."""
        drop(self._namespaces.pop(name))

    def python(self, module: str, *arguments: str, settings: Settings, **env: str) -> Child:
        """Start a module of this project in a fresh process with some settings."""
        name = f"{module.rsplit('.', 1)[-1]}-{arguments[0]}"
        return self.start([sys.executable, "-m", module, *arguments], name=name, env={**environment(settings), **env})

    def start(self, argv: Sequence[str], *, name: str, env: Mapping[str, str]) -> Child:
        """Start a program; its errors go to a log of its name."""
        number = len(self._children)
        child = Child(argv, env, self.folder / "logs" / f"{number:03d}-{name}.log")
        self._children.append(child)
        return child

    @contextlib.contextmanager
    def ended(self, *children: Child) -> Iterator[None]:
        """End some processes with the block."""
        try:
            yield
        finally:
            for child in children:
                child.end()

    def __enter__(self) -> Lab:
        self._leaving.__enter__()
        try:
            self._only_one()
            logs = self.folder / "logs"
            shutil.rmtree(logs, ignore_errors=True)
            logs.mkdir(parents=True)
            # SIGTERM shall clean up as Ctrl-C does.
            before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            self._leaving.callback(signal.signal, signal.SIGTERM, before)
            self._servers()
        except BaseException:
            self._leaving.close()
            raise
        self._leaving.callback(self._drop_namespaces)
        self._leaving.callback(self._end_children)
        return self

    def __exit__(self, *error: Any) -> None:
        self._leaving.__exit__(*error)

    def _only_one(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise UsageError(
                "Another benchmark runs with this home.", remedy="Two at once would measure each other."
            ) from None
        self._leaving.callback(lock.release)

    def _servers(self) -> None:
        if self.settings.profile.name != "local":
            return
        ran_before = any(service.pid for service in supervision.status(self.settings))
        if not ran_before:
            self._leaving.callback(supervision.down, self.settings)
        supervision.up(self.settings, console=self.console)

    def _end_children(self) -> None:
        for child in self._children:
            child.end()

    def _drop_namespaces(self) -> None:
        for settings in self._namespaces.values():
            try:
                drop(settings)
            except RetailPulseError as error:
                self.say(f"[yellow]{settings.namespace.name} is left behind:[/] {error}")


def wait_until(condition: Any, children: Sequence[Child], *, seconds: float, what: str) -> None:
    """Wait for a condition while some processes go on.

    Raises
    ------
    RetailPulseError
        It took too long, or one of the processes failed.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        for child in children:
            child.require()
        if time.monotonic() > deadline:
            raise RetailPulseError(f"Waited {seconds:.0f} s in vain for {what}.")
        time.sleep(_POLL_SECONDS)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def processor_seconds(pid: int) -> float:
    """Processor seconds of a process and all below it, those that have ended included."""
    total = 0.0
    for process in strays.tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its parent has its time
        # The children's time is that of children that have ended and were waited for.
        total += times.user + times.system + times.children_user + times.children_system
    return total


def project_file(*parts: str) -> Path:
    """A file of the checkout."""
    root = project_root()
    if root is None:
        raise UsageError("The benchmark needs a checkout of the project.")
    return root.joinpath(*parts)
