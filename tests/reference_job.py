"""A job that joins its events with reference tables, and the program that runs the job in a process of its own."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.streaming.run.report import Report
from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["HOLD", "job_of"]

#: A file in the contract's folder: while it is there, no micro-batch ends.
HOLD = "hold"


def job_of(namespace: str, run: str = "available_now", profile: str | None = None) -> Job:
    """A job with a row for each event, and with sums in windows; both have the title that the event's product had then.

    Parameters
    ----------
    namespace : str
        Where it runs. The contract is the one of the settings.
    run : str
        The run mode.
    profile : str, optional
        Where the servers are.
    """
    rp = Workbench(profile, namespace)
    job = rp.job("lookups", run=run, trigger="100ms")  # type: ignore[arg-type]
    events = job.events(watermark="1m")
    from pyspark.sql import functions as F

    contract = Settings.load(namespace=namespace).contract
    assert contract is not None
    hold = str(contract.with_name(HOLD))

    def held(value: str) -> str:
        while Path(hold).exists():
            time.sleep(0.05)
        return value

    products = job.reference("products")
    titled = events.df.join(F.broadcast(products), "product_id", "left")
    rows = titled.select(F.udf(held, "string")("event_id").alias("event_id"), "product_id", "title")
    job.write(rows, to=rp.cassandra, table="looked_up", key="event_id")
    job.write(
        sums(events.df.join(products, "product_id", "left")), to=rp.cassandra, table="by_title", key=["w", "title"]
    )
    return job


def sums(titled: Any) -> Any:
    """How many events of each title there are in a day."""
    from pyspark.sql import functions as F

    title = F.coalesce("title", F.lit("none")).alias("title")
    counted = titled.groupBy(F.window("event_time", "1 day").alias("day"), title).agg(F.count("*").alias("events"))
    return counted.select(F.col("day.start").alias("w"), "title", "events")


def run_of(namespace: str, run: str, profile: str | None) -> Report:
    """Run the job to its end."""
    return job_of(namespace, run, profile).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("namespace")
    parser.add_argument("run")
    parser.add_argument("--profile")
    given = parser.parse_args()
    print(run_of(given.namespace, given.run, given.profile))
