"""A TCP proxy whose connections a test can cut."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

__all__ = ["Proxy"]

_CHUNK = 1 << 16


class Proxy:
    """Hands all bytes on between clients and a server on this machine.

    Parameters
    ----------
    port : int
        The server's.

    Attributes
    ----------
    port : int
        Where clients connect to.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> int:
        """Reset every connection, in the middle of whatever it carries; how many there were."""
        ends = list(self._open)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(ends) // 2

    def close(self) -> None:
        """Take no more connections, and cut those there are."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._server, timeout=10) as server:
            server.settimeout(None)
            self._open |= {client, server}
            try:
                with selectors.DefaultSelector() as selector:
                    selector.register(client, selectors.EVENT_READ, server)
                    selector.register(server, selectors.EVENT_READ, client)
                    while True:
                        for key, _ in selector.select():
                            data = key.fileobj.recv(_CHUNK)  # type: ignore[union-attr]
                            if not data:
                                return
                            key.data.sendall(data)
            finally:
                self._open -= {client, server}
