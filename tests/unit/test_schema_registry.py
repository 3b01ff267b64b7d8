"""A Schema Registry that is away, refuses, or is none: a real HTTP server gives the answers that a test wants."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from retailpulse_kernel.ground.addresses import load_profile
from retailpulse_kernel.ground.errors import EventError, ProfileError, RetailPulseError, StoreUnavailable
from retailpulse_kernel.ground.retrying import Patience
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.formats.options import options_of
from retailpulse_kernel.shop.formats.registry import SchemaRegistry, registry_options
from retailpulse_kernel.stack.services import SERVICES, address

SCHEMA = {"schema": '{"type": "record", "name": "E", "fields": []}'}
UNKNOWN = {"error_code": 40403, "message": "Schema 7 not found"}
PASSWORD = "sesame opens"


class Server(ThreadingHTTPServer):
    """Gives its answers one after another, and the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, object]] = [(200, SCHEMA)]
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        status, said = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, args=[0.01])
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


class Clock:
    """Time that passes only where someone waits."""

    def __init__(self) -> None:
        self.now, self.said = 0.0, list[str]()

    def pause(self, seconds: float) -> None:
        self.now += seconds

    @property
    def patience(self) -> Patience:
        return Patience(20.0, say=self.said.append, pause=self.pause, clock=lambda: self.now)


def registry_at(url: str, clock: Clock, **more: str) -> SchemaRegistry:
    return SchemaRegistry({"registry.url": url, **more}, clock.patience)


def test_a_schema_is_asked_for_once(server: Server) -> None:
    registry = registry_at(server.url, Clock())
    assert [registry.schema(7).schema_type for _ in range(3)] == ["AVRO"] * 3
    assert [path for path, _ in server.asked] == ["/schemas/ids/7"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(server: Server, status: int) -> None:
    server.answers = [(status, {"error_code": status, "message": "later"})] * 3 + [(200, SCHEMA)]
    assert registry_at(server.url, Clock()).schema(7).schema_type == "AVRO"
    assert len(server.asked) == 4


def test_one_that_stays_away_loses_nothing_and_says_so(server: Server) -> None:
    clock, gone = Clock(), Server()
    gone.server_close()
    for url, why in ((gone.url, "Connection refused"), (server.url, "HTTP 503")):
        server.answers = [(503, {"error_code": 503, "message": "later"})]
        with pytest.raises(StoreUnavailable, match=why) as caught:
            registry_at(url, clock).schema(7)
        assert caught.value.store == "registry" and url in str(caught.value)
        assert "No message is lost or skipped" in str(caught.value)
    assert clock.now >= 40, "each was waited for as long as a batch may take"
    assert any("The Schema Registry is not ready" in said for said in clock.said)


def test_an_id_that_it_does_not_know_is_the_messages_fault(server: Server) -> None:
    server.answers = [(404, UNKNOWN)]
    clock = Clock()
    with pytest.raises(EventError, match=r"the registry has no schema 7: Schema 7 not found") as caught:
        registry_at(server.url, clock).schema(7)
    assert caught.value.reason == "unknown_schema"
    assert clock.now == 0, "that does not pass by itself"


def test_an_unknown_id_is_asked_for_again_after_a_while(server: Server) -> None:
    server.answers = [(404, UNKNOWN), (200, SCHEMA)]
    clock = Clock()
    registry = registry_at(server.url, clock)
    for _ in range(5):
        with pytest.raises(EventError, match="the registry has no schema 7"):
            registry.schema(7)
    assert len(server.asked) == 1
    clock.pause(11)
    assert registry.schema(7).schema_type == "AVRO"


def test_another_server_makes_no_message_bad(server: Server) -> None:
    """A wrong address answers "not found" for each message, and all of them would be dead letters."""
    server.answers = [(404, {"error": "Not Found"})]
    with pytest.raises(RetailPulseError, match=r"does not speak the API of Confluent's Schema Registry") as caught:
        registry_at(server.url, Clock()).schema(7)
    assert not isinstance(caught.value, EventError | StoreUnavailable)
    assert "/apis/ccompat/v7" in str(caught.value)


def test_a_login_goes_to_the_server_and_nowhere_else(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    profile = tmp_path / "other.toml"
    profile.write_text(f'[registry]\nurl = "{server.url}/"\nusername = "ann"\npassword = "env:REGISTRY_PASSWORD"\n')
    settings = Settings.load(profile=str(profile))
    options = registry_options(settings)
    assert json.loads(json.dumps(options)) == options, "Spark's workers get them as JSON"
    registry = SchemaRegistry(options)
    registry.schema(7)
    assert server.asked == [("/schemas/ids/7", f"Basic {base64.b64encode(f'ann:{PASSWORD}'.encode()).decode()}")]
    server.answers = [(401, {"error_code": 40101, "message": f"{PASSWORD} is wrong"})]
    with pytest.raises(RetailPulseError, match="refuses this login") as caught:
        registry.schema(8)
    assert PASSWORD not in str(caught.value) and PASSWORD not in repr(settings.profile)


def test_only_a_topic_that_needs_the_registry_has_its_address(tmp_path: Path) -> None:
    text = '[topics.events]\nformat = "avro"\n[topics.others]\nformat = "json"\n'
    contract = read_contract(text, name="shop.toml", base=shipped())
    settings = Settings.load()
    assert options_of(settings, contract.of_topic("retail.events")) == registry_options(settings)
    assert options_of(settings, contract.of_topic("others")) == {}
    assert "registry" not in json.dumps(contract.plain()), "a plan holds the contract, and no address"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('url = "registry.example.com"', "must be the address of a Schema Registry"),
        (f'url = "https://ann:{PASSWORD.split()[0]}@example.com"', "must hold no login"),
        ('url = "http://example.com"\ntls = true', "need a `url` that begins with https://"),
        ('username = "ann"\npassword = "secret"', "must be a reference"),
    ],
)
def test_an_address_is_checked(tmp_path: Path, said: str, why: str) -> None:
    (tmp_path / "other.toml").write_text(f"[registry]\n{said}\n")
    with pytest.raises(ProfileError, match=why) as caught:
        load_profile(str(tmp_path / "other.toml"))
    assert PASSWORD.split()[0] not in str(caught.value)


@pytest.mark.parametrize("offset", [0, 10_000])
def test_the_local_profile_leads_to_the_local_service(offset: int) -> None:
    settings = Settings.load(port_offset=offset, profile="local")
    where = address(settings, SERVICES["registry"])
    assert settings.profile.registry.url == f"http://{where}/apis/ccompat/v7"
