"""Notebooks that were promoted before import modules by the names that these had then."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import retailpulse_kernel as rp
from retailpulse_kernel.moved import MOVED
from retailpulse_kernel.shop import figures


@pytest.mark.parametrize("name", MOVED)
def test_a_name_of_before_is_the_module_of_today(name: str) -> None:
    before = importlib.import_module(f"retailpulse_kernel.{name}")
    now = importlib.import_module(f"retailpulse_kernel.{MOVED[name]}")
    assert before is now
    assert now.__spec__ is not None and now.__spec__.name == now.__name__


def test_an_attribute_of_rp_needs_no_import() -> None:
    assert rp.metrics is figures
    assert callable(rp.figures), "a module of that name does not take its place"


def test_a_name_that_never_was_is_told_as_ever(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import retailpulse_kernel.nowhere"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "No module named 'retailpulse_kernel.nowhere'" in done.stderr
