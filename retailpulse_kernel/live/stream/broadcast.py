"""Between the browsers and the process that follows the stream for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.settings import Settings, environment

if TYPE_CHECKING:
    from retailpulse_kernel.live.stream.cube import Cell

__all__ = ["Broadcast"]

#: Seconds that the process has to answer a question, and to end.
_PATIENCE = 5.0
#: Seconds between two starts of a process that fails.
_AGAIN = 3.0


class Broadcast:
    """Hands on what goes between the browsers and a `Follower` in a process of its own.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    send : callable
        Sends a message and its bytes to all browsers; called from a thread.
    hz : float
        Most frames a second.
    fold_up_to : float or None
        See `Feed`, which has its own default.
    """

    def __init__(
        self, settings: Settings, send: Callable[[dict[str, Any], bytes], None], *, hz: float, fold_up_to: float | None
    ) -> None:
        self._environment = environment(settings)
        self._arguments = [f"{hz:g}", *([] if fold_up_to is None else [f"{fold_up_to:g}"])]
        self._to_browsers = send
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._clients: set[str] = set()
        self._stopped = threading.Event()
        self._answered = threading.Event()
        self._cells: list[Cell] = []
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the process before a browser asks for it: its imports take as long as the browser's."""
        with self._lock:
            if self._connection is None and not self._stopped.is_set():
                self._start()

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a browser's message, on whatever thread the kernel handles it.

        Parameters
        ----------
        message : mapping
            As the widget's JavaScript sent it.
        """
        name = str(message.get("client"))
        with self._lock:
            if message.get("op") == "bye":
                self._clients.discard(name)
            else:
                self._clients.add(name)
            if self._stopped.is_set():
                return
            if self._connection is None:
                self._start()
            self._say(message)

    def cells(self) -> list[Cell]:
        """What the view has now; what it had last where it rests or was stopped."""
        with self._lock:
            self._answered.clear()
            asked = self._say({"op": "cells"})
        if asked:
            self._answered.wait(_PATIENCE)
        return self._cells

    def stop(self) -> None:
        """End the process for good."""
        self.cells()
        with self._lock:
            self._stopped.set()
            self._say({"op": "end"})
            self._connection = None
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def _say(self, message: Mapping[str, Any]) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.send(message)
        except OSError:  # it has just ended: the thread sees to it
            return False
        return True

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            command = [
                sys.executable,
                "-m",
                "retailpulse_kernel.live.stream.follower",
                str(theirs.fileno()),
                *self._arguments,
            ]
            # In a session of its own: an interrupt of the kernel goes to its whole process group.
            process = subprocess.Popen(
                command,
                env={**os.environ, **self._environment},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._thread = threading.Thread(
            target=self._follow, args=(self._connection, process), name="retailpulse-live", daemon=True
        )
        self._thread.start()

    def _follow(self, connection: Connection, process: subprocess.Popen[bytes]) -> None:
        """Hand on what the process sends, until it ends; one that failed is started again."""
        rests = False
        with connection:
            while True:
                try:
                    message, content = connection.recv()
                except (EOFError, OSError):
                    break
                match message["op"]:
                    case "frame":
                        self._to_browsers(message, content)
                    case "cells":
                        self._cells = content
                        self._answered.set()
                    case "idle":
                        rests = True
        self._end(process)
        with self._lock:
            if self._connection is connection:
                self._connection = None
                self._clients = set() if rests else self._clients
        if rests or self._stopped.is_set():
            return
        self._to_browsers({"op": "lost"}, b"")
        if not self._stopped.wait(_AGAIN):
            self._again()

    def _again(self) -> None:
        with self._lock:
            if self._connection is None and not self._stopped.is_set() and self._clients:
                self._start()
                for client in self._clients:
                    self._say({"op": "hello", "client": client})

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
