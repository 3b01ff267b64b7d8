"""A panel of metrics: its lines by their queries in Prometheus, and the PromQL that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from retailpulse_kernel.dashboards.panels import Place, line, told
from retailpulse_kernel.dashboards.queries import PROMETHEUS, prometheus_query

__all__ = ["IN", "RANGE", "Measured", "quantile", "rate", "share"]

#: The namespace that is shown, and the range of a rate that Grafana chooses.
IN: Final = 'namespace="$namespace"'
RANGE: Final = "[$__rate_interval]"


@dataclass(frozen=True)
class Measured:
    """Lines of metrics.

    Attributes
    ----------
    id : int
        The panel's own, which never changes.
    title : str
        What is measured, by what.
    unit : str
        Grafana's name of a unit.
    description : str
        What it means, and the runbook.
    queries : tuple of (str, str)
        PromQL, and the name of each of its lines.
    nothing : str
        Shown where nothing was measured.
    """

    id: int
    title: str
    unit: str
    description: str
    queries: tuple[tuple[str, str], ...]
    nothing: str = "nothing measured in this range"

    def at(self, place: Place) -> Any:
        """The panel on a place.

        Parameters
        ----------
        place : Place
            Where.
        """
        asked = [prometheus_query(expr, legend, "ABC"[i]) for i, (expr, legend) in enumerate(self.queries)]
        made = line(self.id, self.title, place, asked, unit=self.unit, source=PROMETHEUS)
        return told(made, self.description, nothing=self.nothing)


def rate(counter: str, by: str, *conditions: str) -> str:
    """How much a counter of the namespace grows in a second.

    Parameters
    ----------
    counter : str
        Its name.
    by : str
        The label of the lines.
    *conditions : str
        Further conditions on labels.
    """
    return f"sum by ({by}) (rate({counter}{{{','.join((IN, *conditions))}}}{RANGE}))"


def quantile(share: float, histogram: str, by: str) -> str:
    """The value that a share of the observations of a histogram is below.

    Parameters
    ----------
    share : float
        Such as 0.95.
    histogram : str
        Its name.
    by : str
        The label of the lines.
    """
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({histogram}_bucket{{{IN}}}{RANGE})))"


def share(status: str) -> str:
    """The share of a job's messages that has a status.

    Parameters
    ----------
    status : str
        As docs/metrics.md lists them.
    """
    of = rate("retailpulse_job_messages_total", "job_name", f'status="{status}"')
    return f"{of} / ({rate('retailpulse_job_messages_total', 'job_name')} > 0)"
