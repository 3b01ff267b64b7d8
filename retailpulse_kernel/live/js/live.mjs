// The live view: one widget, four charts, all controls answered in the browser.

import { Channel, loadPlotly } from "./channel.mjs";
import { charts, CONFIG, shownTheme, THEMES, time } from "./charts.mjs";
import { Clock } from "./clock.mjs";
import { build, closesByItself, element, fill, fillTree } from "./dom.mjs";
import { data, page } from "./export.mjs";
import { BASE, counted, money, summarise } from "./model.mjs";
import { ahead } from "./zone.mjs";

const REPLAY_MS = 250;
/** The charts in the order of the page. */
const ORDER = ["line", "aov", "bar", "pie"];
const number = new Intl.NumberFormat("en-US");

class View {
  constructor(model, el) {
    this.options = model.get("options");
    this.parts = build();
    this.clock = new Clock(this.options.window);
    this.categories = this.options.categories;
    this.currency = this.options.currency;
    this.paused = false;
    this.waiting = null;
    this.parts.window.value = String(this.options.window);
    el.append(this.parts.root);
    this.unlisten = closesByItself(this.parts.categories);
    this.say("Waiting for the kernel …");
    this.listen();
    this.channel = new Channel(
      model,
      (ack) => this.frame(ack),
      () => this.say("What follows the stream has ended, and is started again …"),
    );
    loadPlotly(model).then(
      (loaded) => {
        this.library = loaded;
        this.draw();
      },
      (error) => this.say(`Plotly can't be loaded: ${error.message}`),
    );
  }

  // -- what comes in ------------------------------------------------------------------

