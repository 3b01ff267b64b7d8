"""The archive of Spark's classes: used by sessions where it is, not missed where it is not."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from retailpulse_kernel.machine.java import find_java
from retailpulse_kernel.stores.spark.java import class_archive, java_options


def test_without_one_java_is_told_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert java_options() == ""


_SESSION = """
import sys
from pyspark.sql import SparkSession
SparkSession.builder.master("local[1]").config("spark.driver.extraJavaOptions", sys.argv[1]).getOrCreate().stop()
"""


def test_java_takes_spark_s_classes_from_it(tmp_path: Path) -> None:
    """The environment's last step has made it, for this Java and these jars: else Java would load them one by one."""
    assert class_archive().is_file(), "sh env/bootstrap.sh makes it; see class-archive.log in the environment"
    log = tmp_path / "classes.log"
    told = f"{java_options()} -Xlog:class+load:file={log}"
    # Spark's own launcher: the order of the jars is part of what Java compares.
    subprocess.run([sys.executable, "-c", _SESSION, told], check=True, capture_output=True, timeout=240)
    lines = [line for line in log.read_text().splitlines() if "] org.apache.spark." in line]
    archived = sum(line.endswith("source: shared objects file (top)") for line in lines)
    from_jars = sum("source: file:" in line for line in lines)
    assert archived > 1000 and from_jars < archived / 20


def test_a_damaged_one_is_left_aside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (folder := tmp_path / "with a space").mkdir()
    monkeypatch.setattr(sys, "prefix", str(folder))
    class_archive().write_bytes(b"half an archive")
    java = str(find_java().executable), *shlex.split(java_options()), "-version"
    done = subprocess.run(java, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "archive" not in done.stdout + done.stderr
