"""What every panel of every dashboard keeps: rules that were found by looking at them in Grafana."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["every_panel", "unlike_the_rules"]

#: Panels whose lines are told apart by a legend; bars and rows have labels, and a spark line is of its number.
_WITH_LEGEND = ("timeseries", "piechart")


def every_panel(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a dashboard, also those within closed rows."""
    for panel in made["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def unlike_the_rules(panel: dict[str, Any]) -> list[str]:
    """The rules that a panel does not keep."""
    config, options = panel["fieldConfig"], panel.get("options", {})
    steps = config["defaults"].get("thresholds", {}).get("steps", [])
    is_spark = not panel["title"]
    rules = {
        "a unit": bool(config["defaults"].get("unit")) or panel["type"] == "table",
        "a description": bool(panel.get("description")),
        "a text without a value": bool(config["defaults"].get("noValue")),
        "thresholds, of which the first holds for all values": bool(steps) and steps[0]["value"] is None,
        "other thresholds than Grafana's own": [step["value"] for step in steps] != [None, 80],
        "one neutral colour, where nothing is good or bad": len(steps) != 1 or steps[0]["color"] == "text",
        "a legend": panel["type"] not in _WITH_LEGEND or (options.get("legend", {}).get("showLegend") is not is_spark
        and "legend" in options),
        "shares in its slices": panel["type"] != "piechart" or options["displayLabels"] == ["percent"],
        "shares in its legend": panel["type"] != "piechart" or "percent" in options["legend"]["values"],
        "names and values at its bars": panel["type"] != "bargauge" or options["namePlacement"] == "left",
        "colours that are no limits": panel["type"] not in ("timeseries", "bargauge", "piechart")
        or config["defaults"].get("color", {}).get("mode") in ("fixed", "palette-classic", "palette-classic-by-name"),
        "links without a machine": all(link["url"].startswith("/") for link in config["defaults"].get("links", [])),
        "links of numbers": panel["type"] != "stat" or bool(config["defaults"].get("links")),
    }  # fmt: skip
    return [f"{panel['title'] or panel['id']} has not {rule}" for rule, kept in rules.items() if not kept]
