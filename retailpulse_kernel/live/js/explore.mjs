// The category explorer: choose categories, a currency, a range and a question; a bar that is clicked is drilled into.

import { loadPlotly } from "./channel.mjs";
import { CONFIG, dressed, shownTheme } from "./charts.mjs";
import { closesByItself, element, fill, fillTree } from "./dom.mjs";
import { wall } from "./zone.mjs";

const RANGES = [["1 hour", "1h"], ["6 hours", "6h"], ["1 day", "1d"], ["7 days", "7d"], ["all", ""], ["from … to …", "past"]];

class Explorer {
  constructor(model, el) {
    this.model = model;
    this.parts = this.build();
    el.append(this.parts.root);
    this.unlisten = closesByItself(this.parts.categories);
    this.listen();
    this.changed = () => this.draw();
    model.on("change:answer change:tree change:currencies change:figures change:dimensions", this.changed);
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
    const zone = model.get("zone");
    const parts = {
      summary: element("summary", { text: "All categories" }),
      tree: element("div", { className: "rp-tree" }),
      up: element("button", { type: "button", className: "rp-up", text: "Up", title: "One step up the tree" }),
      range: element("select", { className: "rp-range-of" }, ...RANGES.map(([text, value]) => element("option", { text, value }))),
      currency: element("select", { className: "rp-currency", title: "Money of different currencies is never added up" }),
      since: element("input", { type: "datetime-local", className: "rp-since", title: `From, ${zone}` }),
      until: element("input", { type: "datetime-local", className: "rp-until", title: `To, ${zone}` }),
      live: element("button", { type: "button", className: "rp-follow", text: "Live", title: "Ask again every few seconds" }),
      questions: element("span", { className: "rp-questions" }),
      note: element("div", { className: "rp-note", role: "status" }),
      chart: element("div", { className: "rp-chart rp-answer" }),
      code: element("pre", { className: "rp-code" }),
    };
    parts.figure = element("select", { className: "rp-figure", title: "The figure" });
    parts.by = element("select", { className: "rp-by", title: "What the figure goes by" });
    parts.any = element("span", { className: "rp-any" }, parts.figure, "by", parts.by);
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
    parts.past = element("span", { className: "rp-past" }, parts.since, "–", parts.until, zone);
    parts.range.addEventListener("change", () => {
      parts.past.hidden = parts.range.value !== "past";
      if (parts.past.hidden) this.ask({ last: parts.range.value || null });
      else this.askRange();
    });
    for (const end of [parts.since, parts.until]) end.addEventListener("change", () => this.askRange());
    parts.currency.addEventListener("change", () => this.ask({ currency: parts.currency.value }));
    for (const name of ["figure", "by"]) parts[name].addEventListener("change", () => this.ask({ [name]: parts[name].value }));
    parts.live.addEventListener("click", () => this.ask({ live: !model.get("asked").live }));
    parts.root = element(
      "div", { className: "rp-view rp-explorer" },
      element("div", { className: "rp-bar" }, parts.categories, parts.up, parts.currency, parts.range, parts.past, parts.live, parts.questions, parts.any),
      parts.note, parts.chart,
      element("details", {}, element("summary", { text: "The code behind it" }), parts.code),
    );
    return parts;
  }

  /** Ask the kernel something else than before. */
  ask(change) {
    this.parts.note.textContent = "Asking …";
    this.sent = `${Math.random()}`;
    this.model.send({ op: "ask", asks: [this.sent], ...change });
  }

  /** Both ends of a past range; it begins with the last day. */
  askRange() {
    const { since, until } = this.parts;
    const minute = (ms) => new Date(ms).toISOString().slice(0, 16);
    until.value ||= wall(Date.now() / 1000, this.model.get("zone")).slice(0, 16);
    since.value ||= minute(Date.parse(`${until.value}Z`) - 86_400_000);
    this.ask({ since: since.value, until: until.value });
  }

