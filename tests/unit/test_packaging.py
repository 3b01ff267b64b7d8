"""The environment: declared, locked, hashed, and built by make."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.paths import jupyter_path
from jupyterlab_server.config import get_federated_extensions
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import retailpulse_kernel

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "retailpulse_kernel"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "env" / "requirements.lock").read_text()


def locked() -> dict[str, list[str]]:
    """Versions by package; a package has several where they depend on the Python version."""
    versions: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE):
        versions.setdefault(canonicalize_name(name), []).append(version)
    return versions


def declared() -> list[Requirement]:
    """Of the core and all extras, without the extras that an extra includes."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    requirements = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in requirements if requirement.name != PROJECT["name"]]


class TestLock:
    def test_has_every_declared_package_at_a_version_that_fits(self) -> None:
        versions = locked()
        for requirement in declared():
            assert canonicalize_name(requirement.name) in versions, f"{requirement.name}: run `make lock`"
            for version in versions[canonicalize_name(requirement.name)]:
                assert version in requirement.specifier, f"{requirement} is locked at {version}: run `make lock`"

    def test_has_the_build_tools(self) -> None:
        required = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
        # setuptools builds the few packages that have no wheel; uv takes it from the lock, with its hash.
        assert {*required, "setuptools", "uv"} <= locked().keys()

    def test_hashes_every_package(self) -> None:
        entries = re.split(r"\n(?=[a-z0-9])", LOCK.split("make lock\n", 1)[1])
        assert len(entries) > 200
        for entry in entries:
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]

    def test_names_no_host_and_no_path(self) -> None:
        assert "://" not in LOCK
        assert not re.search(r"--(index|extra-index|find-links)|file:| @ ", LOCK)

    def test_is_what_runs_here(self) -> None:
        from importlib.metadata import version

        for name in ("pyspark", "pandas", "apache-airflow", "papermill", "confluent-kafka"):
            assert version(name) in locked()[name], f"{name}: run `make setup`"


class TestInstall:
    def test_the_kernel_is_found_and_loads_the_extension(self) -> None:
        spec = KernelSpecManager().get_kernel_spec("retailpulse")
        assert spec.display_name == "RetailPulse"
        assert spec.language == "python"
        # A bare `python` becomes the interpreter of whoever starts the kernel, so that it is the same environment.
        assert spec.argv[0] == "python"
        assert spec.argv[spec.argv.index("--ext") + 1] == retailpulse_kernel.__name__
        assert callable(retailpulse_kernel.load_ipython_extension)

    def test_a_wheel_carries_what_the_package_reads(self, tmp_path: Path) -> None:
        hatchling = Path(sys.executable).with_name("hatchling")
        subprocess.run([hatchling, "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True, capture_output=True)
        (wheel,) = tmp_path.glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        for path in PACKAGE.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(ROOT)) in names
        assert "retailpulse_kernel/env/artifacts.lock" in names
        for shared in (
            "share/jupyter/kernels/retailpulse/kernel.json",
            "share/jupyter/labextensions/retailpulse/package.json",
            "etc/jupyter/jupyter_server_config.d/retailpulse.json",
        ):
            assert any(name.endswith(shared) for name in names), shared

    def test_jupyterlab_finds_the_extension(self) -> None:
        """A browser keeps the file by its name, so the name has to change with the content."""
        extension = PACKAGE / "lab" / "extension"
        about = json.loads((extension / "package.json").read_text())
        (entry,) = extension.glob("static/*.js")
        name = f"remoteEntry.{hashlib.sha256(entry.read_bytes()).hexdigest()[:20]}.js"
        assert entry.name == name, "rename it, and write the new name into package.json"
        assert about["jupyterlab"]["_build"]["load"] == f"static/{name}"
        assert about["version"] == PROJECT["version"]
        installed = get_federated_extensions(jupyter_path("labextensions"))
        assert installed["retailpulse"]["jupyterlab"] == about["jupyterlab"], "an older one is installed: `make setup`"

    def test_the_command_says_its_version_of_python_is_supported(self) -> None:
        bounds = Requirement(f"python{PROJECT['requires-python']}").specifier
        classified = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
        assert classified == ["3.11", "3.12", "3.13"]
        assert all(version in bounds for version in classified)
        assert "3.10" not in bounds
        assert "3.14" not in bounds
        bootstrap = (ROOT / "env" / "bootstrap.sh").read_text()
        assert "(3, 11) <= sys.version_info[:2] < (3, 14)" in bootstrap


class TestBootstrap:
    """It must speak before it has anything to stand on; what it builds is what these tests run in."""

    def run(self, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", ROOT / "env" / "bootstrap.sh", tmp_path / "venv"],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def python(self, tmp_path: Path, body: str) -> str:
        fake = tmp_path / "python3"
        fake.write_text(f"#!/bin/sh\n{body}\n")
        fake.chmod(0o755)
        return str(fake)

    def test_refuses_a_python_that_is_too_old(self, tmp_path: Path) -> None:
        old = self.python(tmp_path, 'case "$2" in *platform*) echo 3.9.2;; *) exit 1;; esac')
        done = self.run(tmp_path, PYTHON=old)
        assert done.returncode == 2
        assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
        assert f"{old} is 3.9.2" in done.stderr
        assert not (tmp_path / "venv").exists()

    def test_names_the_package_when_venv_is_missing(self, tmp_path: Path) -> None:
        # As Debian's python3 without python3-venv.
        bare = self.python(tmp_path, 'case "$2" in *platform*) echo 3.12.1;; *ensurepip*) exit 1;; *) exit 0;; esac')
        done = self.run(tmp_path, PYTHON=bare)
        assert done.returncode == 2
        assert "apt install python3.12-venv" in done.stderr

    def test_passes_over_a_shim_that_leads_nowhere(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, PYTHON=self.python(tmp_path, "exit 127"))
        assert done.returncode == 2
        assert "Found: none" in done.stderr


class TestMake:
    MAKEFILE = (ROOT / "Makefile").read_text()

    @pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
    def test_help_lists_every_target(self) -> None:
        done = subprocess.run(
            ["make", "-s", "-C", ROOT, "help"], capture_output=True, text=True, check=True, timeout=20
        )
        phony = re.search(r"^\.PHONY: (.*)$", self.MAKEFILE, re.MULTILINE)
        assert phony is not None
        assert re.findall(r"^  make (\S+)", done.stdout, re.MULTILINE) == phony[1].split()

    def test_every_target_does_something(self) -> None:
        for target, recipe in re.findall(r"^([a-z]+):[^\n]*\n((?:\t[^\n]*\n)*)", self.MAKEFILE, re.MULTILINE):
            assert recipe.strip(), target

    def test_ci_runs_what_the_readme_says(self) -> None:
        steps = re.findall(r"^(make \S+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
        assert steps == ["make test", "make test-long"]
        assert (
            "make test " in (ROOT / "README.md").read_text()
            and "make test-long" in (ROOT / "CONTRIBUTING.md").read_text()
        )
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
