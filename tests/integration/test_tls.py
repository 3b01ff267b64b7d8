"""TLS to the stores: a proxy speaks it to our clients, and plainly to the shared servers behind it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import ProfileError, StoreUnavailable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.workbench.workbench import Workbench
from tests.certificates import self_signed
from tests.proxy import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.long]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


STORES = ["cassandra", "hbase", "hive", "kafka"]


@pytest.fixture
def proxy(stack: Settings, certificate: Path, request: pytest.FixtureRequest) -> Iterator[Proxy]:
    profile = stack.profile
    store = request.node.callspec.params["store"]
    kafka = int(profile.kafka.bootstrap.rpartition(":")[2])
    port = kafka if store == "kafka" else getattr(profile, store).port
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    made = Proxy(("127.0.0.1", port), context)
    yield made
    made.stop()


def bench(store: str, port: int, folder: Path, *lines: str) -> Workbench:
    address = f'bootstrap = "127.0.0.1:{port}"' if store == "kafka" else f"port = {port}"
    profile = folder / "tls.toml"
    profile.write_text("\n".join([f"[{store}]", address, *lines]))
    return Workbench(str(profile), "ct_tls")


def encrypted(store: str) -> str:
    return 'security_protocol = "SSL"' if store == "kafka" else "tls = true"


# Not Kafka's: a broker names its own listener, which speaks no TLS here, and the client goes there next.
@pytest.mark.parametrize("store", [store for store in STORES if store != "kafka"])
def test_with_the_certificate_that_the_profile_trusts(
    proxy: Proxy, certificate: Path, tmp_path: Path, store: str
) -> None:
    client = getattr(bench(store, proxy.port, tmp_path, encrypted(store), f'ca_location = "{certificate}"'), store)
    assert client.ping()
    client.close()


@pytest.mark.parametrize("store", STORES)
def test_a_certificate_that_nobody_vouches_for(proxy: Proxy, tmp_path: Path, store: str) -> None:
    client = getattr(bench(store, proxy.port, tmp_path, encrypted(store)), store)
    with pytest.raises(StoreUnavailable, match=r"certificate is not trusted|no TLS with it \(.*certificate"):
        client.ping()


@pytest.mark.parametrize("store", STORES)
def test_a_server_that_speaks_no_tls(stack: Settings, certificate: Path, tmp_path: Path, store: str) -> None:
    kafka = int(stack.profile.kafka.bootstrap.rpartition(":")[2])
    port = kafka if store == "kafka" else getattr(stack.profile, store).port
    client = getattr(bench(store, port, tmp_path, encrypted(store), f'ca_location = "{certificate}"'), store)
    with pytest.raises(StoreUnavailable, match="TLS"):
        client.ping()


def test_a_certificate_that_is_not_there(stack: Settings, tmp_path: Path) -> None:
    rp = bench("cassandra", stack.profile.cassandra.port, tmp_path, 'ca_location = "nowhere.pem"')
    with pytest.raises(ProfileError, match=r"certificates in nowhere.pem can't be read"):
        rp.cassandra.ping()
