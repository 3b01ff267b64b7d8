"""How to reach HBase's Thrift server, with or without TLS. It knows no user and password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retailpulse_kernel.ground.errors import StoreUnavailable
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.connection import (
    CONNECT_TIMEOUT,
    tls_context,
    unavailable,
    why_tls_failed,
    why_unreachable,
)

if TYPE_CHECKING:
    import happybase

__all__ = ["connect", "explained"]

#: Milliseconds that a request may take.
_REQUEST_TIMEOUT = 30_000


def connect(settings: Settings, *, request_timeout: int = _REQUEST_TIMEOUT) -> happybase.Connection:
    """A connection to the Thrift server, whose tables have the namespace's prefix.

    Parameters
    ----------
    settings : Settings
        Its profile has the address.
    request_timeout : int
        Milliseconds that a request may take.

    Raises
    ------
    MissingExtra
        The extra ``hbase`` is not installed.
    OSError, thriftpy2.thrift.TException
        It can't be had; `explained` says why in words.
    """
    require_extra("hbase")

    import happybase
    from Hbase_thrift import Hbase
    from thriftpy2.thrift import TClient
    from thriftpy2.transport import TSSLSocket

    address = settings.profile.hbase
    # happybase has one timeout for everything; connecting shall not take as long as a scan may.
    if why := why_unreachable([(address.host, address.port)]):
        raise OSError(why)
    context = tls_context(address)

    class Connection(happybase.Connection):
        def _refresh_thrift_client(self) -> None:
            super()._refresh_thrift_client()
            if context is None:
                return
            # happybase has no TLS: its socket is exchanged for one that has.
            socket = TSSLSocket(
                address.host,
                address.port,
                socket_timeout=request_timeout,
                connect_timeout=int(CONNECT_TIMEOUT * 1000),
                ssl_context=context,
            )
            self.transport = self._transport_class(socket)
            self.client = TClient(Hbase, self._protocol_class(self.transport, decode_response=False))

    return Connection(
        address.host,
        address.port,
        table_prefix=settings.namespace.hbase_prefix,
        # Not happybase's own "_": a namespace may begin with the name of another one and "_".
        table_prefix_separator=".",
        timeout=request_timeout,
        transport=address.transport,
        protocol=address.protocol,
    )


def explained(settings: Settings, error: Exception) -> StoreUnavailable:
    """Why the Thrift server can't be used, in words.

    Parameters
    ----------
    settings : Settings
        Which profile was used.
    error : Exception
        What the client raised.
    """
    hosts = [(settings.profile.hbase.host, settings.profile.hbase.port)]
    why = why_unreachable(hosts) or why_tls_failed(error) or getattr(error, "message", None) or str(error)
    return unavailable(settings, "hbase", "HBase's Thrift server", hosts, why, service="hbase-thrift")
