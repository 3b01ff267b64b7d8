"""Metrics in memory: counters, gauges and histograms by name and labels, checked against their definitions."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.telemetry.definitions import METRICS

__all__ = ["Histogram", "Values", "exposition", "families"]

Labels = tuple[str, ...]
"""A metric's label values, in the order of its definition."""


@dataclass
class Histogram:
    """Observations by bucket; the last one is beyond all bounds."""

    counts: list[int]
    total: float = 0.0

    def add(self, other: Histogram) -> Histogram:
        """Both together.

        Parameters
        ----------
        other : Histogram
            Of the same buckets.
        """
        return Histogram([a + b for a, b in zip(self.counts, other.counts, strict=True)], self.total + other.total)


class Values:
    """The metrics of one process, or of several put together. Threads may share it.

    Parameters
    ----------
    **common : str
        Labels that every metric gets that has them, such as ``namespace``.
    """

    def __init__(self, **common: str) -> None:
        self._common = common
        self._lock = threading.Lock()
        self._numbers: dict[tuple[str, Labels], float] = {}
        self._inherited: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}

    def add(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Let a counter grow.

        Parameters
        ----------
        name : str
            A counter of `definitions`.
        amount : float
            Not negative, in the metric's unit.
        **labels : str
            All labels of the metric.
        """
        key = self._key(name, labels)
        with self._lock:
            self._numbers[key] = self._numbers.get(key, 0) + amount

    def set(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge, or a counter that is counted elsewhere.

        Parameters
        ----------
        name : str
            A metric of `definitions`.
        value : float
            In the metric's unit.
        **labels : str
            All labels of the metric.
        """
        key = self._key(name, labels)
        with self._lock:
            self._numbers[key] = float(value)

    def grow(self, name: str, count: float, /, **labels: str) -> None:
        """Let a counter follow what is counted elsewhere since this process began, on top of what it inherited.

        Parameters
        ----------
        name : str
            A counter of `definitions`.
        count : float
            Since this process began, in the metric's unit.
        **labels : str
            All labels of the metric.
        """
        key = self._key(name, labels)
        with self._lock:
            self._numbers[key] = self._inherited.setdefault(key, self._numbers.get(key, 0)) + count

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Put an observation into its histogram.

        Parameters
        ----------
        name : str
            A histogram of `definitions`.
        value : float
            In the metric's unit.
        **labels : str
            All labels of the metric.
        """
        key = self._key(name, labels)
        buckets = METRICS[name].buckets
        place = bisect.bisect_left(buckets, value)
        with self._lock:
            histogram = self._histograms.setdefault(key, Histogram([0] * (len(buckets) + 1)))
            histogram.counts[place] += 1
            histogram.total += value

    def clear(self, *names: str) -> None:
        """Forget all values of some metrics.

        Parameters
        ----------
        *names : str
            Metrics of `definitions`.
        """
        with self._lock:
            for key in [key for key in self._numbers if key[0] in names]:
                del self._numbers[key]

    def value(self, name: str, /, **labels: str) -> float | None:
        """A counter's or gauge's value; None when it has none.

        Parameters
        ----------
        name : str
            A counter or gauge of `definitions`.
        **labels : str
            All labels of the metric.
        """
        return self._numbers.get(self._key(name, labels))

    def dump(self) -> dict[str, Any]:
        """Everything as plain values; `merge` takes it."""
        with self._lock:
            return {
                "numbers": [[name, labels, value] for (name, labels), value in self._numbers.items()],
                "histograms": [
                    [name, labels, histogram.counts, histogram.total]
                    for (name, labels), histogram in self._histograms.items()
                ],
            }

    def merge(self, dumped: Mapping[str, Any], *, gauges: bool = True) -> None:
        """Add what another process had: counters and histograms add up, of gauges the last one stays.

        What is no longer defined, or has other labels or buckets by now, is left out.

        Parameters
        ----------
        dumped : mapping
            From `dump`.
        gauges : bool
            Whether gauges count that mean nothing once their process has ended.
        """
        with self._lock:
            for name, labels, value in dumped["numbers"]:
                metric, key = METRICS.get(name), (name, tuple(labels))
                if metric is None or len(labels) != len(metric.labels):
                    continue
                if metric.kind == "counter":
                    self._numbers[key] = self._numbers.get(key, 0) + value
                elif gauges or metric.kept:
                    self._numbers[key] = value
            for name, labels, counts, total in dumped["histograms"]:
                metric, key = METRICS.get(name), (name, tuple(labels))
                if metric is None or len(labels) != len(metric.labels) or len(counts) != len(metric.buckets) + 1:
                    continue
                found, other = self._histograms.get(key), Histogram(list(counts), total)
                self._histograms[key] = other if found is None else found.add(other)

    def items(self) -> Iterator[tuple[str, Labels, float | Histogram]]:
        """Every metric's name, label values and value."""
        with self._lock:
            found: list[tuple[str, Labels, float | Histogram]] = [(n, k, v) for (n, k), v in self._numbers.items()]
            found += [(n, k, Histogram(list(h.counts), h.total)) for (n, k), h in self._histograms.items()]
        return iter(found)

    def _key(self, name: str, labels: Mapping[str, str]) -> tuple[str, Labels]:
        metric = METRICS.get(name)
        if metric is None:
            raise UsageError(f"There is no metric {name!r}.", remedy="Define it in telemetry/definitions.py.")
        given = {**{k: v for k, v in self._common.items() if k in metric.labels}, **labels}
        if given.keys() != set(metric.labels):
            raise UsageError(f"The metric {name} has the labels {metric.labels}, not {tuple(given)}.")
        return name, tuple(given[label] for label in metric.labels)


def families(*sources: Values) -> Iterable[Family]:
    """What prometheus_client writes out, of several processes' values.

    Parameters
    ----------
    *sources : Values
        Of one process each.
    """
    found: dict[str, Any] = {}
    for source in sources:
        for name, labels, value in source.items():
            metric = METRICS[name]
            if name not in found:
                kind = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
                found[name] = kind[metric.kind](name, metric.help, labels=metric.labels)
            if isinstance(value, Histogram):
                found[name].add_metric(labels, _cumulative(metric.buckets, value.counts), value.total)
            else:
                found[name].add_metric(labels, value)
    return [found[name] for name in METRICS if name in found]


def exposition(*sources: Values) -> bytes:
    """The text that Prometheus reads.

    Parameters
    ----------
    *sources : Values
        Of one process each.
    """
    return generate_latest(_Given(sources))


class _Given:
    """All that prometheus_client wants of a registry."""

    def __init__(self, sources: tuple[Values, ...]) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Family]:
        return families(*self._sources)


def _cumulative(bounds: Iterable[float], counts: Iterable[int]) -> list[tuple[str, int]]:
    total, result = 0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        result.append((bound, total))
    return result
