"""Airflow reads this file: one DAG for each promoted job in ``pipelines/``, and nothing by hand."""

from __future__ import annotations

from retailpulse_kernel.promotion.airflow.dags import dags

globals().update(dags())
