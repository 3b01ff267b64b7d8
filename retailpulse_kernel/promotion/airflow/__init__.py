"""Promoted jobs in Airflow: a DAG each, the operator that runs it, and the page of its output."""

from retailpulse_kernel.ground.extras import require_extra

require_extra("airflow")
