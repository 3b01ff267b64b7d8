// A canvas: one chart that the kernel draws anew as often as it likes.

import { loadPlotly } from "./channel.mjs";
import { CONFIG, dressed, shownTheme } from "./charts.mjs";
import { element } from "./dom.mjs";

const HEIGHT = 360;

class Canvas {
  constructor(model, el) {
    this.model = model;
    this.chart = element("div", { className: "rp-chart" });
    this.root = element("div", { className: "rp-view rp-canvas" }, this.chart);
    el.append(this.root);
    this.changed = () => this.draw();
    model.on("change:figure", this.changed);
    this.theme = new MutationObserver(this.changed);
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    loadPlotly(model).then(({ plotly }) => {
      this.plotly = plotly;
      this.draw();
    });
  }

  draw() {
    const text = this.model.get("figure");
    if (!this.plotly || !text) return;
    const { data, layout } = JSON.parse(text);
    this.plotly.react(this.chart, data, dressed({ height: HEIGHT, ...layout }, shownTheme()), CONFIG);
    this.root.dataset.drawn = Number(this.root.dataset.drawn ?? 0) + 1;
  }

  close() {
    this.model.off("change:figure", this.changed);
    this.theme.disconnect();
    if (this.plotly) this.plotly.purge(this.chart);
  }
}

function render({ model, el }) {
  const canvas = new Canvas(model, el);
  return () => canvas.close();
}

export default { render };
