"""The public names: sorted, complete, and cheap to import."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from inspect import Parameter, signature
from pathlib import Path

import pytest

import retailpulse_kernel

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(retailpulse_kernel.__path__, "retailpulse_kernel.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_all_is_sorted_and_there(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert list(exported) == sorted(exported, key=lambda n: (not n.isupper(), n[0].islower(), n)), name
    for member in exported:
        assert hasattr(module, member), f"{name}.{member}"


#: What notebooks and commands use by an attribute, such as `rp.metrics.count`, or in a scheme of their own.
OFFERED = [f"retailpulse_kernel{name}" for name in ("", ".cli", ".feed.adapters", ".shop.figures")]


def test_every_public_name_has_a_user_outside_of_its_module() -> None:
    """Another module, a test, a benchmark, or a text with its name: an entry point, a template."""
    texts = [(ROOT / "pyproject.toml").read_text()]
    used: dict[str, set[str]] = {}
    folders = [ROOT / name for name in ("retailpulse_kernel", "notebooks", "tests", "bench", "docs")]
    for path in [path for folder in folders for path in folder.rglob("*.py")]:
        texts.append(path.read_text())
        for module, name in names_used(ast.parse(texts[-1])):
            if path != ROOT / f"{module.replace('.', '/')}.py":
                used.setdefault(module, set()).add(name)
    lonely = [
        f"{module}.{name}"
        for module in MODULES
        if module not in OFFERED
        for name in set(getattr(importlib.import_module(module), "__all__", ())) - {"main"} - used.get(module, set())
        if not any(re.search(rf"{re.escape(module)}(:| import ){name}\b", text) for text in texts)
    ]
    assert sorted(lonely) == [], "take them out of __all__"


def names_used(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a file imports from modules, and the attributes of modules that it imports, as (module, name)."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.module, alias.name
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            yield aliases.get(owner, owner), node.attr


def test_importing_the_package_pulls_in_nothing_heavy() -> None:
    code = (
        "import sys, retailpulse_kernel as rp; rp.kafka; rp.cassandra; rp.hbase; rp.hive;"
        "print([m for m in ('pyspark', 'airflow', 'pandas', 'cassandra', 'happybase', 'pyhive') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_workbench_is_offered_as_a_module() -> None:
    assert set(retailpulse_kernel.__all__) <= set(dir(retailpulse_kernel))
    with pytest.raises(AttributeError, match="no attribute 'kafkaa'"):
        retailpulse_kernel.kafkaa  # noqa: B018


def test_a_module_of_the_same_name_takes_nothing_away() -> None:
    code = (
        "import retailpulse_kernel as rp, retailpulse_kernel.answers.reading, retailpulse_kernel.live.view;"
        "print(callable(rp.figures), callable(rp.live))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True True"


def test_the_workbench_s_functions_have_the_parameters_of_what_they_call() -> None:
    """They are written twice, so that a notebook shows them without importing Spark or the widgets."""
    from retailpulse_kernel.live.explorer import explore
    from retailpulse_kernel.live.view import live
    from retailpulse_kernel.stores.spark.store import SparkStore
    from retailpulse_kernel.streaming.run.job import Job
    from retailpulse_kernel.workbench.workbench import Workbench

    for ours, theirs, left_out in (
        (Workbench.job, Job.__init__, {"context"}),  # which a notebook does not choose
        (Workbench.live, live, {"categories"}),  # ours takes them without their name, too
        (Workbench.explore, explore, set()),
        (Workbench.sql, SparkStore.query, {"count_for"}),
    ):
        called = {
            name: parameter.default
            for name, parameter in signature(theirs).parameters.items()
            if parameter.kind is Parameter.KEYWORD_ONLY and name not in left_out
        }
        mine = signature(ours).parameters
        assert {name: mine[name].default for name in called} == called, ours.__qualname__
        assert all(name in str(ours.__doc__) for name in called), "each is documented"
