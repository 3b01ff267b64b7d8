"""What each server is started with."""

from __future__ import annotations

import configparser
import json
import shlex
import stat
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from retailpulse_kernel.ground.credentials import made_secret
from retailpulse_kernel.ground.errors import RequirementError, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.java import Java, find_java
from retailpulse_kernel.stack.airflow import USERS, make_secrets
from retailpulse_kernel.stack.configuration import command, fingerprint
from retailpulse_kernel.stack.connect_server import properties
from retailpulse_kernel.stack.services import SERVICES, ports, select
from retailpulse_kernel.stack.supervision import startable
from retailpulse_kernel.telemetry.statsd import STATSD_PORT

ROOT = Path(__file__).resolve().parents[2]
SERVERS = [name for name, service in SERVICES.items() if not service.beside]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", cache=tmp_path / "cache", port_offset=0)


@pytest.mark.parametrize(
    ("asked", "started"),
    [
        (["cassandra"], ["cassandra"]),
        (["hiveserver2"], ["hive-metastore", "hiveserver2"]),
        (["hbase-thrift", "hbase"], ["hbase", "hbase-thrift"]),
        (["hiveserver2", "kafka"], ["hive-metastore", "hiveserver2", "kafka"]),
        ([], SERVERS),
        (None, SERVERS),
        (["airflow-triggerer"], ["airflow-api-server", "airflow-triggerer"]),
    ],
)
def test_select_adds_what_is_needed_first(asked: list[str] | None, started: list[str]) -> None:
    assert [service.name for service in select(asked)] == started


def test_select_an_unknown_service() -> None:
    with pytest.raises(UnknownName, match=r"no service 'casandra'. Did you mean 'cassandra'"):
        select(["kafka", "casandra"])


def all_ports(settings: Settings) -> list[int]:
    return [number for service in SERVICES.values() for number in ports(settings, service).values()]


def test_ports_come_from_the_profile_and_move_together(settings: Settings) -> None:
    plain = all_ports(settings)
    assert {9092, 9042, 9090, 9083, 10000} <= set(plain)
    assert len(set(plain)) == len(plain)
    moved = all_ports(Settings.load(home=settings.home, port_offset=20_000))
    assert moved == [number + 20_000 for number in plain]
    # Above, the kernel gives ports to outgoing connections, and one of them might sit where a server wants to.
    assert max(moved) < 32_768


def test_everything_is_rendered(settings: Settings) -> None:
    for service in SERVICES.values():
        program, *arguments = command(settings, service)
        files = [service.home(settings) / "conf" / name for name in service.files]
        if service.artifacts:
            assert Path(program).name == "java"
            files += [Path(argument.removeprefix("@")) for argument in arguments]
        else:
            assert program == sys.executable and not any("$" in argument for argument in arguments)
        for file in files:
            text = file.read_text()
            assert "${" not in text, file
            assert "0.0.0.0" not in text, file
            if file.suffix == ".xml":
                ElementTree.fromstring(text)
            elif file.suffix == ".yaml":
                yaml.safe_load(text)
            elif file.suffix == ".cfg":
                configparser.ConfigParser().read_string(text)


def test_services_of_one_folder_agree_on_its_files(settings: Settings) -> None:
    for first, second in (("hbase", "hbase-thrift"), ("hive-metastore", "hiveserver2")):
        conf = SERVICES[first].home(settings) / "conf"
        rendered = []
        for name in (first, second):
            command(settings, SERVICES[name])
            rendered.append({file: (conf / file).read_text() for file in SERVICES[name].files})
        assert rendered[0] == rendered[1]


