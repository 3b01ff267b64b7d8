"""The business' alerts, which Grafana watches itself: they read exact figures through the read API.

Money is compared there as numbers to draw (`value`), which only decide whether someone looks.
Without a range, the API answers for today as far as the table is complete, and with ``shift=7d`` for the same part of
the day a week ago.
"""

from __future__ import annotations

from typing import Any

from retailpulse_kernel.dashboards.queries import API, api_fields

__all__ = ["business_alerts"]

_EXPRESSION = "__expr__"


def business_alerts() -> dict[str, Any]:
    """Grafana's provisioning file for alerts."""
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": "business",
                "folder": "RetailPulse",
                "interval": "1m",
                "rules": [
                    _rule(
                        "revenue-today", "Revenue today is less than half of the same day last week's", "revenue",
                        "$today < 0.5 * $before", column="value",
                    ),
                    _rule(
                        "order-value-today", "The average order value is half or twice that of last week: prices or "
                        "currencies may be wrong", "average_order_value",
                        "($today < 0.5 * $before) || ($today > 2 * $before)", column="value",
                    ),
                    _rule(
                        "orders-today", "Orders today are less than half of the same day last week's", "orders",
                        "$today < 0.5 * $before", column="value",
                    ),
                ],
            }
        ],
    }  # fmt: skip


def _rule(uid: str, title: str, figure: str, condition: str, *, column: str) -> dict[str, Any]:
    return {
        "uid": f"retailpulse-{uid}",
        "title": title,
        "condition": "C",
        "data": [
            _query(api_fields(figure, [column], ref="A", currency="USD", category="", complete="true")),
            _query(api_fields(figure, [column], ref="B", currency="USD", category="", shift="7d", complete="true")),
            _math("C", f"($B > 0) && ({condition.replace('$today', '$A').replace('$before', '$B')})"),
        ],
        # Without last week there is nothing to compare with: that is not an alert.
        "noDataState": "OK",
        "execErrState": "Error",
        "for": "15m",
        "labels": {"severity": "warning", "audience": "business"},
        "annotations": {"summary": f"{title}.", "runbook": "docs/runbooks/RevenueLow.md"},
        "isPaused": False,
    }


def _query(model: dict[str, Any]) -> dict[str, Any]:
    # An alert has no dashboard, so no variables: today is what the API takes when it is not told.
    url = model["url"].replace("from=${__from}&to=${__to}&", "")
    return {
        "refId": model["refId"],
        "datasourceUid": API.uid,
        "relativeTimeRange": {"from": 86_400, "to": 0},
        "model": {**model, "url": url, "format": "table"},
    }


def _math(ref: str, expression: str) -> dict[str, Any]:
    return {
        "refId": ref,
        "datasourceUid": _EXPRESSION,
        "model": {
            "refId": ref,
            "datasource": {"type": _EXPRESSION, "uid": _EXPRESSION},
            "type": "math",
            "expression": expression,
        },
    }
