"""Spark's Connect server as a notebook sees it, with a stand-in that answers every call in the same way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from pyspark.sql import functions as F
from pyspark.sql.connect.column import Column
from pyspark.sql.utils import is_remote

from retailpulse_kernel.ground.errors import StoreUnavailable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.spark.connect import connect_session
from retailpulse_kernel.stores.spark.session import use_functions_of

Answer = tuple[grpc.StatusCode, str]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[[Answer], tuple[Settings, list[str]]]]:
    """Starts a server that refuses each call with a status; the settings that lead there, and the calls that came."""
    servers: list[grpc.Server] = []

    def serve(answer: Answer) -> tuple[Settings, list[str]]:
        calls: list[str] = []

        class Refuses(grpc.GenericRpcHandler):
            def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
                calls.append(details.method.rpartition("/")[2])
                return grpc.unary_stream_rpc_method_handler(lambda _, context: context.abort(*answer))

        server = grpc.server(ThreadPoolExecutor(2), handlers=[Refuses()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return far(tmp_path, port), calls

    yield serve
    for server in servers:
        server.stop(None)


def far(folder: Path, port: int) -> Settings:
    profile = folder / f"far{port}.toml"
    profile.write_text(f'[spark]\nremote = "sc://127.0.0.1:{port}"\n')
    return Settings.load(home=folder, profile=str(profile), namespace=f"unit_{port}")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((grpc.StatusCode.UNAVAILABLE, "Socket closed"), r"Spark's server at 127.0.0.1:\d+ has ended: .* Run the cell"),
        ((grpc.StatusCode.INTERNAL, "[INVALID_HANDLE.SESSION_CHANGED] ..."), "session of Spark has ended: its server"),
        ((grpc.StatusCode.INTERNAL, "[INVALID_HANDLE.SESSION_CLOSED] ..."), "session of Spark has ended: its server"),
    ],
)
def test_a_lost_server_is_told_and_not_asked_again(
    serving: Callable[[Answer], tuple[Settings, list[str]]], answer: Answer, said: str
) -> None:
    settings, calls = serving(answer)
    with pytest.raises(StoreUnavailable, match=said):
        connect_session(settings)
    assert calls.count("ExecutePlan") == 1 and "ReattachExecute" not in calls


def test_a_profile_whose_server_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(
        StoreUnavailable, match=r"Spark's Connect server at 127.0.0.1:1 .*Check \[spark\] in the profile"
    ):
        connect_session(far(tmp_path, 1))


def test_without_a_server_there_is_no_session(tmp_path: Path) -> None:
    profile = tmp_path / "far.toml"
    profile.write_text("")
    assert connect_session(Settings.load(home=tmp_path, profile=str(profile))) is None
    assert connect_session(Settings.load(home=tmp_path, port_offset=11)) is None, "no local one was started"


def test_functions_are_those_of_the_session_that_was_asked_for_last() -> None:
    try:
        use_functions_of(connect=True)
        assert isinstance(F.lit(1), Column)
        use_functions_of(connect=False)
        assert not is_remote(), "Spark's own switch"
    finally:
        use_functions_of(connect=False)


_FORKS = """
import subprocess
from concurrent.futures import ThreadPoolExecutor
from retailpulse_kernel.stores.spark import connect
import grpc

server = grpc.server(ThreadPoolExecutor(2))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
grpc.channel_ready_future(channel).result(60)
print({subprocess.Popen(["true"], preexec_fn=lambda: None).wait() for _ in range(500)})
"""


def test_java_starts_beside_a_connect_session() -> None:
    """PySpark forks for its Java; gRPC in the same process let one child in a hundred die before it was Java."""
    said = subprocess.run([sys.executable, "-c", _FORKS], check=True, capture_output=True, text=True, timeout=240)
    assert said.stdout == "{0}\n", said.stderr