def test_kafka_makes_no_topic_and_takes_2_mb(settings: Settings) -> None:
    command(settings, SERVICES["kafka"])
    lines = (settings.home / "kafka" / "conf" / "server.properties").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert given["auto.create.topics.enable"] == "false"
    assert int(given["message.max.bytes"]) == 2 * 1024 * 1024
    assert given["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9095"


def test_cassandra_waits_for_the_disk(settings: Settings) -> None:
    command(settings, SERVICES["cassandra"])
    given = yaml.safe_load((settings.home / "cassandra" / "conf" / "cassandra.yaml").read_text())
    assert given["commitlog_sync"] in ("batch", "group")


def test_spark_s_server_listens_on_loopback_and_its_token_is_its_owner_s(settings: Settings) -> None:
    told = properties(settings)
    assert told["spark.connect.grpc.binding.address"] == told["spark.driver.bindAddress"] == "127.0.0.1"
    assert settings.profile.spark.remote == f"sc://localhost:{told['spark.connect.grpc.binding.port']}"
    assert settings.profile.spark.token == f"file:{settings.home}/secrets/spark-connect"
    assert not any("token" in name for name in told), "what is compared at each start holds no secret"
    secret = made_secret(settings.home / "secrets" / "spark-connect")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and len(secret.read_text().strip()) > 30


def test_a_changed_configuration_has_another_fingerprint(settings: Settings) -> None:
    def of(settings: Settings) -> list[str]:
        return [command(settings, service) and fingerprint(settings, service) for service in SERVICES.values()]

    before = of(settings)
    assert of(settings) == before
    after = of(Settings.load(home=settings.home, cache=settings.cache, port_offset=100))
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_heaps_and_reckoned_memory_fit_in_6_gb() -> None:
    assert sum(SERVICES[name].memory_mb for name in SERVERS) < 6_000
    assert all(service.heap_mb < service.memory_mb for service in SERVICES.values())


# -- Airflow ----------------------------------------------------------------------------------------------------------


def airflow_cfg(settings: Settings) -> configparser.ConfigParser:
    command(settings, SERVICES["airflow-scheduler"])
    found = configparser.ConfigParser()
    found.read(settings.home / "airflow" / "conf" / "airflow.cfg")
    return found


def test_airflow_is_four_processes_that_start_by_name_alone() -> None:
    group = [name for name, service in SERVICES.items() if service.group == "airflow"]
    assert len(group) == 4 and not set(group) & set(SERVERS)
    started = [service.name for service in select(["airflow"])]
    assert set(started) == {*SERVERS, *group} - {"spark-connect"}, "with the servers that its jobs need"
    assert started.index("airflow-scheduler") > max(started.index(name) for name in ("kafka", "airflow-api-server"))


def test_beside_servers_of_another_profile_only_airflow_is_started(tmp_path: Path) -> None:
    profile = tmp_path / "far.toml"
    profile.write_text('name = "far"\n')
    far = Settings.load(home=tmp_path, profile=str(profile))
    started = startable(far, ["airflow"])
    assert all(service.group == "airflow" for service in started) and len(started) == 4
    assert {need for service in started for need in service.needs} == {"airflow-api-server"}
    for names in (None, ["kafka"], ["airflow", "kafka"]):
        with pytest.raises(UsageError, match="not managed here"):
            startable(far, names)


def test_airflow_lets_nobody_in_without_a_password(settings: Settings) -> None:
    found = airflow_cfg(settings)
    assert found["core"]["simple_auth_manager_all_admins"] == "False"
    assert [user.partition(":")[0] for user in found["core"]["simple_auth_manager_users"].split(",")] == list(USERS)
    assert found["api"]["host"] == "127.0.0.1"
    make_secrets(settings.home / "airflow" / "secrets")
    kept = {path: path.read_bytes() for path in (settings.home / "airflow" / "secrets").iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    passwords = json.loads((settings.home / "airflow" / "secrets" / "passwords.json").read_text())
    assert set(passwords) == set(USERS) and len(set(passwords.values())) == len(USERS)
    make_secrets(settings.home / "airflow" / "secrets")
    assert {path: path.read_bytes() for path in kept} == kept, "what is stored is encrypted with them"


def test_airflow_sends_its_measurements_to_the_monitor_here_and_in_compose(settings: Settings) -> None:
    here = {name: value.lower() for name, value in airflow_cfg(settings)["metrics"].items()}
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    prefix = "AIRFLOW__METRICS__"
    there = {
        name.removeprefix(prefix).lower(): value.lower()
        for name, value in compose["x-airflow-environment"].items()
        if name.startswith(prefix)
    }
    assert compose["services"]["monitor"]["network_mode"] == f"service:{there['statsd_host']}"
    # Airflow's own default of the port is the same.
    assert here == {**there, "statsd_host": "127.0.0.1", "statsd_port": str(STATSD_PORT)}


def test_airflow_s_database_is_sqlite_or_by_reference(settings: Settings, tmp_path: Path) -> None:
    assert airflow_cfg(settings)["database"]["sql_alchemy_conn"] == f"sqlite:///{settings.home}/airflow/data/airflow.db"
    address = tmp_path / "address"
    address.write_text("postgresql://someone:s3cret%40@db.example.com/airflow\n")
    profile = tmp_path / "far.toml"
    profile.write_text(f'name = "far"\n[airflow]\ndatabase = "file:{address}"\n')
    far = Settings.load(home=tmp_path / "home", profile=str(profile))
    command_line = airflow_cfg(far)["database"]["sql_alchemy_conn_cmd"]
    assert "s3cret" not in (far.home / "airflow" / "conf" / "airflow.cfg").read_text()
    told = subprocess.run(shlex.split(command_line), capture_output=True, text=True, check=True).stdout
    assert told == "postgresql://someone:s3cret%40@db.example.com/airflow"


# -- Java -------------------------------------------------------------------------------------------------------------


def a_java(folder: Path, release: str | None, says: str = "") -> Path:
    (folder / "bin").mkdir(parents=True)
    executable = folder / "bin" / "java"
    executable.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    executable.chmod(0o755)
    if release:
        (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{release}"\n')
    return folder


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without any Java, until a test puts one there."""
    monkeypatch.setattr("retailpulse_kernel.machine.java._USUAL_FOLDERS", (str(tmp_path / "jvm" / "*"),))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    find_java.cache_clear()
    yield monkeypatch
    find_java.cache_clear()


def test_java_home_wins(only: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_java(tmp_path / "jvm" / "a", "17.0.9")
    home = a_java(tmp_path / "mine", "21.0.1")
    only.setenv("JAVA_HOME", str(home))
    assert find_java() == Java(home, 21)


def test_an_unfit_java_home_is_passed_over(only: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only.setenv("JAVA_HOME", str(a_java(tmp_path / "new", "25")))
    fit = a_java(tmp_path / "jvm" / "old", "17.0.15")
    assert find_java() == Java(fit, 17)


def test_java_on_the_path_is_followed_to_its_home(only: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = a_java(tmp_path / "somewhere", None, says='openjdk version "21.0.2" 2024-01-16')
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "java").symlink_to(home / "bin" / "java")
    only.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    assert find_java() == Java(home, 21)


def test_only_unfit_javas(only: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_java(tmp_path / "jvm" / "eight", "1.8.0_292")
    a_java(tmp_path / "jvm" / "new", "25.0.1")
    with pytest.raises(
        RequirementError, match=r"No Java 17 or 21 was found: .*eight is Java 8, .*new is Java 25"
    ) as caught:
        find_java()
    assert "JAVA_HOME" in str(caught.value)


def test_no_java_at_all(only: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequirementError, match=r"No Java was found. Install Java 17 or 21"):
        find_java()
