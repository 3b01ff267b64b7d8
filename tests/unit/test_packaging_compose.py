"""docker-compose.yml, environment.yml, the locks and the profiles say the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from retailpulse_kernel.ground.addresses import load_profile
from retailpulse_kernel.machine.java import SUPPORTED
from retailpulse_kernel.stack import services

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
DOCKERFILE = (ROOT / "env" / "compose" / "Dockerfile").read_text()
LOCK = (ROOT / "env" / "requirements.lock").read_text()
ONE_SHOT = {"prepare", "airflow-migrate"}


@cache
def artifact_version(group: str, artifact: str) -> Version:
    """Version of a server's main artifact; what follows a dash (``2.6.4-hadoop3``) is not part of it."""
    lock = tomllib.loads((ROOT / "env" / "artifacts.lock").read_text())[group]
    (version,) = {c.split(":")[2].removesuffix(".Final") for c in lock if c.split(":")[1] == artifact}
    return Version(version.partition("-")[0])


def image_version(service: str) -> Version:
    return Version(SERVICES[service]["image"].rpartition(":")[2])


def conda(package: str) -> Version:
    (version,) = [
        d.partition("=")[2] for d in CONDA["dependencies"] if isinstance(d, str) and d.startswith(f"{package}=")
    ]
    return Version(version)


def locked(package: str) -> Version:
    match = re.search(rf"^{package}==(\S+)", LOCK, re.MULTILINE)
    assert match is not None
    return Version(match[1])


def properties(xml: str) -> dict[str, str]:
    """A Hadoop configuration file as a dictionary."""
    return {p.findtext("name") or "": p.findtext("value") or "" for p in ElementTree.fromstring(xml).iter("property")}


class TestComposeFile:
    @pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
    def test_is_valid(self) -> None:
        done = subprocess.run(
            ["docker-compose", "--profile", "registry", "config"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)

    def test_has_the_whole_stack(self) -> None:
        assert {service.name for service in services.SERVICES.values()} <= SERVICES.keys()
        assert {"jupyterlab", "airflow-scheduler", "prometheus", "alertmanager", "grafana"} <= SERVICES.keys()

    def test_grafana_sends_its_alerts_to_alertmanager(self) -> None:
        assert SERVICES["grafana"]["environment"]["ALERTMANAGER_URL"] == "http://alertmanager:9093"

    @pytest.mark.parametrize("name", SERVICES)
    def test_pins_the_image(self, name: str) -> None:
        tag = SERVICES[name]["image"].rpartition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?", tag)

    def test_pins_the_base_images(self) -> None:
        stages = set(re.findall(r" AS (\S+)$", DOCKERFILE, re.MULTILINE))
        bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - stages
        assert len(bases) == 2
        assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)

    @pytest.mark.parametrize("name", SERVICES)
    def test_publishes_ports_on_this_machine_only(self, name: str) -> None:
        for port in SERVICES[name].get("ports", []):
            assert port.startswith("127.0.0.1:")

    def test_publishes_no_port_twice(self) -> None:
        published = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
        assert len(published) == len(set(published))

    @pytest.mark.parametrize("name", SERVICES)
    def test_holds_no_secret(self, name: str) -> None:
        for variable, value in SERVICES[name].get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN$|FERNET|SQL_ALCHEMY_CONN", variable):
                assert variable.endswith(("_FILE", "_CMD"))
                assert "/run/retailpulse/" in value

    def test_every_secret_is_made(self) -> None:
        prepare = (ROOT / "env" / "compose" / "prepare.sh").read_text()
        made = set(re.findall(r"^make_secret (\S+)", prepare, re.MULTILINE)) | {"airflow-database"}
        text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "env" / "compose" / "jupyterlab.sh").read_text()
        assert set(re.findall(r"/run/retailpulse/([a-z-]+)", text)) <= made

    @pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOT))
    def test_asks_for_health(self, name: str) -> None:
        assert SERVICES[name]["healthcheck"]["test"]
        assert SERVICES[name]["restart"] == "unless-stopped"

    @pytest.mark.parametrize("name", SERVICES)
    def test_waits_for_what_it_needs(self, name: str) -> None:
        for needed, wait in SERVICES[name].get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
            assert wait["condition"] == expected

    @pytest.mark.parametrize("name", SERVICES)
    def test_mounts_what_exists(self, name: str) -> None:
        for volume in SERVICES[name].get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists()
            elif not source.startswith("/"):
                assert source in COMPOSE["volumes"]


