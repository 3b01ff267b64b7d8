// The category explorer: choose categories, a range and a question; a bar that is clicked is drilled into.

import { loadPlotly } from "./channel.mjs";
import { CONFIG, THEMES } from "./charts.mjs";
import { closesByItself, element, fillTree } from "./dom.mjs";

const RANGES = [["1 hour", "1h"], ["6 hours", "6h"], ["1 day", "1d"], ["7 days", "7d"], ["all", ""]];

class Explorer {
  constructor(model, el) {
    this.model = model;
    this.parts = this.build();
    el.append(this.parts.root);
    this.unlisten = closesByItself(this.parts.categories);
    this.changed = () => this.draw();
    model.on("change:answer change:tree", this.changed);
    this.theme = new MutationObserver(this.changed);
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    loadPlotly(model).then((loaded) => {
      this.plotly = loaded.plotly;
      this.draw();
    });
    model.send({ op: "ask" });
  }

  build() {
    const { model } = this;
    const parts = {
      summary: element("summary", { text: "All categories" }),
      tree: element("div", { className: "rp-tree" }),
      up: element("button", { type: "button", className: "rp-up", text: "Up", title: "One step up the tree" }),
      range: element("select", { className: "rp-range-of" }, ...RANGES.map(([text, value]) => element("option", { text, value }))),
      live: element("button", { type: "button", className: "rp-follow", text: "Live", title: "Ask again every few seconds" }),
      questions: element("span", { className: "rp-questions" }),
      note: element("div", { className: "rp-note", role: "status" }),
      chart: element("div", { className: "rp-chart rp-answer" }),
      code: element("pre", { className: "rp-code" }),
    };
    parts.categories = element("details", { className: "rp-categories" }, parts.summary, parts.tree);
    for (const [name, title] of Object.entries(model.get("questions"))) {
      const button = element("button", { type: "button", text: title, className: `rp-ask-${name}` });
      button.addEventListener("click", () => this.ask({ question: name }));
      parts.questions.append(button);
    }
    parts.up.addEventListener("click", () => {
      const [first] = model.get("asked").categories;
      if (first) this.ask({ categories: first.includes(".") ? [first.slice(0, first.lastIndexOf("."))] : [] });
    });
    parts.range.addEventListener("change", () => this.ask({ last: parts.range.value || null, since: null, until: null }));
    parts.live.addEventListener("click", () => this.ask({ live: !model.get("asked").live }));
    parts.root = element(
      "div", { className: "rp-view rp-explorer" },
      element("div", { className: "rp-bar" }, parts.categories, parts.up, parts.range, parts.live, parts.questions),
      parts.note, parts.chart,
      element("details", {}, element("summary", { text: "The code behind it" }), parts.code),
    );
    return parts;
  }

  /** Ask the kernel something else than before. */
  ask(change) {
    this.parts.note.textContent = "Asking …";
    this.model.send({ op: "ask", ...change });
  }

  draw() {
    const { parts, model } = this;
    const [asked, answer] = [model.get("asked"), model.get("answer")];
    fillTree(parts, model.get("tree"), (paths) => this.ask({ categories: outermost(paths ?? []) }));
    for (const box of parts.tree.querySelectorAll("input")) box.checked = asked.categories.includes(box.value);
    parts.summary.textContent = asked.categories.join(", ") || "All categories";
    parts.live.setAttribute("aria-pressed", String(Boolean(asked.live)));
    parts.range.value = asked.last ?? "";
    for (const button of parts.questions.children) {
      button.setAttribute("aria-pressed", String(button.className === `rp-ask-${asked.question}`));
    }
    parts.note.textContent = answer.note ?? "";
    parts.code.textContent = answer.code ?? "";
    if (!this.plotly || !answer.figure) return;
    const theme = THEMES[document.body.dataset.jpThemeLight === "false" ? "dark" : "light"];
    const { data, layout } = JSON.parse(answer.figure);
    const axis = { gridcolor: theme.faint, zerolinecolor: theme.faint, automargin: true };
    this.plotly.react(parts.chart, data, {
      ...layout, template: null, font: { color: theme.ink, size: 11 }, paper_bgcolor: theme.paper, plot_bgcolor: theme.paper,
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis }, margin: { l: 8, r: 12, t: 36, b: 8 },
    }, CONFIG);
    if (!this.listening) {
      this.listening = true;
      parts.chart.on("plotly_click", ({ points }) => this.drill(points[0]));
    }
    Object.assign(parts.root.dataset, { question: asked.question, categories: asked.categories.join(","), answers: model.get("answer").number });
  }

  drill(point) {
    if (this.model.get("asked").question !== "categories") return;
    const path = String(point.y);
    const deeper = this.model.get("tree").some((category) => category.startsWith(`${path}.`));
    this.ask(deeper ? { categories: [path] } : { categories: [path], question: "brands" });
  }

  close() {
    this.model.off("change:answer change:tree", this.changed);
    this.theme.disconnect();
    this.unlisten();
    if (this.plotly) this.plotly.purge(this.parts.chart);
  }
}

/** Paths without those that another one holds. */
export function outermost(paths) {
  return paths.filter((path) => !paths.some((other) => path !== other && path.startsWith(`${other}.`)));
}

function render({ model, el }) {
  const explorer = new Explorer(model, el);
  return () => explorer.close();
}

export default { render };
