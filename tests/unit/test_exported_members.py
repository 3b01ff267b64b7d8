"""The public names: sorted, complete, and cheap to import."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import retailpulse_kernel

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
        "import retailpulse_kernel as rp, retailpulse_kernel.figures, retailpulse_kernel.live.view;"
        "print(callable(rp.figures), callable(rp.live))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True True"
