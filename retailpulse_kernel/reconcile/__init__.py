"""Reconciliation: the figures in every store must be those of the events in the topic.

`reconcile` folds the topic in plain Python, message by message, and demands that every job's
account and every figure in Cassandra, HBase and Hive come out the same.
"""

from __future__ import annotations

from retailpulse_kernel.reconcile.reconciling import reconcile
from retailpulse_kernel.reconcile.result import Difference, JobCheck, Reconciliation, TableCheck, Totals

__all__ = ["Difference", "JobCheck", "Reconciliation", "TableCheck", "Totals", "reconcile"]
