"""The business' alerts, which Grafana watches itself: they read exact figures through the read API.

They are those that Prometheus can't see; `monitoring/alerts.py` has all others, each cause once. Both go to
Alertmanager, which sends them on. Money is compared there as numbers to draw (`value`), which only decide whether
someone looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retailpulse_kernel.dashboards.queries import API, api_fields
from retailpulse_kernel.shop.figures import AVERAGE_ORDER_VALUE

__all__ = ["BUSINESS_ALERTS", "business_alerts"]

#: The names of the runbooks.
BUSINESS_ALERTS = ("NoSales", "OrderValueUnusual")
_EXPRESSION = "__expr__"
_WEEK, _DAY, _HOURS = "7d", 86_400, 10_800
#: The dashboard that an alert leads to.
_DASHBOARD = "retailpulse-store-pulse"
_CONTACT = "RetailPulse"
_FORMER = ("revenue-today", "order-value-today", "orders-today")


def business_alerts() -> dict[str, Any]:
    """Grafana's provisioning file for alerts: the rules, and whom they reach."""
    return {
        "apiVersion": 1,
        "contactPoints": [
            {
                "orgId": 1,
                "name": _CONTACT,
                # Whom Alertmanager tells is set once, for all alerts.
                "receivers": [
                    {"uid": "retailpulse-alertmanager", "type": "prometheus-alertmanager",
                     "settings": {"url": "$ALERTMANAGER_URL"}},
                ],
            }
        ],
        # Of former versions: another alert tells of the same cause.
        "deleteRules": [{"orgId": 1, "uid": f"retailpulse-{name}"} for name in _FORMER],
        "policies": [
            {"orgId": 1, "receiver": _CONTACT, "group_by": ["alertname"], "group_wait": "5s", "group_interval": "1m",
             "repeat_interval": "4h"},
        ],
        "groups": [
            {"orgId": 1, "name": "business", "folder": "RetailPulse", "interval": "1m",
             "rules": [_no_sales(), _order_value()]},
        ],
    }  # fmt: skip


def _no_sales() -> dict[str, Any]:
    """No purchase, where there were some: without last week nothing is known to be wrong.

    The funnel has a row of each step, also where nothing was bought. To Grafana, an answer without rows is no data,
    which is not the same as none.
    """
    now, before = _both("funnel", _HOURS, rows='rows.#(step=="purchase")#')
    return _rule(
        "NoSales", [now, before, _math("($A < 1) && ($B > 0)")],
        f"No purchase in the last three hours. In the same hours a week before there were {_said('B', 0)}.",
        panel=2, hold="5m",
    )  # fmt: skip


def _order_value() -> dict[str, Any]:
    now, before = _both(AVERAGE_ORDER_VALUE.name, _DAY)
    return _rule(
        "OrderValueUnusual", [now, before, _math("($B > 0) && (($A < 0.5 * $B) || ($A > 2 * $B))")],
        f"The average order value of the last day is {_said('A', 2)}, and a week before it was {_said('B', 2)}: prices "
        "or currencies may be wrong.", panel=3, hold="15m",
    )  # fmt: skip


def _said(ref: str, decimals: int) -> str:
    """The value of a query in words, which is not known where the query failed."""
    return f'{{{{ with $values.{ref}.Value }}}}{{{{ printf "%.{decimals}f" . }}}}{{{{ else }}}}not known{{{{ end }}}}'


def _both(name: str, seconds: int, *, rows: str = "rows") -> tuple[dict[str, Any], dict[str, Any]]:
    """A figure of the last seconds in the base currency, and that of the same time a week before."""
    return _query(name, "A", seconds, rows), _query(name, "B", seconds, rows, shift=_WEEK)


def _query(name: str, ref: str, seconds: int, rows: str, **asked: str) -> dict[str, Any]:
    # An alert has no dashboard, so no variables. The plugin itself fills in the range.
    model = api_fields(name, ["value"], ref=ref, filters=(), currency="base", **asked)
    return {
        "refId": ref,
        "datasourceUid": API.uid,
        "relativeTimeRange": {"from": seconds, "to": 0},
        "model": {**model, "format": "table", "root_selector": rows},
    }


def _rule(name: str, data: Sequence[dict[str, Any]], summary: str, *, panel: int, hold: str) -> dict[str, Any]:
    return {
        "uid": f"retailpulse-{name.lower()}",
        "title": name,
        "condition": data[-1]["refId"],
        "data": list(data),
        # Without last week there is nothing to compare with: that is not an alert.
        "noDataState": "OK",
        "execErrState": "Error",
        "for": hold,
        "labels": {"severity": "warning", "audience": "business"},
        "annotations": {
            "summary": summary,
            "runbook": f"docs/runbooks/{name}.md",
            "__dashboardUid__": _DASHBOARD,
            "__panelId__": str(panel),
        },
        "isPaused": False,
    }


def _math(expression: str) -> dict[str, Any]:
    source = {"type": _EXPRESSION, "uid": _EXPRESSION}
    model = {"refId": "C", "datasource": source, "type": "math", "expression": expression}
    return {"refId": "C", "datasourceUid": _EXPRESSION, "model": model}
