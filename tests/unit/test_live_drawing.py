"""What is drawn for a notebook: a bar for each row, unfinished windows apart, and nothing that leads out."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pandas as pd
import plotly.graph_objects as go
import pytest

from retailpulse_kernel.answers.questions import Scope
from retailpulse_kernel.live import plotting
from retailpulse_kernel.live.canvas import Canvas
from retailpulse_kernel.live.drawing import as_text, bars, draw
from tests.addresses import addresses_elsewhere

NAMES = ["1499", "855", "2024-01-02", "<b>bold</b>", "a & b", "", "true", "1e5", "plain"]
START = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("question", "key"), [("categories", "category"), ("brands", "brand"), ("products", "product_id")]
)
def test_each_row_has_a_bar_labelled_with_its_text(question: str, key: str) -> None:
    frame = pd.DataFrame({key: NAMES, "revenue": [Decimal(1000 * i) for i in range(len(NAMES))]})
    made = json.loads(draw(question, frame, Scope(categories=("<i>",))).to_json())
    (trace,), axis = made["data"], made["layout"]["yaxis"]
    assert (axis["type"], axis["tickvals"], trace["y"]) == ("category", NAMES, NAMES)
    assert [text.removesuffix(" ") for text in axis["ticktext"]] == [as_text(name) for name in NAMES]
    assert trace["customdata"][3] == ["&lt;b&gt;bold&lt;/b&gt;", "3,000.00 USD"]
    assert "&lt;i&gt;" in made["layout"]["title"]["text"]


def test_several_values_are_bars_beside_each_other() -> None:
    frame = pd.DataFrame({"branch": ["855", "b"], "views": [1200, 3], "share": [0.031249, 5]})
    first, second = bars(frame, ["views", "share"], "branch", "Both").data
    assert [text for _, text in first.customdata] == ["1,200", "3"]
    assert [text for _, text in second.customdata] == ["0.0312", "5.0"]


def test_no_rows_are_no_bars() -> None:
    frame = pd.DataFrame({"kind": pd.Series([], dtype="category"), "events": pd.Series([], dtype="int64")})
    assert bars(frame, "events", "kind", "0 events so far").data[0].y == ()


def over_time(complete: list[bool]) -> go.Figure:
    frame = pd.DataFrame({
        "bucket": [START + timedelta(minutes=i) for i in range(len(complete))], "category": "855",
        "revenue": [Decimal(i) for i in range(len(complete))], "complete": complete,
    })  # fmt: skip
    return draw("over_time", frame, Scope())


def test_a_running_window_is_a_hollow_point_at_the_end_of_dashes() -> None:
    line, dashes = over_time([True, True, True, False]).data
    drawn = [[not math.isnan(value) for value in trace.y] for trace in (line, dashes)]
    assert drawn == [[True, True, True, False], [False, False, True, True]]
    assert (line.line.dash, dashes.line.dash) == ("solid", "dot")
    assert dashes.marker.symbol[-1] == "circle-open" and not dashes.showlegend
    assert len(over_time([True, True]).data) == 1


def test_a_single_point_has_an_axis_of_an_hour() -> None:
    axis = over_time([True]).layout.xaxis
    first, last = axis.range
    assert (axis.type, last - first) == ("date", timedelta(hours=1))


SCRIPT = """
import retailpulse_kernel as rp
from IPython.core.interactiveshell import InteractiveShell
rp.load_ipython_extension(InteractiveShell.instance())
import sys
assert "plotly" not in sys.modules, "loading the extension imports nothing heavy"
{how}
import json, plotly.graph_objects as go
figure = go.Figure(go.Bar(x=[1], y=["a"]))
print(json.dumps(figure._repr_mimebundle_()["application/vnd.plotly.v1+json"]))
print(figure.to_html(include_plotlyjs=False, full_html=True))
"""


@pytest.mark.parametrize(
    "how", ["import plotly.express as px", "import plotly.io as pio; pio.renderers", "import plotly"]
)
def test_a_notebook_s_figure_has_no_way_out_and_is_read_in_both_themes(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(how=how)], capture_output=True, text=True, check=True,
        env={**os.environ, "PLOTLY_RENDERER": "plotly_mimetype"},
    )  # fmt: skip
    shown, page = done.stdout.split("\n", 1)
    figure = json.loads(shown)
    assert figure["config"] == plotting.CONFIG
    assert not figure["config"]["showSendToCloud"] and not figure["config"]["displaylogo"]
    layout = figure["layout"]["template"]["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0, 0, 0, 0)"
    red, green, blue = (int(layout["font"]["color"][place : place + 2], 16) / 255 for place in (1, 3, 5))
    light = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    assert min(1.05 / (light + 0.05), (light + 0.05) / (linear(0x11 / 255) + 0.05)) > 4, "on white and on #111"
    assert layout["modebar"]["remove"] == ["sendChartToCloud"]
    for text in (shown, page):
        assert addresses_elsewhere(text) == []


def linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def test_a_canvas_holds_what_was_drawn_last() -> None:
    canvas = Canvas()
    frame = pd.DataFrame({"kind": ["view"], "events": [1]})
    for events in (1, 5):
        canvas.draw(bars(frame.assign(events=events), "events", "kind", "Events"))
        assert json.loads(canvas.figure)["data"][0]["customdata"] == [["view", str(events)]]
