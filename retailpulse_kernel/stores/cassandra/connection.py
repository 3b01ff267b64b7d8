"""How to reach Cassandra: with or without TLS and a login."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.errors import StoreUnavailable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.connection import (
    CONNECT_TIMEOUT,
    Address,
    causes,
    refused,
    tls_context,
    unavailable,
    why_tls_failed,
    why_unreachable,
)

if TYPE_CHECKING:
    from cassandra.cluster import Session

__all__ = ["TUPLES", "connect", "explained", "said"]

# The driver logs every reconnection attempt with a traceback; our own message says it once.
logging.getLogger("cassandra").setLevel(logging.CRITICAL)

#: The execution profile whose rows are tuples.
TUPLES = "tuples"
#: Seconds that a request may take.
_REQUEST_TIMEOUT = 20


def connect(settings: Settings, *, request_timeout: float = _REQUEST_TIMEOUT) -> Session:
    """A session of the driver, which keeps its connections by itself.

    Parameters
    ----------
    settings : Settings
        Its profile has the contact points.
    request_timeout : float
        Seconds that a request may take.

    Raises
    ------
    OSError, cassandra.cluster.NoHostAvailable
        It can't be had; `explained` says why in words.
    """
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy
    from cassandra.query import tuple_factory

    # The driver tells neither an unknown host from a closed port nor either of them at once.
    if why := why_unreachable(_hosts(settings)):
        raise OSError(why)
    address = settings.profile.cassandra
    context = tls_context(address)
    if context is not None:
        context.check_hostname = address.check_hostname
    balancing = DCAwareRoundRobinPolicy(address.datacenter)
    cluster = Cluster(
        list(address.hosts),
        port=address.port,
        auth_provider=PlainTextAuthProvider(address.username, address.secret()) if address.username else None,
        ssl_context=context,
        connect_timeout=CONNECT_TIMEOUT,
        control_connection_timeout=CONNECT_TIMEOUT,
        reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None),
        execution_profiles={
            EXEC_PROFILE_DEFAULT: ExecutionProfile(balancing, request_timeout=request_timeout),
            TUPLES: ExecutionProfile(balancing, request_timeout=request_timeout, row_factory=tuple_factory),
        },
    )
    try:
        return cluster.connect()
    except Exception:
        cluster.shutdown()
        raise


def explained(settings: Settings, error: Exception) -> StoreUnavailable:
    """Why Cassandra can't be used, in words.

    Parameters
    ----------
    settings : Settings
        Which profile was used.
    error : Exception
        What the driver raised.
    """
    from cassandra import AuthenticationFailed

    hosts, message = _hosts(settings), said(error)
    if any(isinstance(cause, AuthenticationFailed) for cause in causes(error)):
        why = "wrong user or password" if settings.profile.cassandra.username else "it asks for a login"
        return refused("cassandra", "Cassandra", hosts, settings.profile.cassandra.username, why)
    why = why_unreachable(hosts) or why_tls_failed(error) or message
    return unavailable(settings, "cassandra", "Cassandra", hosts, why, service="cassandra")


def said(error: Exception) -> str:
    """What the server said, without the driver's wrapping.

    Parameters
    ----------
    error : Exception
        What the driver raised.
    """
    inner = next(iter((getattr(error, "errors", None) or {}).values()), error)
    found = re.search(r'message="(.*)"', str(inner), re.DOTALL)
    return found[1] if found else f"{type(inner).__name__}: {inner}"


def _hosts(settings: Settings) -> list[Address]:
    address = settings.profile.cassandra
    return [(host, address.port) for host in address.hosts]
