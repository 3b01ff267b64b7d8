"""Ask each server something real. An open port says little: HBase opens its port long before it answers."""

from __future__ import annotations

import io
import logging
import socket
import struct
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

from retailpulse_kernel.ground.credentials import resolve_secret
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.settings import Settings

__all__ = ["check"]

_SECONDS = 5.0
#: Its first answer connects to the Metastore.
_SPARK_SECONDS = 30.0
_HEALTH_SESSION = "6d1f4c2e-0f2b-4c0f-9a52-7c3f4b8e2d10"
#: What Spark says of a session that was idle for too long: it never opens it again.
_ENDED = "INVALID_HANDLE.SESSION_CLOSED"

# A server that is not up yet is not news here: without a handler of their own, these would write it to stderr.
for _name in ("cassandra", "thrift", "retailpulse_kernel.stack.health"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


def check(settings: Settings, name: str) -> str | None:
    """Ask a server; None when it answered, otherwise why it did not.

    Parameters
    ----------
    settings : Settings
        Its profile says where the servers are.
    name : str
        A service's name.
    """
    try:
        CHECKS[name](settings)
    except Exception as error:
        # Five client libraries, each with its own tree of errors: whatever it was, the server did not answer.
        reason = (error.message if isinstance(error, RetailPulseError) else str(error)).strip().splitlines()
        kind = "" if isinstance(error, RetailPulseError) else f"{type(error).__name__}: "
        return f"{kind}{reason[0]}"[:200] if reason else type(error).__name__
    return None


def _kafka(settings: Settings) -> None:
    from retailpulse_kernel.stores.kafka.config import reach

    if not reach(settings, _SECONDS):
        raise ConnectionError("no broker in the metadata")


def _cassandra(settings: Settings) -> None:
    from retailpulse_kernel.stores.cassandra import connection as cassandra

    try:
        session = cassandra.connect(settings, request_timeout=_SECONDS)
    except Exception as error:
        raise cassandra.explained(settings, error) from error
    try:
        session.execute("select release_version from system.local").one()
    finally:
        session.cluster.shutdown()


def _hbase(settings: Settings) -> None:
    """Ask the master for its tables. No Python client speaks HBase's own RPC; one call of it is this short.

    The master refuses this call until it is initialized, which is what we want to know.
    """
    from retailpulse_kernel.stack.services import SERVICES, ports

    with socket.create_connection(("127.0.0.1", ports(settings, SERVICES["hbase"])["port"]), _SECONDS) as connection:
        user = _field(1, b"retailpulse")
        hello = _field(1, user) + _field(2, b"MasterService")
        header = b"\x08\x01" + _field(3, b"GetTableNames") + b"\x20\x01"
        call = _varint(len(header)) + header + _varint(0)
        simple_authentication = b"HBas\x00\x50"
        connection.sendall(simple_authentication + _framed(hello) + _framed(call))
        with connection.makefile("rb") as answer:
            (length,) = struct.unpack(">i", _read(answer, 4))
            body = _read(answer, length)
    reply = body[1 : 1 + body[0]] if body[0] < 0x80 else body[2 : 2 + (body[0] & 0x7F) + (body[1] << 7)]
    if b"Exception" in reply:
        name = reply[reply.index(b"org.") :].split(b"\x12")[0] if b"org." in reply else b"an exception"
        raise ConnectionError(f"the master is not ready: {name.decode(errors='replace').rpartition('.')[2]}")


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])


def _field(tag: int, value: bytes) -> bytes:
    """A length-delimited Protobuf field."""
    return bytes([tag << 3 | 2]) + _varint(len(value)) + value


def _framed(message: bytes) -> bytes:
    return struct.pack(">i", len(message)) + message


