"""Each package that is imported belongs to the core, or to an extra that its room requires."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from retailpulse_kernel.ground.errors import MissingExtra, RequirementError
from retailpulse_kernel.ground.extras import EXTRAS, require_extra

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "retailpulse_kernel"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: For building, testing and deploying: the package imports none of them.
NOT_OF_THE_PACKAGE = {"compose", "dev"}
#: The package of a module where the files don't tell: happybase makes one at import, and many packages share one.
PACKAGES = {"Hbase_thrift": "happybase", "airflow": "apache-airflow"}
#: Declared, but not imported: programs, plug-ins, and what other packages need.
NOT_IMPORTED = {
    "apache-airflow-providers-papermill": "shares its module with Airflow",
    "fastavro": "reads Avro for confluent-kafka",
    "ipykernel": "the kernel of the kernel spec",
    "jsonschema": "validates notebooks, and is held below what makes their import slow",
    "jupyterlab": "a program",
}
#: Modules that do without the extra: they show nothing where no notebook runs.
OPTIONAL = {("ground/notes.py", "IPython"), ("streaming/run/report.py", "IPython")}


@dataclass(frozen=True)
class Import:
    """One third-party import of the package."""

    path: Path
    line: int
    module: str
    inside: bool  # of a function

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(PACKAGE)}:{self.line} imports {self.module}"


def names(extra: str) -> set[str]:
    lines = PROJECT["dependencies"] if extra == "core" else PROJECT["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name) for line in lines} - {PROJECT["name"]}


def included(extra: str) -> set[str]:
    """An extra and all that it includes."""
    found = {extra}
    for line in PROJECT["optional-dependencies"][extra]:
        if (requirement := Requirement(line)).name == PROJECT["name"]:
            found = found.union(*map(included, requirement.extras))
    return found


installed = functools.cache(packages_distributions)


@functools.cache
def distributions(module: str) -> frozenset[str]:
    found = [PACKAGES[module]] if module in PACKAGES else installed().get(module, [module])
    return frozenset(map(canonicalize_name, found))


def imports() -> Iterator[Import]:
    for path in PACKAGE.rglob("*.py"):
        yield from imports_below(path, ast.parse(path.read_text()), inside=False)


def imports_below(path: Path, node: ast.AST, *, inside: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        modules = []
        if isinstance(child, ast.Import):
            modules = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            modules = [child.module or ""]
        for module in modules:
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names | {PACKAGE.name}:
                yield Import(path, child.lineno, top, inside)
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from imports_below(path, child, inside=inside or function)


@functools.cache
def calls(path: Path) -> set[str]:
    """The extras that a file requires."""
    return set(re.findall(r'\brequire_extra\("(\w+)"\)', path.read_text()))


def room(path: Path) -> Path:
    """A folder of the package; each store, and each part of promotion, is a room of its own."""
    first, *rest = path.relative_to(PACKAGE).parts
    apart = first in ("stores", "promotion") and len(rest) > 1
    return PACKAGE / first / rest[0] if apart else PACKAGE / first


def required(found: Import) -> set[str]:
    """The extras that are there when an import runs: required by its module, or by a package around it.

    A function may count on what another module of its room requires, through which its arguments came.
    """
    packages = [parent / "__init__.py" for parent in found.path.parents if PACKAGE in (parent, *parent.parents)]
    files = {found.path, *packages, *(room(found.path).rglob("*.py") if found.inside else ())}
    return {extra for file in files for required in calls(file) for extra in included(required)}


class TestImports:
    def test_each_belongs_to_the_core_or_to_an_extra_that_its_room_requires(self) -> None:
        core = names("core")
        homeless = [
            found.where
            for found in imports()
            if not distributions(found.module) & core.union(*map(names, required(found)))
            and (found.path.relative_to(PACKAGE).as_posix(), found.module) not in OPTIONAL
        ]
        assert homeless == [], "declare it, or call require_extra first"

    def test_each_declared_package_is_imported(self) -> None:
        imported = frozenset().union(*(distributions(found.module) for found in imports()))
        declared = names("core").union(*map(names, EXTRAS))
        assert declared - imported == NOT_IMPORTED.keys()


class TestDeclaration:
    def test_the_extras_are_those_of_the_project(self) -> None:
        assert EXTRAS.keys() == PROJECT["optional-dependencies"].keys() - NOT_OF_THE_PACKAGE - {"all"}

    def test_all_includes_every_extra(self) -> None:
        assert included("all") == {"all", *EXTRAS}
        assert names("all") == set()

    @pytest.mark.parametrize("extra", EXTRAS)
    def test_the_modules_of_an_extra_are_those_of_its_packages(self, extra: str) -> None:
        packages = set().union(*(distributions(module) for module in EXTRAS[extra]))
        assert names(extra) - {"apache-airflow-providers-papermill"} <= packages
        for module in EXTRAS[extra]:
            assert distributions(module) & names(extra), module

    def test_the_core_is_small(self) -> None:
        assert len(names("core")) <= 19
        # One with extras of its own adds what these need.
        further = {
            canonicalize_name(requirement.name)
            for extra in EXTRAS
            for requirement in map(Requirement, PROJECT["optional-dependencies"][extra])
            if not requirement.extras
        }
        assert not names("core") & further, "the core has it already"


class TestRequireExtra:
    def test_is_silent_where_all_is_installed(self) -> None:
        for extra in EXTRAS:
            require_extra(extra)

    def test_says_what_is_missing_and_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(EXTRAS, "hbase", ("json", "no_such_module"))
        require_extra.cache_clear()
        with pytest.raises(MissingExtra, match="no_such_module can't be imported") as caught:
            require_extra("hbase")
        assert caught.value.extra == "hbase"
        assert caught.value.missing == ("no_such_module",)
        assert "pip install 'retailpulse-kernel[hbase]'" in str(caught.value)
        assert isinstance(caught.value, RequirementError)
        assert caught.value.exit_code == 2
        require_extra.cache_clear()
