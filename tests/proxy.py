"""A TCP proxy in front of a shared server, which a test may cut and stop as it must not stop the server."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import closing, suppress

__all__ = ["Proxy"]


class Proxy:
    """Hands all bytes on between clients and a server, can cut its connections, and stop listening.

    With a certificate it speaks TLS to the clients, and plainly to the server. With `drop` it closes so many
    connections as soon as something is asked on them.
    """

    def __init__(self, target: tuple[str, int], tls: ssl.SSLContext | None = None, *, drop: int = 0) -> None:
        self._target = target
        self.drop = drop
        self._tls = tls
        self._pairs: list[socket.socket] = []
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            self.port: int = probe.getsockname()[1]
        self.start()

    def start(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        """Drop every connection, and go on listening."""
        pairs, self._pairs = self._pairs, []
        for end in pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def stop(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._server.close()
        self.cut()

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = server.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with suppress(OSError):
            if self._tls:
                near = self._tls.wrap_socket(near, server_side=True)
            if self.drop and near.recv(1):
                self.drop -= 1
                near.close()
                return
            far = socket.create_connection(self._target)
            self._pairs += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
