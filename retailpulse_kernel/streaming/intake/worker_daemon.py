"""The process that Spark's Python workers are forked from, with their imports done.

A worker that imports pandas, pyarrow and the intake on its own takes two seconds of a core, and
Spark starts several. They share one copy this way (``spark.python.daemon.module``).
"""

from __future__ import annotations

import gc

import pandas  # noqa: F401
import pyarrow.compute  # noqa: F401
import pyspark.worker  # noqa: F401
from pyspark import daemon

import retailpulse_kernel.streaming.intake.source  # noqa: F401

if __name__ == "__main__":
    # What is here now stays: a worker that looked through it for garbage would copy the pages that it shares.
    gc.freeze()
    daemon.manager()