  /** A new frame: painted with the page's next pictures, and acknowledged then. */
  frame(ack) {
    if (document.hidden || this.paused || !this.library) {
      ack(); // the data is here; drawing waits until somebody looks
      return;
    }
    this.acks = [...(this.acks ?? []), ack];
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      if (!this.draw({ gently: true })) this.acknowledge();
    });
  }

  acknowledge() {
    for (const ack of this.acks ?? []) ack();
    this.acks = [];
  }

  // -- controls -----------------------------------------------------------------------

  listen() {
    const { parts, clock } = this;
    const on = (part, event, action) =>
      parts[part].addEventListener(event, () => {
        const started = performance.now();
        action(parts[part].value);
        this.draw();
        parts.root.dataset.answered = (performance.now() - started).toFixed(1);
      });
    on("pause", "click", () => {
      this.paused = !this.paused;
      this.held = this.paused ? clock.end(this.model.state.edge, Date.now()) : null;
    });
    on("window", "change", (value) => (clock.window = Number(value)));
    on("currency", "change", (value) => (this.currency = value));
    on("scrub", "input", (value) => {
      const { edge } = this.model.state;
      if (Number(value) >= edge) clock.live();
      else clock.scrub(Number(value));
      if (this.paused) this.held = clock.end(edge, Date.now());
    });
    on("replay", "click", () => {
      const [edge, now] = [this.model.state.edge, Date.now()];
      if (clock.replaying) clock.halt(edge, now);
      else clock.replay(Number(parts.speed.value), edge, now);
      this.setPaused(false);
    });
    on("speed", "change", (value) => {
      const [edge, now] = [this.model.state.edge, Date.now()];
      if (!clock.replaying) return;
      clock.halt(edge, now);
      if (!clock.isLive) clock.replay(Number(value), edge, now);
    });
    on("live", "click", () => {
      clock.live();
      this.setPaused(false);
    });
    on("freeze", "click", () => this.freeze());
    on("export", "click", () => this.save());
    this.ticker = setInterval(() => clock.replaying && !document.hidden && this.draw(), REPLAY_MS);
    this.frozen = new Map();
    this.redraw = () => {
      this.draw();
      for (const [grid, summary] of this.frozen) this.drawCopy(grid, summary);
    };
    document.addEventListener("visibilitychange", this.redraw);
    this.theme = new MutationObserver(this.redraw);
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
  }

  setPaused(paused) {
    this.paused = paused;
    this.held = null;
  }

  get model() {
    return this.channel.model;
  }

  // -- drawing ------------------------------------------------------------------------

  say(text) {
    if (this.parts.note.textContent !== text) this.parts.note.textContent = text;
  }

  summary() {
    const { model, clock } = this;
    const end = this.held ?? clock.end(model.state.edge, Date.now());
    const ask = {
      now: (model.state.now_ms + Date.now() - this.channel.received) / 1000, currency: this.currency ?? this.guess,
      categories: this.categories, orderEvents: this.options.order_events,
    };
    const [since, until] = model.range(end, clock.window);
    const summary = { ...summarise(model, { since, until, ...ask }), ahead: ahead(until, this.options.zone) };
    const [before, from] = model.range(since, clock.window);
    summary.before = before >= model.oldest ? summarise(model, { since: before, until: from, ...ask }).average : null;
    return summary;
  }

  /**
   * Draw, unless there is nothing to draw or nobody to see it: says which. Gently is one chart a picture, so that who
   * uses a control meanwhile waits for one chart and not for four.
   */
  draw({ gently = false } = {}) {
    if (!this.library || document.hidden || this.model.versions === null || !this.parts.root.isConnected) return false;
    if (this.paused && this.drawn && this.drawn === this.signature()) return false;
    this.drawn = this.signature();
    if (this.currency === null) {
      this.guess = this.model.mainCurrency ?? this.model.currencies[0] ?? "USD";
    }
    const summary = this.summary();
    this.shown = summary;
    this.figures = charts(summary, this.options.titles, shownTheme());
    this.drawControls(summary);
    cancelAnimationFrame(this.drawing);
    this.drawCharts(Object.entries(this.figures), gently, () => this.painted(summary));
    return true;
  }

  drawCharts([[name, figure], ...others], gently, painted) {
    this.library.plotly.react(this.parts[`chart-${name}`], figure.data, figure.layout, CONFIG);
    if (!others.length) painted();
    else if (gently) this.drawing = requestAnimationFrame(() => this.drawCharts(others, gently, painted));
    else this.drawCharts(others, gently, painted);
  }

  /** What a picture depends on beside the data: while paused, only that draws a new one. */
  signature() {
    return JSON.stringify([this.clock, this.held, this.currency, this.categories, document.body.dataset.jpThemeLight]);
  }

  drawControls(summary) {
    const { parts, model, clock } = this;
    const { state } = model;
    parts.pause.textContent = this.paused ? "Resume" : "Pause";
    parts.pause.setAttribute("aria-pressed", String(this.paused));
    parts.replay.textContent = clock.replaying ? "Stop" : "Replay";
    parts.replay.setAttribute("aria-pressed", String(clock.replaying));
    parts.live.setAttribute("aria-pressed", String(clock.isLive && !this.paused));
    const currencies = [...model.currencies, ...(model.rates ? [BASE] : [])];
    fill(parts.currency, currencies, this.currency ?? this.guess, { [BASE]: `base currency (${model.rates?.base})` });
    fillTree(parts, model.categories, (paths) => {
      this.categories = paths;
      this.draw();
    });
    parts.summary.textContent = this.categories ? this.categories.join(", ") : "All categories";
    Object.assign(parts.scrub, { min: String(model.oldest), max: String(state.edge) });
    parts.scrub.value = String(summary.until);
    const shown = (seconds) => time(seconds + summary.ahead).slice(5, 16).replace("T", " ");
    parts.range.textContent = `${shown(summary.since)} – ${shown(summary.until)} ${this.options.zone}`;
    const [consumed, duplicate, late, bad] = counted(model, summary.since, summary.until);
    const counts = { rate: Math.round(state.rate), lag: state.lag, late, bad, duplicate };
    for (const [name, count] of Object.entries(counts)) parts[name].textContent = number.format(count);
    parts.strip.title = `Of ${number.format(consumed)} messages that the job took in this range.`;
    const age = state.folding && state.newest_ms ? Math.max(0, state.now_ms - state.newest_ms + Date.now() - this.channel.received) : null;
    parts.age.textContent = age === null ? "–" : age < 60_000 ? `${(age / 1000).toFixed(1)} s` : "no events";
    this.say(state.note || (state.loaded ? summary.conversion ?? "" : "Reading the last hours …"));
  }

  /** Say what has been painted, for tests and benchmarks: exact figures, as text. */
  painted(summary) {
    const { root } = this.parts;
    Object.assign(root.dataset, {
      revenue: money(summary.revenue), orders: summary.orders, average: money(summary.average), events: summary.events,
      since: summary.since, until: summary.until, frames: Number(root.dataset.frames ?? 0) + 1,
      loaded: String(Boolean(this.model.state.loaded)), lag: this.model.state.lag, folding: String(this.model.state.folding),
    });
    root.dispatchEvent(new CustomEvent("retailpulse:painted", { detail: { summary, model: this.model, at: Date.now() } }));
    this.acknowledge();
  }

  // -- keeping ------------------------------------------------------------------------

  get heading() {
    const shown = (seconds) => time(seconds + this.shown.ahead).replace("T", " ");
    const of = this.categories ? `, ${this.categories.join(", ")}` : "";
    return `RetailPulse, ${shown(this.shown.since)} to ${shown(this.shown.until)} ${this.options.zone}${of}`;
  }

  /** A copy of the charts below the view, which stays as it is. */
  freeze() {
    if (!this.shown) return;
    const close = element("button", { type: "button", text: "Remove", className: "rp-remove" });
    const grid = element("div", { className: "rp-charts" });
    const section = element("section", {}, element("div", { className: "rp-bar" }, element("b", { text: this.heading }), close), grid);
    for (const name of ORDER) grid.append(element("div", { className: `rp-chart rp-chart-${name}` }));
    this.parts.frozen.append(section);
    this.frozen.set(grid, this.shown);
    this.drawCopy(grid, this.shown);
    close.addEventListener("click", () => {
      this.frozen.delete(grid);
      grid.childNodes.forEach((chart) => this.library.plotly.purge(chart));
      section.remove();
    });
  }

  /** The data of a copy stays; its colours are those of the page. */
  drawCopy(grid, summary) {
    const figures = charts(summary, this.options.titles, shownTheme());
    ORDER.forEach((name, i) => this.library.plotly.react(grid.childNodes[i], figures[name].data, figures[name].layout, CONFIG));
  }

  /** The charts and their data as one file. */
  save() {
    if (!this.shown) return;
    const figures = charts(this.shown, this.options.titles, THEMES.light);
    const text = page({
      plotly: this.library.text, figures: ORDER.map((name) => figures[name]),
      content: data(this.shown, { namespace: this.options.namespace, categories: this.categories }), heading: this.heading,
    });
    const address = URL.createObjectURL(new Blob([text], { type: "text/html" }));
    const name = `retailpulse-${time(this.shown.until).replaceAll(":", "")}.html`;
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  close() {
    this.channel.close();
    clearInterval(this.ticker);
    cancelAnimationFrame(this.waiting);
    cancelAnimationFrame(this.drawing);
    this.theme.disconnect();
    this.unlisten();
    document.removeEventListener("visibilitychange", this.redraw);
    if (this.library) {
      for (const chart of this.parts.root.querySelectorAll(".rp-chart")) this.library.plotly.purge(chart);
    }
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  return () => view.close();
}

export default { render };
