"""What a job keeps beside its checkpoint on one machine: in the epochs that began with it, and in no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch_remedy, open_local


def _with_a_batch(checkpoint: Path) -> None:
    (checkpoint / "offsets").mkdir()
    (checkpoint / "offsets" / "0").write_text('v1\n{"batchWatermarkMs":0}\n{"t":{"0":5}}')


def test_an_epoch_goes_on_as_it_began(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for checkpoint in (old, new):
        checkpoint.mkdir()
    _with_a_batch(old)
    assert open_local(str(old), "ids", master="local[2]") is None, "it was begun in Spark's state"
    assert open_local(str(new), "ids", master="local[2]") == new / "ids"
    _with_a_batch(new)
    assert open_local(str(new), "ids", master="local[2]") == new / "ids"
    assert open_local(str(new), "sums", master="local[2]") is None
    remedy = new_epoch_remedy("metrics", " --namespace shop")
    with pytest.raises(JobError, match="`retailpulse epochs metrics --new --namespace shop`"):
        open_local(str(new), "ids", master="spark://host:7077", remedy=remedy)


def test_a_cluster_has_none(tmp_path: Path) -> None:
    assert open_local(str(tmp_path), "ids", master="spark://host:7077") is None
    assert open_local("hdfs://host/checkpoints/metrics/e0001", "ids", master="local[2]") is None
    assert not list(tmp_path.iterdir())