  showAsked(asked) {
    const { parts } = this;
    for (const box of parts.tree.querySelectorAll("input")) box.checked = asked.categories.includes(box.value);
    parts.summary.textContent = asked.categories.join(", ") || "All categories";
    parts.live.setAttribute("aria-pressed", String(Boolean(asked.live)));
    const past = Boolean(asked.since || asked.until);
    parts.range.value = past ? "past" : (asked.last ?? "");
    parts.past.hidden = !past;
    if (past) [parts.since.value, parts.until.value] = [asked.since ?? "", asked.until ?? ""];
    parts.live.disabled = past;
  }

  draw() {
    const { parts, model } = this;
    const [asked, answer] = [model.get("asked"), model.get("answer")];
    fillTree(parts, model.get("tree"), (paths) => this.ask({ categories: outermost(paths ?? []) }));
    if (asked.asks?.includes(this.sent)) this.sent = null;
    // The answer to an earlier question does not take back what was chosen since.
    if (!this.sent) this.showAsked(asked);
    fill(parts.currency, [...new Set([...model.get("currencies"), asked.currency])].sort(), asked.currency);
    // What was chosen before another question came stays in the list, whether the shop still has it or not.
    for (const [name, known] of [["figure", "figures"], ["by", "dimensions"]]) {
      fill(parts[name], [...new Set([...model.get(known), asked[name]])], this.sent ? parts[name].value || asked[name] : asked[name]);
    }
    parts.any.hidden = asked.question !== "by_dimension";
    for (const button of parts.questions.children) {
      button.setAttribute("aria-pressed", String(button.className === `rp-ask-${asked.question}`));
    }
    parts.note.textContent = answer.note ?? "";
    parts.code.textContent = answer.code ?? "";
    if (!this.plotly || !answer.figure) return;
    const { data, layout } = JSON.parse(answer.figure);
    const plain = { ...layout, height: undefined, template: null, font: { size: 11 }, margin: { l: 8, r: 12, t: 36, b: 8 } };
    this.plotly.react(parts.chart, data, dressed(plain, shownTheme()), CONFIG);
    Object.assign(parts.root.dataset, { question: asked.question, categories: asked.categories.join(","), currency: asked.currency, figure: asked.figure, by: asked.by, answers: model.get("answer").number });
  }

  // Plotly's own click needs to have seen the mouse over the bar, and forgets that whenever it draws anew. Here the
  // bar's whole row counts: some bars are a pixel long.

  listen() {
    const { chart } = this.parts;
    chart.addEventListener("pointerdown", (event) => (this.pressed = { event, path: this.pathAt(event) }), true);
    this.released = (event) => {
      const pressed = this.pressed;
      this.pressed = null;
      if (!pressed?.path) return;
      if (Math.hypot(event.clientX - pressed.event.clientX, event.clientY - pressed.event.clientY) < 4) this.drill(pressed.path);
    };
    document.addEventListener("pointerup", this.released, true);
  }

  /** The category whose bar is in the row of a click. */
  pathAt({ target, clientX, clientY }) {
    const { chart } = this.parts;
    if (this.model.get("asked").question !== "categories" || target.closest(".modebar")) return null;
    const bars = [...chart.querySelectorAll(".bars .point")].map((bar) => bar.getBoundingClientRect());
    const place = bars.findIndex(({ top, bottom, left }) => clientY >= top && clientY <= bottom && clientX >= left);
    return place < 0 ? null : String(chart.data[0].y[place]);
  }

  drill(path) {
    const deeper = this.model.get("tree").some((category) => category.startsWith(`${path}.`));
    this.ask(deeper ? { categories: [path] } : { categories: [path], question: "brands" });
  }

  close() {
    this.model.off("change:answer change:tree change:currencies change:figures change:dimensions", this.changed);
    this.theme.disconnect();
    this.unlisten();
    document.removeEventListener("pointerup", this.released, true);
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
