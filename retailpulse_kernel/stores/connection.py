"""What the stores' connections have in common: opened when first used, opened again when lost."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from retailpulse_kernel.ground.addresses import CassandraAddress, HBaseAddress, HiveAddress
from retailpulse_kernel.ground.errors import ProfileError, StoreUnavailable
from retailpulse_kernel.ground.settings import Settings

__all__ = [
    "CONNECT_TIMEOUT",
    "Address",
    "Reconnecting",
    "causes",
    "close_all",
    "refused",
    "tls_context",
    "unavailable",
    "why_tls_failed",
    "why_unreachable",
]

Address = tuple[str, int]
"""A host and a port."""

#: Seconds that a server has to accept a connection.
CONNECT_TIMEOUT = 3.0

C = TypeVar("C")
T = TypeVar("T")


_used: weakref.WeakSet[Reconnecting[Any]] = weakref.WeakSet()
#: Open connections whose users are gone, with what closes each.
_left: list[tuple[Callable[[Any], object], Any]] = []


class Reconnecting(Generic[C]):
    """A connection that survives a restart of its server.

    Servers close idle connections (HBase's Thrift server after a minute), and restart. A request on a
    connection that turns out to be lost is made once more on a new one, so requests must be idempotent.

    Parameters
    ----------
    connect : callable
        Opens a connection.
    close : callable
        Closes one.
    is_lost : callable
        Whether an error means that the connection is of no more use.
    shared : bool
        Whether several threads may use one connection at the same time. Otherwise they take turns.
    """

    def __init__(
        self,
        connect: Callable[[], C],
        *,
        close: Callable[[C], object],
        is_lost: Callable[[Exception], bool],
        shared: bool = False,
    ) -> None:
        self._connect, self._close, self._is_lost = connect, close, is_lost
        #: The open connection, if any.
        self._held: list[C] = []
        self._opening = threading.RLock()
        self._turn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext() if shared else self._opening
        _used.add(self)
        # A connection is not closed while Python collects garbage: its own threads may hold the locks that this takes.
        weakref.finalize(self, _leave, self._held, close).atexit = False

    def run(self, request: Callable[[C], T]) -> T:
        """The request's result; its error when a new connection does not help either.

        Parameters
        ----------
        request : callable
            Takes the connection. It is called again when the connection was lost: doing it twice must do no harm.
        """
        with self._turn:
            connection, is_new = self._get()
            try:
                return request(connection)
            except Exception as error:
                if not self._is_lost(error):
                    raise
                self._forget(connection)
                if is_new:
                    raise
            connection, _ = self._get()
            try:
                return request(connection)
            except Exception as error:
                if self._is_lost(error):
                    self._forget(connection)
                raise

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        with self._opening:
            for connection in list(self._held):
                self._forget(connection)

    def _get(self) -> tuple[C, bool]:
        with self._opening:
            is_new = not self._held
            if is_new:
                _close_left()
                self._held.append(self._connect())
            return self._held[0], is_new

    def _forget(self, connection: C) -> None:
        with self._opening:
            if self._held and self._held[0] is connection:
                self._held.clear()
        with contextlib.suppress(Exception):  # a broken connection can't always be closed in order
            self._close(connection)


def close_all() -> None:
    """Close the connections of this process, which is about to end.

    Cassandra's driver closes its own after Python has ended the threads that it works with, and prints a traceback.
    """
    for connection in list(_used):
        connection.close()
    _close_left()


def _close_left() -> None:
    while _left:
        close, connection = _left.pop()
        with contextlib.suppress(Exception):  # as in `Reconnecting`
            close(connection)


def _leave(held: list[Any], close: Callable[[Any], object]) -> None:
    """Keep the open connection of a user that is gone, to be closed before the next one is opened or at the end."""
    _left.extend((close, connection) for connection in held)


def why_unreachable(addresses: Iterable[Address], timeout: float = CONNECT_TIMEOUT) -> str | None:
    """Why none of some addresses takes a connection, in words; None when one does.

    Parameters
    ----------
    addresses : iterable of (host, port)
        Tried in turn.
    timeout : float
        Seconds for each.
    """
    why = "the profile names no address"
    for host, port in addresses:
        try:
            socket.create_connection((host, port), timeout).close()
        except (socket.gaierror, UnicodeError):
            why = f"the host name {host!r} is not known"
        except ConnectionRefusedError:
            why = "nothing listens there"
        except TimeoutError:
            why = f"no answer within {timeout:g} s"
        except OSError as error:
            why = error.strerror or str(error)
        else:
            return None
    return why


def tls_context(address: CassandraAddress | HBaseAddress | HiveAddress) -> ssl.SSLContext | None:
    """How to encrypt a connection; None where the profile asks for none.

    Parameters
    ----------
    address : CassandraAddress or HBaseAddress or HiveAddress
        Its files may begin with ``~``.

    Raises
    ------
    ProfileError
        A file of certificates is not there, or is none.
    """
    if not address.encrypted:
        return None
    files = (address.ca_location, address.certificate_location, address.key_location)
    authorities, certificate, key = (str(Path(file).expanduser()) if file else None for file in files)
    try:
        context = ssl.create_default_context(cafile=authorities)
        if certificate:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(file for file in (authorities, certificate, key) if file)
        raise ProfileError(
            f"The certificates in {named} can't be read: {error.strerror or error}.",
            remedy="Check ca_location, certificate_location and key_location in the profile.",
        ) from error
    return context


def why_tls_failed(error: BaseException) -> str | None:
    """What went wrong with encryption, in words; None where something else did.

    Parameters
    ----------
    error : BaseException
        What a client raised.
    """
    for cause in causes(error):
        said = str(cause)
        if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in said:
            return f"its certificate is not trusted ({said.rpartition('failed: ')[2].partition(' (_ssl')[0]})"
        # Some clients keep only the text.
        if isinstance(cause, ssl.SSLError) or "[SSL:" in said:
            return "it does not speak TLS as the profile asks it to"
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from; clients keep the first one in different places.

    Parameters
    ----------
    error : BaseException
        What a client raised.
    """
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, BaseException) or found in seen:
            continue
        seen.append(found)
        yield found
        errors = getattr(found, "errors", None)
        waiting += [found.__cause__, found.__context__, getattr(found, "inner", None), *found.args]
        waiting += list(errors.values()) if isinstance(errors, dict) else []


