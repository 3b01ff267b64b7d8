"""The process that Spark's Python workers are forked from, with their imports done.

A worker that imports pandas, pyarrow and the intake on its own takes two seconds of a core, and
Spark starts several. They share one copy this way (``spark.python.daemon.module``).
"""

from __future__ import annotations

import pandas  # noqa: F401
import pyarrow.compute  # noqa: F401
import pyspark.worker  # noqa: F401
from pyspark import daemon

import retailpulse_kernel.streaming.source  # noqa: F401

if __name__ == "__main__":
    daemon.manager()
