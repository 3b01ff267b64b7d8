"""What a panel asks: the read API through Grafana's Infinity plugin, or Prometheus.

Addresses are relative to the data source: a dashboard knows no machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import DataSourceRef

__all__ = [
    "API",
    "PROMETHEUS",
    "api_fields",
    "api_query",
    "corrections_query",
    "prometheus_query",
    "rows_query",
    "values_fields",
]

API = DataSourceRef(type_val="yesoreyeram-infinity-datasource", uid="retailpulse-api")
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
_TYPES = {
    "bucket": "timestamp",
    "value": "number",
    "running_total": "number",
    "peak_value": "number",
    "complete_value": "number",
    "unfinished_value": "number",
    "percent": "number",
    "of_before": "number",
    "change_percent": "number",
    "late_events": "number",
    "corrected_at": "timestamp",
}
#: Names that Grafana shows; the others are shown as they are. The plugin puts columns into the order of their names.
_SHOWN = {
    "bucket": "Time", "running_total": "Running total", "peak_value": "Peak", "percent": "Of views (%)",
    "of_before": "Of the step before", "step": "Event", "change_percent": "vs last week",
    "unfinished_value": "So far", "category": "Category", "event_type": "Event", "product_id": "Product",
}  # fmt: skip
#: Of these the first that is among the columns gets the query's title, or else the last column.
_TITLED = ("value", "complete_value")


class ApiQuery(variants.Dataquery):
    """A query of the Infinity plugin, which the SDK has no class for."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def to_json(self) -> dict[str, Any]:
        """As it stands in a dashboard."""
        return self._fields


class _Made(Builder[variants.Dataquery]):
    def __init__(self, query: variants.Dataquery) -> None:
        self._query = query

    def build(self) -> variants.Dataquery:
        return self._query


def api_fields(
    name: str, columns: Sequence[str], *, title: str = "", ref: str = "A",
    filters: Sequence[str] = ("currency", "category"), **asked: Any,
) -> dict[str, Any]:  # fmt: skip
    """A query as the plugin wants it.

    Parameters
    ----------
    name : str
        The figure.
    columns : sequence of str
        Fields of a row that become columns.
    title : str
        What the column ``value`` or ``complete_value`` is called, or the last one where there is no such.
    ref : str
        The query's letter.
    filters : sequence of str
        The dimensions of which the dashboard has a variable.
    **asked
        Parameters of the API; the dashboard's range and filters are added.
    """
    parameters = {"from": "${__from}", "to": "${__to}", **{one: f"${{{one}:csv}}" for one in filters}}
    titled = next((column for column in _TITLED if column in columns), columns[-1])
    shown = _SHOWN | ({titled: title} if title else {})
    return _fields(
        f"/api/v1/figures/{name}?" + urlencode({**parameters, **asked}, safe="${}:,"),
        [{"selector": column, "text": shown.get(column, column), "type": _TYPES.get(column, "string")}
         for column in columns],
        ref, series="bucket" in columns,
    )  # fmt: skip


def _fields(url: str, columns: list[dict[str, str]], ref: str, *, series: bool = False) -> dict[str, Any]:
    return {
        "refId": ref,
        "datasource": {"type": API.type_val, "uid": API.uid},
        "type": "json",
        "source": "url",
        "parser": "backend",
        "format": "timeseries" if series else "table",
        "url": url,
        "url_options": {"method": "GET"},
        "root_selector": "rows",
        "columns": columns,
        "filters": [],
    }


def api_query(name: str, columns: Sequence[str], **options: Any) -> Builder[variants.Dataquery]:
    """A query of the read API; see `api_fields`.

    Parameters
    ----------
    name : str
        The figure.
    columns : sequence of str
        The fields of the answer that become columns.
    **options : object
        As `api_fields` takes them.
    """
    return _Made(ApiQuery(api_fields(name, columns, **options)))


def values_fields(dimension: str, **asked: str) -> dict[str, Any]:
    """A query for the values that a dimension has in the dashboard's range, as a variable asks it.

    Parameters
    ----------
    dimension : str
        Its name.
    **asked : str
        Further parameters of the API.
    """
    url = f"/api/v1/values/{dimension}?" + urlencode({"from": "${__from}", "to": "${__to}", **asked}, safe="${}:,")
    return _fields(url, [{"selector": dimension, "text": dimension, "type": "string"}], "variable")


def corrections_query(columns: Mapping[str, str], *, ref: str = "A", **asked: Any) -> Builder[variants.Dataquery]:
    """A query for the windows to which late events were added.

    Parameters
    ----------
    columns : mapping of str to str
        The fields that become columns, each with what it is called.
    ref : str
        The query's name.
    **asked
        Parameters of the API; the dashboard's range and its filters are added.
    """
    parameters = {"from": "${__from}", "to": "${__to}", "currency": "${currency:csv}", "category": "${category:csv}"}
    url = "/api/v1/corrections?" + urlencode({**parameters, **asked}, safe="${}:,")
    shown = [
        {"selector": name, "text": text, "type": _TYPES.get(name.rpartition(".")[2], "string")}
        for name, text in columns.items()
    ]
    return _Made(ApiQuery(_fields(url, shown, ref)))


def rows_query(table: str, columns: Mapping[str, str], **asked: str) -> Builder[variants.Dataquery]:
    """A query for rows of a table.

    Parameters
    ----------
    table : str
        The table.
    columns : mapping of str to str
        The columns that are shown, each with the plugin's name of its type.
    **asked : str
        Parameters of the API.
    """
    # The API's own parameters and columns can't be mixed up: all columns are named in one parameter.
    parameters = {"columns": ",".join(columns), **asked}
    url = f"/api/v1/tables/{table}?" + urlencode(parameters, safe="${}:,")
    shown = [{"selector": name, "text": name, "type": kind} for name, kind in columns.items()]
    return _Made(ApiQuery(_fields(url, shown, "A")))


def prometheus_query(
    expression: str, legend: str, ref: str = "A", *, instant: bool = False
) -> Builder[variants.Dataquery]:
    """A query of Prometheus: over the dashboard's range, or with `instant` what holds at its end.

    Parameters
    ----------
    expression : str
        PromQL.
    legend : str
        The name of each series, with ``{{label}}`` for a label's value.
    ref : str
        The query's letter in its panel.
    instant : bool
        Ask for the end of the range only.
    """
    made = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(ref).datasource(PROMETHEUS)
    return made.instant() if instant else made
