"""How runs of promoted jobs end that Airflow has started."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.telemetry.recording import recording

__all__ = ["counted"]


def counted(execute: Callable[..., str]) -> Callable[..., str]:
    """Count how each call of an operator's ``execute`` ends; the operator knows its pipeline, profile and namespace.

    Parameters
    ----------
    execute : callable
        The operator's method.
    """

    @functools.wraps(execute)
    def measured(self: Any, *arguments: Any, **named: Any) -> str:
        state = "failed"
        try:
            result = execute(self, *arguments, **named)
            state = "success"
            return result
        except AirflowSkipException:
            state = "skipped"
            raise
        finally:
            settings = Settings.load(profile=self.profile, namespace=self.namespace)
            with recording(settings, "airflow", self.pipeline) as metrics:
                metrics.add("retailpulse_airflow_runs_total", pipeline=self.pipeline, state=state)

    return measured
