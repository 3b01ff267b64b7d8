"""Whether the archive's files stay few: many small micro-batches, then the notebook that compacts them."""

from __future__ import annotations

from bench.jobs import generator, started
from bench.lab import Lab, project_file, wait_until
from bench.results import Figure, Target
from retailpulse_kernel.stores.hive.store import HiveStore

__all__ = ["measure"]

_RATE = 500


def measure(lab: Lab, *, batches: int = 30) -> list[Figure]:
    """Let the archive job write so many batches a second apart, then compact.

    The newest micro-batch keeps its own file: Spark may run it once more, and it replaces what it wrote then.
    """
    settings = lab.namespace("files")
    lab.say(f"compaction: {batches} micro-batches of the archive")
    store = HiveStore(settings)

    def files() -> int:
        return len([path for path in store.location.glob("dt=*/hour=*/*") if path.name[0] not in "._"])

    topic = settings.namespace.events_topic
    with (
        started(lab, settings, ["archive"], topic=topic, trigger="1s") as running,
        lab.ended(feed := generator(lab, settings, rate=_RATE, seconds=3_600)),
    ):
        wait_until(
            lambda: len(running.accounts("archive")) >= batches,
            [*running.children.values(), feed],
            seconds=300 + 10 * batches,
            what=f"{batches} batches of the archive",
        )
    before = files()
    hours = len(list(store.location.glob("dt=*/hour=*")))
    notebook = str(project_file("notebooks", "batch", "compact.ipynb"))
    compact = lab.python("retailpulse_kernel.cli", "run", notebook, settings=settings)
    with lab.ended(compact):
        wait_until(lambda: not compact.running, [compact], seconds=300, what="the notebook that compacts")
        compact.require()
    after = files()
    store.close()
    lab.forget("files")
    note = f"{before} files before, from {batches} micro-batches"
    return [
        Figure(
            "archive's files an hour, compacted", "files", [after / hours], target=Target(2, at_most=True), note=note
        )
    ]