def _read(stream: io.BufferedReader, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise ConnectionError("the server closed the connection")
    return data


def _hbase_thrift(settings: Settings) -> None:
    from retailpulse_kernel.stores.hbase import connection as hbase

    try:
        with closing(hbase.connect(settings, request_timeout=int(_SECONDS * 1000))) as connection:
            connection.tables()
    except Exception as error:
        raise hbase.explained(settings, error) from error


def _metastore(settings: Settings) -> None:
    require_extra("hive")

    import thriftpy2
    from thriftpy2.rpc import make_client

    idl = io.StringIO("service ThriftHiveMetastore { list<string> get_all_databases() }")
    metastore = thriftpy2.load_fp(idl, "retailpulse_metastore_thrift")
    host, _, port = settings.profile.hive.metastore.rpartition("/")[2].rpartition(":")
    client = make_client(metastore.ThriftHiveMetastore, host, int(port), timeout=int(_SECONDS * 1000))
    with closing(client):
        if "default" not in client.get_all_databases():
            raise ConnectionError("the Metastore has no database 'default'")


def _spark_connect(settings: Settings) -> None:
    """Ask for the databases: Spark's server answers, and its Metastore.

    Spark's own client takes two seconds to import; this one call of it is short. All of these ask in one session, and
    in another once it has ended.
    """
    try:
        _ask_spark_connect(settings, _HEALTH_SESSION)
    except ConnectionError as error:
        if _ENDED not in str(error):
            raise
        _ask_spark_connect(settings, str(uuid.uuid5(uuid.UUID(_HEALTH_SESSION), f"{datetime.now(UTC):%Y-%m-%d %H:%M}")))


def _ask_spark_connect(settings: Settings, session: str) -> None:
    require_extra("streaming")

    import grpc

    address = settings.profile.spark
    target, _, more = (address.remote or "").removeprefix("sc://").partition("/")
    # Plan.root, which is Relation.sql.query.
    plan = _field(1, _field(10, _field(1, b"show databases")))
    request = _field(1, session.encode()) + _field(2, _field(1, b"health")) + _field(3, plan)
    token = [("authorization", f"Bearer {resolve_secret(address.token)}")] if address.token else []
    # As Spark's client: a token goes in clear to this machine only, by this name.
    encrypted = "use_ssl=true" in more.lower() or (token and not target.startswith("localhost:"))
    options = [("grpc.enable_http_proxy", 0)]
    with (
        grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
        if encrypted
        else grpc.insecure_channel(target, options)
    ) as channel:
        ask = channel.unary_stream("/spark.connect.SparkConnectService/ExecutePlan")
        try:
            for _ in ask(request, metadata=token, timeout=_SPARK_SECONDS):
                pass
        except grpc.RpcError as error:
            raise ConnectionError(f"{error.code().name}: {error.details()}") from error


def _registry(settings: Settings) -> None:
    """Ask the one on this machine for its subjects."""
    import httpx

    from retailpulse_kernel.stack.services import SERVICES, address

    subjects = f"http://{address(settings, SERVICES['registry'])}/apis/ccompat/v7/subjects"
    httpx.get(subjects, timeout=_SECONDS, trust_env=False).raise_for_status()


def _airflow(name: str) -> Callable[[Settings], None]:
    def ask(settings: Settings) -> None:
        from retailpulse_kernel.stack.airflow import require_healthy

        require_healthy(settings, name)

    return ask


def _hiveserver2(settings: Settings) -> None:
    from retailpulse_kernel.stores.hive import connection as hive

    try:
        with closing(hive.connect(settings, request_timeout=_SECONDS)) as session, closing(session.cursor()) as cursor:
            cursor.execute("select 1")
            cursor.fetchall()
    except Exception as error:
        raise hive.explained(settings, error) from error


CHECKS: dict[str, Callable[[Settings], None]] = {
    "kafka": _kafka,
    "cassandra": _cassandra,
    "hbase": _hbase,
    "hbase-thrift": _hbase_thrift,
    "hive-metastore": _metastore,
    "hiveserver2": _hiveserver2,
    "spark-connect": _spark_connect,
    "registry": _registry,
    **{
        name: _airflow(name)
        for name in ("airflow-api-server", "airflow-dag-processor", "airflow-triggerer", "airflow-scheduler")
    },
}