class TestVersions:
    def test_kafka_is_of_the_same_major_version(self) -> None:
        assert image_version("kafka").major == artifact_version("kafka", "kafka_2.13").major

    @pytest.mark.parametrize(
        ("service", "group", "artifact"),
        [
            ("cassandra", "cassandra", "cassandra-all"),
            ("hbase", "hbase", "hbase-server"),
            ("hbase-thrift", "hbase", "hbase-server"),
            ("hive-metastore", "hive", "hive-standalone-metastore-server"),
            ("hiveserver2", "hive", "hive-service"),
            ("registry", "registry", "apicurio-registry-app"),
        ],
    )
    def test_servers_are_the_same(self, service: str, group: str, artifact: str) -> None:
        assert image_version(service) == artifact_version(group, artifact)

    def test_the_workbench_carries_this_version(self) -> None:
        assert str(image_version("jupyterlab")) == PROJECT["version"]

    def test_spark_and_its_kafka_source_belong_together(self) -> None:
        source = artifact_version("spark-kafka", "spark-sql-kafka-0-10_2.13")
        assert locked("pyspark").release[:2] == source.release[:2]

    def test_python_is_the_same_and_supported(self) -> None:
        image = re.search(r"^FROM python:(\d+\.\d+)\.\d+", DOCKERFILE, re.MULTILINE)
        assert image is not None
        assert Version(image[1]) == conda("python")
        assert conda("python") in SpecifierSet(PROJECT["requires-python"])

    def test_java_is_the_same_and_supported(self) -> None:
        image = re.search(r"^FROM eclipse-temurin:(\d+)", DOCKERFILE, re.MULTILINE)
        assert image is not None
        assert int(image[1]) == conda("openjdk").major
        assert int(image[1]) in SUPPORTED

    def test_conda_installs_the_lock(self) -> None:
        (pip,) = [d["pip"] for d in CONDA["dependencies"] if isinstance(d, dict)]
        assert pip == ["-r env/requirements.lock"]


class TestConfiguration:
    def test_hbase_has_the_flags_of_the_local_one(self) -> None:
        flags = {flag for flag in services.SERVICES["hbase"].flags if "${conf}" not in flag}
        assert flags
        assert {flag for flag in flags if flag not in DOCKERFILE} == set()

    def test_the_registry_has_the_flags_of_the_local_one(self) -> None:
        flags = {flag for flag in services.SERVICES["registry"].flags if "${" not in flag and "http.host" not in flag}
        assert flags
        assert {flag for flag in flags if flag not in DOCKERFILE} == set()

    def test_hbase_is_configured_as_the_local_one(self) -> None:
        template = (ROOT / "retailpulse_kernel" / "stack" / "templates" / "hbase-site.xml").read_text()
        local = properties(template)
        compose = properties((ROOT / "env" / "compose" / "hbase" / "hbase-site.xml").read_text())
        moved = {name for name, value in local.items() if "${" in value} | {"hbase.regionserver.thrift.ipaddress"}
        assert {k: v for k, v in compose.items() if k not in moved} == {
            k: v for k, v in local.items() if k not in moved
        }
        assert moved <= compose.keys()

    @pytest.mark.parametrize("path", sorted((ROOT / "env" / "profiles").glob("*.toml")), ids=lambda path: path.stem)
    def test_profiles_are_valid(self, path: Path) -> None:
        assert load_profile(path.stem).name == path.stem

    def test_the_profile_compose_leads_to_the_published_ports(self) -> None:
        profile = load_profile("compose")
        published = {port.rpartition(":")[0] for s in SERVICES.values() for port in s.get("ports", [])}
        addresses = {
            profile.kafka.bootstrap,
            f"{profile.cassandra.hosts[0]}:{profile.cassandra.port}",
            f"{profile.hbase.host}:{profile.hbase.port}",
            f"{profile.hive.host}:{profile.hive.port}",
            profile.hive.metastore.removeprefix("thrift://"),
            urlsplit(profile.registry.url).netloc,
        }
        assert addresses <= published

    def test_the_containers_profile_names_services(self) -> None:
        inside = load_profile(str(ROOT / "env" / "compose" / "inside.toml"))
        assert {
            inside.kafka.bootstrap.split(":")[0],
            *inside.cassandra.hosts,
            inside.hbase.host,
            inside.hive.host,
            urlsplit(inside.registry.url).hostname,
        } <= set(SERVICES)
        # One location for both sides, or a table made here is empty there.
        assert inside.hive.warehouse == load_profile("compose").hive.warehouse

    def test_the_example_cluster_refers_to_its_passwords(self) -> None:
        profile = load_profile("cluster")
        for login in (profile.kafka, profile.cassandra, profile.hive, profile.registry):
            assert login.password is not None
            assert login.password.startswith(("env:", "file:", "keyring:"))
