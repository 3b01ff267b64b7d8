"""How to reach HiveServer2: with or without TLS and a login, and never waiting for it without end."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from retailpulse_kernel.ground.errors import StoreUnavailable
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.connection import (
    CONNECT_TIMEOUT,
    refused,
    tls_context,
    unavailable,
    why_tls_failed,
    why_unreachable,
)

if TYPE_CHECKING:
    from pyhive.hive import Connection

__all__ = ["connect", "explained"]

#: Seconds that HiveServer2 has to open a session, once it has answered; on a busy machine it takes some.
_SESSION_TIMEOUT = 20.0
#: Hive's number and name of a timestamp with local time zone, which the client does not know.
_ZONED_TIME = (22, "TIMESTAMPLOCALTZ_TYPE")
#: What a server says, or does, that expects another login than it gets.
_LOGIN_SIGNS = ("Bad status", "Bad SASL", "Error validating", "read timeout", "timed out", "read 0 bytes")


def connect(settings: Settings, *, request_timeout: float | None = None) -> Connection:
    """A session of HiveServer2.

    Parameters
    ----------
    settings : Settings
        Its profile has the address.
    request_timeout : float, optional
        Seconds that a request may take; a query may take as long as it likes when absent.

    Raises
    ------
    MissingExtra
        The extra ``hive`` is not installed.
    OSError, thrift.transport.TTransport.TTransportException
        It can't be had; `explained` says why in words.
    """
    require_extra("hive")

    from pyhive import hive
    from TCLIService.ttypes import TTypeId
    from thrift.transport.TSocket import TSocket
    from thrift.transport.TSSLSocket import TSSLSocket

    TTypeId._VALUES_TO_NAMES.setdefault(*_ZONED_TIME)
    hive.TYPES_CONVERTER |= {"DATE_TYPE": _date, _ZONED_TIME[1]: _zoned_time}
    address = settings.profile.hive
    if why := why_unreachable([(address.host, address.port)]):
        raise OSError(why)
    context = tls_context(address)

    class Encrypted(TSSLSocket):
        def close(self) -> None:
            if self.handle is not None:  # thrift fails over one that was never opened, and hides why it was not
                super().close()

    socket: Any = TSocket(address.host, address.port)
    if context is not None:
        socket = Encrypted(address.host, address.port, ssl_context=context)
    socket.setTimeout(CONNECT_TIMEOUT * 1000)
    patience = _SESSION_TIMEOUT if request_timeout is None else request_timeout
    session = hive.connect(
        thrift_transport=_transport(settings, socket, patience), username=address.username or "retailpulse"
    )
    socket.setTimeout(None if request_timeout is None else request_timeout * 1000)
    return session


def _date(text: str) -> date | str:
    try:
        return date.fromisoformat(text)
    except ValueError:  # the year 10,000
        return text


def _zoned_time(text: str) -> datetime | str:
    moment, _, zone = text.rpartition(" ")
    try:
        return datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except (ValueError, OverflowError, ZoneInfoNotFoundError):
        return text


def _transport(settings: Settings, socket: Any, patience: float) -> Any:
    """What carries messages; once it is open, the server has longer to answer."""
    from pyhive.hive import get_installed_sasl
    from thrift.transport.TTransport import TBufferedTransport
    from thrift_sasl import TSaslClientTransport

    address = settings.profile.hive

    def patient() -> None:
        socket.setTimeout(patience * 1000)

    class Plain(TBufferedTransport):
        def open(self) -> None:
            super().open()
            patient()

    class Sasl(TSaslClientTransport):
        def open(self) -> None:
            super().open()
            patient()

    if address.auth == "NOSASL":
        return Plain(socket)
    # In the mode NONE any password does, but there must be one.
    password = address.secret() or "x"

    def client() -> Any:
        return get_installed_sasl(
            host=address.host,
            sasl_auth="PLAIN",
            username=address.username or "retailpulse",
            password=password,
        )

    return Sasl(client, "PLAIN", socket)


def explained(settings: Settings, error: Exception) -> StoreUnavailable:
    """Why HiveServer2 can't be used, in words.

    Parameters
    ----------
    settings : Settings
        Which profile was used.
    error : Exception
        What the client raised.
    """
    address = settings.profile.hive
    hosts = [(address.host, address.port)]
    said = str(error)
    why = why_unreachable(hosts) or why_tls_failed(error)
    if why is None and address.auth == "NOSASL" and "read 0 bytes" in said:
        why = "it hangs up; where it asks for a login, set auth, username and password"
    elif why is None and address.auth != "NOSASL" and any(sign in said for sign in _LOGIN_SIGNS):
        if "Bad status" in said or "Error validating" in said:
            return refused("hive", "HiveServer2", hosts, address.username, "the login is not valid")
        why = f"it does not take a login with auth = {address.auth!r}; without one it is 'NOSASL'"
    return unavailable(settings, "hive", "HiveServer2", hosts, why or said or type(error).__name__, "hiveserver2")
