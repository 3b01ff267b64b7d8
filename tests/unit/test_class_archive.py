"""The archive of Spark's classes: used by sessions where it is, not missed where it is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from retailpulse_kernel.stack.java import find_java
from retailpulse_kernel.streaming.class_archive import class_archive, java_options


def test_without_one_java_is_told_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert java_options() == ""


def test_java_takes_spark_s_classes_from_it() -> None:
    """The environment's last step has made it, for this Java and these jars: else Java would load them one by one."""
    assert class_archive().is_file(), "sh env/bootstrap.sh makes it; see class-archive.log in the environment"
    spark = Path(pyspark.__file__).parent
    classes = "-cp", f"{spark}/conf:{spark}/jars/*", "org.apache.spark.deploy.SparkSubmit", "--version"
    java = str(find_java().executable), *java_options().split(), "-Xlog:class+load:stdout", *classes
    said = subprocess.run(java, capture_output=True, text=True, check=True, timeout=120).stdout
    (line,) = (line for line in said.splitlines() if "] org.apache.spark.deploy.SparkSubmit source:" in line)
    assert line.endswith("shared objects file (top)"), line


def test_a_damaged_one_is_left_aside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    class_archive().write_bytes(b"half an archive")
    java = str(find_java().executable), *java_options().split(), "-version"
    done = subprocess.run(java, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "archive" not in done.stdout + done.stderr
