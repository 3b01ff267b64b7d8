"""A Kafka that wants a login, over TLS: that of a profile is taken by reference, a wrong one is told and not shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import ProfileError, StoreUnavailable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.config import reach
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.workbench.workbench import Workbench
from tests.certificates import self_signed
from tests.servers import refused_login, server_of_its_own

pytestmark = [pytest.mark.integration, pytest.mark.long]

PASSWORD, WRONG = "tulip-in-the-rain", "stone-under-snow"


@dataclass
class Broker:
    """A broker's secured listeners, and the certificate that vouches for them."""

    login: int
    tls: int
    certificate: Path


@pytest.fixture(scope="module")
def broker(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Kafka of its own: as the local stack's, with a listener for TLS and one that wants a login, too."""
    home = tmp_path_factory.mktemp("kafka")
    settings = Settings.load(home=home, port_offset=stack.port_offset + 500)
    plain = int(settings.profile.kafka.bootstrap.rpartition(":")[2])
    made = Broker(plain + 1, plain + 2, self_signed(home))
    (home / "store.pem").write_text((home / "key.pem").read_text() + made.certificate.read_text())

    def change() -> None:
        (path,) = home.rglob("server.properties")
        listeners = f"LOGIN://127.0.0.1:{made.login},TLS://127.0.0.1:{made.tls}"
        text = path.read_text()
        for key in ("listeners=PLAINTEXT", "advertised.listeners=PLAINTEXT"):
            text = text.replace(f"\n{key}", f"\n{key.partition('=')[0]}={listeners},PLAINTEXT")
        text = text.replace("map=PLAINTEXT:PLAINTEXT", "map=LOGIN:SASL_SSL,TLS:SSL,PLAINTEXT:PLAINTEXT")
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        path.write_text(
            f"{text}\nssl.keystore.type=PEM\nssl.keystore.location={home / 'store.pem'}\n"
            "listener.name.login.sasl.enabled.mechanisms=PLAIN\n"
            f'listener.name.login.plain.sasl.jaas.config={module} required user_ana="{PASSWORD}";\n'
        )

    with server_of_its_own(settings, "kafka", change=change, ready=lambda: reach(settings, 1.0)):
        yield made


@pytest.fixture
def bench(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    """A workbench whose profile logs in by reference."""
    monkeypatch.setenv("TEST_KAFKA_PASSWORD", PASSWORD)
    profile = tmp_path / "secured.toml"
    profile.write_text(
        f'[kafka]\nbootstrap = "127.0.0.1:{broker.login}"\nsecurity_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\n'
        f'username = "ana"\npassword = "env:TEST_KAFKA_PASSWORD"\nca_location = "{broker.certificate}"\n'
    )
    made = Workbench(str(profile), "ct_login")
    yield made
    made.kafka.close()


def test_a_login_is_taken_over_tls(bench: Workbench) -> None:
    assert bench.kafka.ping()
    ensure_topics(bench.settings)
    bench.kafka.produce([{"user_id": "ana", "price": "0.10"}], topic="dlq", key="user_id")
    assert list(bench.kafka.tail("dlq", last="1h")["price"]) == [Decimal("0.10")]
    assert PASSWORD not in repr(bench) and PASSWORD not in repr(bench.settings.profile)


@pytest.mark.parametrize("call", ["ping", "tail"])
def test_a_wrong_password_is_told_and_not_shown(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], call: str
) -> None:
    monkeypatch.setenv("TEST_KAFKA_PASSWORD", WRONG)
    assert "%rp profile" in refused_login(getattr(bench.kafka, call), "ana", WRONG, capfd)


def test_the_right_password_helps_at_once(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KAFKA_PASSWORD", WRONG)
    with pytest.raises(StoreUnavailable):
        bench.kafka.ping()
    monkeypatch.setenv("TEST_KAFKA_PASSWORD", PASSWORD)
    assert bench.kafka.ping()


def test_a_password_that_is_nowhere(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KAFKA_PASSWORD")
    with pytest.raises(ProfileError, match="TEST_KAFKA_PASSWORD"):
        bench.kafka.ping()


def test_tls_without_a_login(broker: Broker, tmp_path: Path) -> None:
    profile = tmp_path / "tls.toml"
    lines = f'[kafka]\nbootstrap = "127.0.0.1:{broker.tls}"\nsecurity_protocol = "SSL"\n'
    profile.write_text(lines + f'ca_location = "{broker.certificate}"\n')
    assert Workbench(str(profile), "ct_login").kafka.ping()
    profile.write_text(lines)
    with pytest.raises(StoreUnavailable, match="certificate"):
        Workbench(str(profile), "ct_login").kafka.ping()
