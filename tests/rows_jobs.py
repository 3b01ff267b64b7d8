"""A job that writes DataFrames, in a process and as a notebook.

The same function makes the stream and the bounded DataFrame that it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["CELLS", "FRAMES", "WRITES", "job_of"]


def windows(events: Any, spark: Any) -> Any:
    """Five minutes by two columns, with a sum of decimals."""
    from pyspark.sql import functions as F

    return (
        events.groupBy(F.window("event_time", "5 minutes").alias("w"), "event_type", "currency")
        .agg(F.count("*").alias("events"), F.sum(F.col("price") * F.col("quantity")).alias("amount"))
        .select(F.col("w.start").alias("start"), "event_type", "currency", "events", "amount")
    )


def sessions(events: Any, spark: Any) -> Any:
    """Sessions of each user, by a gap of a minute, written when they are closed."""
    from pyspark.sql import functions as F

    return (
        events.groupBy(F.session_window("event_time", "1 minute").alias("w"), "user_id")
        .agg(F.count("*").alias("events"), F.array_sort(F.collect_set("event_type")).alias("types"))
        .select("user_id", F.col("w.start").alias("start"), F.col("w.end").alias("end"), "events", "types")
    )


def enriched(events: Any, spark: Any) -> Any:
    """Purchases with what a bounded DataFrame knows of the currency."""
    from pyspark.sql import functions as F

    currencies = spark.createDataFrame(
        [("USD", "US dollar", 2), ("EUR", "euro", 2)], "currency string, title string, places int"
    )
    return (
        events.where("event_type = 'purchase'")
        .join(F.broadcast(currencies), "currency", "left")
        .select("event_id", "event_time", "order_id", "currency", "title", "places", "price")
    )


def purchases(events: Any, spark: Any, more: Any = None) -> Any:
    """What the same user looked at in the ten minutes before a purchase: a join of two streams."""
    from pyspark.sql import functions as F

    views = events.where("event_type = 'view'").select(
        F.col("event_id").alias("view_id"), F.col("event_time").alias("seen"), "user_id"
    )
    bought = more.where("event_type = 'purchase'").select(
        "event_id",
        F.col("event_time").alias("bought"),
        F.col("user_id").alias("buyer"),
    )
    near = F.expr("buyer = user_id AND bought >= seen AND bought <= seen + INTERVAL 10 MINUTES")
    return views.join(bought, near).select("event_id", "view_id", "user_id", "seen", "bought")


class Basket:
    """A user's own state: how many events, and the newest one."""

    def init(self, handle: Any) -> None:
        self._seen = handle.getValueState("seen", "events long, newest timestamp")

    def handleInputRows(self, key: Any, rows: Any, timers: Any) -> Any:  # noqa: N802
        import pandas as pd

        known = self._seen.get() if self._seen.exists() else (0, None)
        count, newest = known
        for part in rows:
            count += len(part)
            newest = max([part["event_time"].max(), *([] if newest is None else [pd.Timestamp(newest)])])
        self._seen.update((count, newest.to_pydatetime()))
        yield pd.DataFrame({"user_id": [key[0]], "events": [count], "newest": [newest]})

    def close(self) -> None:
        pass


def baskets(events: Any, spark: Any) -> Any:
    """What a function with a state of its own makes of each user's events."""
    from pyspark.sql.streaming.stateful_processor import StatefulProcessor

    class Processor(Basket, StatefulProcessor):
        pass

    return events.groupBy("user_id").transformWithStateInPandas(
        Processor(), "user_id string, events long, newest timestamp", "Update", "None"
    )


FRAMES: dict[str, Callable[..., Any]] = {
    "windows": windows,
    "sessions": sessions,
    "enriched": enriched,
    "purchases": purchases,
    "baskets": baskets,
}
#: Where each goes, and its key.
WRITES: dict[str, tuple[str, list[str]]] = {
    "windows": ("cassandra", ["start", "event_type", "currency"]),
    "sessions": ("hbase", ["user_id", "start"]),
    "enriched": ("hive", []),
    "purchases": ("kafka", ["event_id", "view_id"]),
    "baskets": ("cassandra", ["user_id"]),
}


def job_of(namespace: str, run: str = "available_now") -> Job:
    """A job that writes all of `FRAMES`, each with a query of its own.

    Parameters
    ----------
    namespace : str
        Where it runs.
    run : str
        The run mode.
    """
    rp = Workbench(namespace=namespace)
    job = rp.job("rows", run=run)  # type: ignore[arg-type]
    events = job.events(watermark="1m")
    for name, (store, key) in WRITES.items():
        more = [events.df] if name == "purchases" else []
        frame = FRAMES[name](events.df, job.spark, *more)
        job.write(frame, to=getattr(rp, store), table=name, key=key)
    return job


#: The same job as a notebook.
CELLS = """
# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow, or take what there is
run_for: timedelta | None = None  # how long a continuous run lasts
tables: str = "windows,sessions,enriched,purchases,baskets"  # which of them are written
least: int = 0  # the least quantity of an event that counts

# %%
from pyspark.sql.streaming.stateful_processor import StatefulProcessor

import retailpulse_kernel as rp
from tests.rows_jobs import FRAMES, WRITES, Basket

job = rp.job("rows", run=run, run_for=run_for)
events = job.events(watermark="1m").where(f"coalesce(quantity, 1) >= {least}")


class Processor(Basket, StatefulProcessor):
    pass


def baskets(events, spark):
    schema = "user_id string, events long, newest timestamp"
    return events.groupBy("user_id").transformWithStateInPandas(Processor(), schema, "Update", "None")


# %%
for name in tables.split(","):
    store, key = WRITES[name]
    more = [events.df] if name == "purchases" else []
    frame = (baskets if name == "baskets" else FRAMES[name])(events.df, job.spark, *more)
    job.write(frame, to=getattr(rp, store), table=name, key=key)
job.run()
"""
