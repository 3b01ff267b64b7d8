"""Everything that a fault test needs: a namespace, its load, the jobs, and what to break them with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from tests.faults.disk import SmallDisk
from tests.faults.evidence import Verdict, judge
from tests.faults.load import Load
from tests.faults.pipeline import Pipeline
from tests.faults.proxy import Proxy

__all__ = ["Shop"]

_PROFILE = """\
[kafka]
bootstrap = "{kafka}"
[cassandra]
port = {cassandra}
[hbase]
port = {hbase}
[hive]
port = {hive}
metastore = "{metastore}"
[spark]
checkpoints = "{checkpoints}"
"""


@dataclass
class Shop:
    """A namespace under load.

    Attributes
    ----------
    settings : Settings
        What its jobs are given: HBase through `thrift`, checkpoints on `disk`.
    load : Load
    pipeline : Pipeline
    thrift : Proxy
    disk : SmallDisk
    folder : Path
        For files of the test's own.
    """

    settings: Settings
    load: Load
    pipeline: Pipeline
    thrift: Proxy
    disk: SmallDisk
    folder: Path

    @classmethod
    @contextmanager
    def open(cls, servers: Settings, folder: Path, *, seed: int, rate: float = 100.0) -> Iterator[Shop]:
        """Make the namespace anew and let the load run; all is ended and removed afterwards."""
        with ExitStack() as stack:
            thrift = Proxy(servers.profile.hbase.port)
            stack.callback(thrift.close)
            disk = SmallDisk(folder / "disk", megabytes=512)
            stack.callback(disk.remove)
            settings = Settings.load(namespace="t_faults", profile=str(_profile(servers, folder, thrift, disk)))
            drop(settings)
            stack.callback(drop, settings)
            ensure_topics(settings)
            pipeline = Pipeline(servers, settings)
            stack.callback(pipeline.heal)
            stack.callback(pipeline.remove)
            load = Load(settings, seed=seed, rate=rate)
            stack.callback(load.end)
            yield cls(settings, load, pipeline, thrift, disk, folder)

    def judge(self) -> Verdict:
        """Hold the load, let the jobs take all of it, and compare; the load stays held."""
        self.load.hold()
        self.pipeline.heal()
        self.pipeline.await_taken(self.load.acknowledged)
        return judge(self.settings, self.load.truth, self.load.acknowledged)


def _profile(servers: Settings, folder: Path, thrift: Proxy, disk: SmallDisk) -> Path:
    """The servers' own addresses but for HBase's, written down for the jobs."""
    addresses, path = servers.profile, folder / "faults.toml"
    path.write_text(
        _PROFILE.format(
            kafka=addresses.kafka.bootstrap,
            cassandra=addresses.cassandra.port,
            hbase=thrift.port,
            hive=addresses.hive.port,
            metastore=addresses.hive.metastore,
            checkpoints=disk.folder / "checkpoints",
        )
    )
    return path
