"""The environment: declared, locked, hashed, and built by make."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import retailpulse_kernel

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "retailpulse_kernel"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "env" / "requirements.lock").read_text()

# Declared, but not imported by the package: programs, plug-ins, and what notebooks import.
NOT_IMPORTED = {
    "apache-airflow": "runs the promoted notebooks",
    "apache-airflow-providers-papermill": "runs the promoted notebooks",
    "anywidget": "plotly's widgets need it",
    "fastapi": "serves the figures to Grafana",
    "ipykernel": "the kernel of the kernel spec",
    "ipywidgets": "live views",
    "jsonschema": "validates notebooks, and is held below what makes their import slow",
    "jupyterlab": "a program",
    "jupytext": "pairs notebooks with scripts",
    "plotly": "for notebooks",
    "prometheus-client": "metrics of every process",
    "supervisor": "a program",
    "uvicorn": "serves the figures to Grafana",
}

# happybase makes this module from HBase's Thrift definition when it is imported.
GENERATED = {"Hbase_thrift"}


def locked() -> dict[str, list[str]]:
    """Versions by package; a package has several where they depend on the Python version."""
    versions: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE):
        versions.setdefault(canonicalize_name(name), []).append(version)
    return versions


def declared(*, extras: bool) -> list[Requirement]:
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"].values() if extras else ())]
    return [Requirement(line) for group in groups for line in group]


def third_party_imports() -> dict[str, str]:
    """Top-level names that the package imports, and where."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names | GENERATED | {PACKAGE.name}:
                    found[top] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


class TestLock:
    def test_has_every_declared_package_at_a_version_that_fits(self) -> None:
        versions = locked()
        for requirement in declared(extras=True):
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


class TestDependencies:
    def test_every_import_is_declared(self) -> None:
        names = {canonicalize_name(requirement.name) for requirement in declared(extras=False)}
        providers = packages_distributions()
        undeclared = {
            top: where
            for top, where in third_party_imports().items()
            if not names & {canonicalize_name(distribution) for distribution in providers.get(top, [top])}
        }
        assert not undeclared, "add them to dependencies in pyproject.toml"

    def test_every_declared_package_is_used(self) -> None:
        providers = packages_distributions()
        imported = {canonicalize_name(d) for top in third_party_imports() for d in providers.get(top, [])}
        names = {canonicalize_name(requirement.name) for requirement in declared(extras=False)}
        assert names - imported - NOT_IMPORTED.keys() == set(), "nobody imports them"
        assert set(NOT_IMPORTED) <= names, "no longer declared"


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
        assert any(name.endswith("share/jupyter/kernels/retailpulse/kernel.json") for name in names)

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
        assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
