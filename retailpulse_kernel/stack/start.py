"""Start services under the supervisor and wait until each answers."""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import nullcontext

from rich.console import Console

from retailpulse_kernel.ground.errors import ServiceError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.daemon import Supervisor, tail
from retailpulse_kernel.stack.configuration import prepare
from retailpulse_kernel.stack.health import check
from retailpulse_kernel.stack.services import Service, address

__all__ = ["Start"]

_POLL_SECONDS = 0.3
#: How often it is said what is waited for: in a line that moves in a terminal, and in lines of a log.
_MOVE_SECONDS, _LINE_SECONDS = 1.0, 10.0


class Start:
    """One start of several services, each as soon as those that it needs are healthy.

    Parameters
    ----------
    settings : Settings
        Where everything is.
    supervisor : Supervisor
        Runs, and knows the services.
    services : list of Service
        With all that they need.
    console : rich.console.Console
        Gets a line for each service as it becomes healthy, and what is waited for.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor, services: list[Service], console: Console) -> None:
        self._settings, self._supervisor, self._console = settings, supervisor, console
        self._services = services
        self._healthy = {service.name: threading.Event() for service in services}
        self._failed = threading.Event()
        self._width = max(15, *(len(service.name) for service in services))

    def run(self) -> None:
        """Start them all, and return when each is healthy."""
        started = time.monotonic()
        moves = self._console.is_terminal
        pause = _MOVE_SECONDS if moves else _LINE_SECONDS
        with (
            ThreadPoolExecutor(len(self._services)) as pool,
            self._console.status("") if moves else nullcontext() as status,
        ):
            futures = [pool.submit(self._start, service) for service in self._services]
            try:
                while wait(futures, pause, FIRST_EXCEPTION).not_done and not self._failed.is_set():
                    said = f"waiting for {', '.join(self._awaited())} ({time.monotonic() - started:.0f} s)"
                    if status is None:
                        self._console.print(f"  {said}", soft_wrap=True)
                    else:
                        status.update(said)
                for future in futures:
                    future.result()
            finally:
                self._failed.set()
        self._console.print(f"all healthy after {time.monotonic() - started:.1f} s", style="bold")

    def _awaited(self) -> list[str]:
        """The services under way: those that wait for another one are not."""
        return [
            service.name
            for service in self._services
            if not self._healthy[service.name].is_set() and all(self._healthy[need].is_set() for need in service.needs)
        ]

    def _start(self, service: Service) -> None:
        try:
            for need in service.needs:
                while not self._healthy[need].wait(_POLL_SECONDS):
                    if self._failed.is_set():
                        return
            self._start_one(service)
        except BaseException:
            self._failed.set()
            raise

    def _start_one(self, service: Service) -> None:
        begun = time.monotonic()
        info = self._supervisor.processes()[service.name]
        was_running = info["statename"] == "RUNNING"
        if not was_running:
            prepare(self._settings, service)
            self._supervisor.start_program(service.name)
        while (reason := check(self._settings, service.name)) is not None:
            if self._failed.is_set():
                return
            self._raise_if_dead(service, begun, reason)
            time.sleep(_POLL_SECONDS)
        self._healthy[service.name].set()
        took = "already up" if was_running else f"{time.monotonic() - begun:5.1f} s"
        self._console.print(
            f"  {service.name:<{self._width}} {address(self._settings, service):<16} [green]healthy[/]  {took}"
        )

    def _raise_if_dead(self, service: Service, begun: float, reason: str) -> None:
        state = self._supervisor.processes().get(service.name, {}).get("statename", "STOPPED")
        seconds = time.monotonic() - begun
        if state in ("FATAL", "STOPPED", "EXITED"):
            what = f"{service.name} ends as soon as it starts"
        elif seconds > service.start_seconds:
            what = f"{service.name} does not answer after {seconds:.0f} s ({reason})"
        else:
            return
        lines = tail(self._settings, service.name)
        raise ServiceError(
            f"{what}. Its log ends with:\n{lines}\n",
            remedy=f"See `retailpulse logs {service.name}`; `retailpulse doctor` checks the machine.",
        )
