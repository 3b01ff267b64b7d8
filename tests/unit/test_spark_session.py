"""Spark's Java: it starts whatever the process around it is like, and one that does not says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from retailpulse_kernel.machine.java import find_java

_START = """
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.spark.session import spark_session
print(spark_session(Settings.load(), "start", brief=True).range(3).count())
"""


def on_a_java_that_dies(folder: Path) -> subprocess.CompletedProcess[str]:
    """What a process says whose Java dies at its start."""
    real = find_java().path
    (folder / "bin").mkdir()
    (folder / "release").write_bytes((real / "release").read_bytes())
    (folder / "bin" / "java").write_text(
        f'#!/bin/sh\ncase "$*" in *launcher.Main*) exec "{real}/bin/java" "$@";; esac\n'
        "echo no luck >&2\nkill -SEGV $$\n"
    )
    (folder / "bin" / "java").chmod(0o755)
    environment = os.environ | {"JAVA_HOME": str(folder), "RETAILPULSE_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-c", _START], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_it_starts_in_a_process_that_no_child_of_python_s_fork_would_survive(tmp_path: Path) -> None:
    forks = "import os, signal\nos.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGSEGV))\n"
    done = subprocess.run(
        [sys.executable, "-c", forks + _START], env=os.environ | {"RETAILPULSE_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.stdout.strip().endswith("3"), done.stderr


def test_one_that_never_starts_is_told(tmp_path: Path) -> None:
    done = on_a_java_that_dies(tmp_path)
    assert done.returncode != 0 and "no luck" in done.stderr and "JAVA_GATEWAY_EXITED" in done.stderr


def test_a_bad_query_is_told_once_without_java_s_trace() -> None:
    lines = (*_START.splitlines()[:-1], 'spark_session(Settings.load(), "start", brief=True).range(3).select("idd")')
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=240, check=False
    )
    assert "`idd` cannot be resolved. Did you mean" in done.stderr
    assert "jdk.internal.reflect" not in done.stderr and done.stderr.count("`idd`") == 1
