"""Sessions of the Spark Connect server: one for each namespace of a notebook, and what is said when the server is lost.

The session is Spark's own; only the channel under it is watched. Left to itself, Spark's client tries for minutes to
reach a server that has ended, and a notebook would stand still for as long.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import grpc

from retailpulse_kernel.ground.credentials import resolve_secret
from retailpulse_kernel.ground.errors import StoreUnavailable
from retailpulse_kernel.ground.notes import note
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.connection import Address, unavailable, why_unreachable

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

__all__ = ["connect_session"]

#: How long a server that is starting may take until it listens.
_START_SECONDS = 120.0
_POLL_SECONDS = 0.3
#: States of a program that supervisor does not bring back by itself; one that has just died is EXITED for a moment.
_NOT_STARTED = ("", "STOPPED", "STOPPING", "FATAL")
#: What the server says of a session that it does not know (any more), or that an earlier server had.
_ENDED = ("INVALID_HANDLE.SESSION_CHANGED", "INVALID_HANDLE.SESSION_CLOSED", "INVALID_HANDLE.SESSION_NOT_FOUND")
_sessions: dict[tuple[str, str], SparkSession] = {}


def connect_session(settings: Settings) -> SparkSession | None:
    """The process's session on the profile's Connect server, in the namespace's database.

    None where the profile names no server, or that of the local stack was not started. A session that has ended,
    with its server or because it was idle, is replaced by a new one, with a note.

    Parameters
    ----------
    settings : Settings
        Which profile and namespace.

    Raises
    ------
    StoreUnavailable
        The server does not answer.
    """
    remote = settings.profile.spark.remote
    if not remote:
        return None
    key = remote, settings.namespace.name
    session = _sessions.get(key)
    if session is not None:
        try:
            _use_database(session, settings)
        except StoreUnavailable as lost:
            del _sessions[key]
            session = None
            with note(f"{lost.message} A new one begins; views that were registered are gone."):
                pass
    if session is None:
        if not _listens(settings):
            return None
        session = _opened(settings, remote)
        _use_database(session, settings)
        _sessions[key] = session
    return session


def _use_database(session: SparkSession, settings: Settings) -> None:
    from pyspark.errors import AnalysisException

    with suppress(AnalysisException):  # a namespace without an archive has no database yet
        session.catalog.setCurrentDatabase(settings.namespace.database)


def _opened(settings: Settings, remote: str) -> SparkSession:
    # After `%reset` a notebook's module lacks this, and Spark's client looks at it when it is imported.
    vars(sys.modules["__main__"]).setdefault("__spec__", None)
    from pyspark.sql.connect.client import DefaultChannelBuilder
    from pyspark.sql.connect.session import SparkSession

    from retailpulse_kernel.stores.spark.session import quieten

    token = settings.profile.spark.token
    # The session ends with the notebook, not half an hour after it; and gRPC says nothing of servers that stop.
    os.environ.setdefault("SPARK_CONNECT_RELEASE_SESSION_ON_EXIT", "true")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    quieten()
    logging.getLogger("pyspark.sql.connect.logging").setLevel(logging.CRITICAL)
    # A proxy of the environment is for what is far away; Connect's servers are reached directly, as all our stores are.
    url = remote if ";" in remote else f"{remote.rstrip('/')}/"
    channel = DefaultChannelBuilder(
        f"{url};token={quote(resolve_secret(token), safe='')}" if token else url, [("grpc.enable_http_proxy", 0)]
    )
    channel.add_interceptor(_Watch(remote))
    return SparkSession.builder.channelBuilder(channel).create()


def _listens(settings: Settings) -> bool:
    """Whether the server takes connections, once it has started; False where the local stack has none."""
    address = _address(settings.profile.spark.remote or "")
    if (why := why_unreachable([address])) is None:
        return True
    if settings.profile.name != "local":
        raise unavailable(settings, "spark", "Spark's Connect server", [address], why, "spark-connect")
    from retailpulse_kernel.machine.daemon import Supervisor

    def state() -> str:
        return str(Supervisor(settings).processes().get("spark-connect", {}).get("statename", ""))

    if state() in _NOT_STARTED:
        return False
    with note("Spark's server is starting; it takes about 10 s …") as say:
        began = time.monotonic()
        while why_unreachable([address]) is not None:
            if state() in _NOT_STARTED or time.monotonic() - began > _START_SECONDS:
                raise StoreUnavailable(
                    "spark", "Spark's server does not start.", remedy="See `retailpulse logs spark-connect`."
                )
            time.sleep(_POLL_SECONDS)
        say(f"Spark's server is ready ({time.monotonic() - began:.0f} s).")
    return True


def _address(remote: str) -> Address:
    place = urlsplit(remote)
    return place.hostname or "", place.port or 15002


class _Watch(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Turns the loss of a server, or of the session on it, into `StoreUnavailable`, which no client tries again."""

    def __init__(self, remote: str) -> None:
        self._remote = remote

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        call = continuation(details, request)
        error = call.exception()
        if isinstance(error, grpc.RpcError):
            self._raise_if_lost(error)
        return call

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return self._watched(continuation(details, request))

    def _watched(self, call: Any) -> Iterator[Any]:
        try:
            yield from call
        except grpc.RpcError as error:
            self._raise_if_lost(error)
            raise

    def _raise_if_lost(self, error: Any) -> None:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            where = self._remote.removeprefix("sc://")
            said = f"Spark's server at {where} has ended: it was killed, or its machine ran out of memory."
        elif any(word in str(error.details()) for word in _ENDED):
            said = "This notebook's session of Spark has ended: its server restarted, or nothing was asked for long."
        else:
            return
        remedy = "Run the cell again, from where it asks for `rp.spark`; views that were registered are gone."
        raise StoreUnavailable("spark", said, remedy=remedy) from error