def refused(store: str, server: str, addresses: Iterable[Address], user: str | None, why: str) -> StoreUnavailable:
    """The error for a server that does not let this user in.

    Parameters
    ----------
    store : str
        As in `StoreUnavailable`.
    server : str
        Its name for people.
    addresses : iterable of (host, port)
        Where it is.
    user : str or None
        Who was refused; None where nobody was named.
    why : str
        What the server said.
    """
    where = ",".join(f"{host}:{port}" for host, port in addresses)
    return StoreUnavailable(
        store,
        f"{server} at {where} refuses the user {user!r}: {why.rstrip('.')}.",
        remedy=f"Check username and password in [{store}] of the profile; `%rp profile` shows where they come from.",
    )


def unavailable(
    settings: Settings, store: str, server: str, addresses: Iterable[Address], why: str, service: str
) -> StoreUnavailable:
    """The error for a server that can't be used.

    Parameters
    ----------
    settings : Settings
        The profile decides what is to be done.
    store : str
        As in `StoreUnavailable`.
    server : str
        Its name for people.
    addresses : iterable of (host, port)
        Where it should be.
    why : str
        What was seen.
    service : str
        What ``retailpulse up`` starts it by.
    """
    where = ",".join(f"{host}:{port}" for host, port in addresses)
    if settings.profile.name == "local":
        remedy = f"Start it with `retailpulse up {service}`; `retailpulse status` shows what runs."
    else:
        remedy = f"Check [{store}] in the profile {settings.profile_name!r}, or start the server there."
    return StoreUnavailable(store, f"{server} at {where} does not answer: {why.rstrip('.')}.", remedy=remedy)
