// A live view of a table: big numbers, charts, and rows that tick. Pause, sort and filter are answered in the page.

import { loadPlotly } from "./channel.mjs";
import { CONFIG, dressed, shownTheme } from "./charts.mjs";
import { element, fill } from "./dom.mjs";
import { changes, csv, filtered, identities, readable, sorted } from "./rows.mjs";

const HEARTBEAT_MS = 3000;
/** Rows that the page holds; all are sorted, filtered and exported. */
const MOST_SHOWN = 200;
const STEP = 60;
const number = new Intl.NumberFormat("en-US");
const button = (name, text, title) => element("button", { type: "button", className: `rp-${name}`, text, title });

class TableView {
  constructor(model, el) {
    this.model = model;
    this.page = Math.random().toString(36).slice(2);
    this.options = model.get("options");
    this.seen = 0;
    this.paused = false;
    this.sort = null;
    this.filters = new Map();
    this.before = null;
    this.parts = this.build();
    el.append(this.parts.root);
    this.listen();
    this.draw();
    this.say("next");
  }

  build() {
    const parts = {
      pause: button("pause", "Pause", "Stop painting; the newest rows come when you resume"),
      by: element("select", { className: "rp-by", title: "What is drawn apart" }),
      currency: element("select", { className: "rp-currency", title: "Money of different currencies is never added up" }),
      export: button("export", "CSV", "Save the rows that the filters leave, exact"),
      read: element("span", { className: "rp-read" }),
      note: element("div", { className: "rp-note", role: "status" }),
      tiles: element("div", { className: "rp-tiles" }),
      charts: element("div", { className: "rp-charts rp-even" }),
      scrub: element("input", { type: "range", className: "rp-scrub", title: "Go back in time", step: String(STEP) }),
      range: element("span", { className: "rp-range" }),
      live: button("live", "Live", "Follow the table"),
      head: element("tr"),
      filter: element("tr", { className: "rp-filters" }),
      body: element("tbody"),
      count: element("div", { className: "rp-count" }),
    };
    parts.back = element("div", { className: "rp-bar" }, parts.scrub, parts.range, parts.live);
    parts.back.hidden = !this.options.reach;
    parts.title = element("b", { className: "rp-title", text: this.options.title });
    const strip = element("div", { className: "rp-strip" }, parts.read);
    parts.root = element(
      "div", { className: "rp-view rp-table" },
      element("div", { className: "rp-bar" }, parts.title),
      element("div", { className: "rp-bar" }, parts.pause, parts.by, parts.currency, parts.export, strip),
      parts.note, parts.tiles, parts.charts, parts.back,
      element("div", { className: "rp-rows", tabIndex: 0 }, element("table", {}, element("thead", {}, parts.head, parts.filter), parts.body)),
      parts.count,
    );
    return parts;
  }

  listen() {
    const { parts, model } = this;
    parts.pause.addEventListener("click", () => {
      this.setPaused(!this.paused);
      if (!this.paused) this.follow();
    });
    parts.by.addEventListener("change", () => this.ask({ by: parts.by.value }));
    parts.currency.addEventListener("change", () => this.ask({ currency: parts.currency.value }));
    parts.export.addEventListener("click", () => this.save());
    parts.scrub.addEventListener("input", () => (parts.range.textContent = this.rangeText(Number(parts.scrub.value))));
    parts.scrub.addEventListener("change", () => {
      const until = Number(parts.scrub.value);
      this.ask({ until: until >= Number(parts.scrub.max) ? null : until * 1000 });
    });
    parts.live.addEventListener("click", () => this.ask({ until: null }));
    this.changed = () => this.follow();
    model.on("change:picture", this.changed);
    this.visible = () => this.follow();
    document.addEventListener("visibilitychange", this.visible);
    this.theme = new MutationObserver(() => this.drawCharts());
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    this.heartbeat = setInterval(() => !this.paused && !document.hidden && this.say("next"), HEARTBEAT_MS);
    loadPlotly(model).then(
      ({ plotly }) => {
        this.plotly = plotly;
        this.drawCharts();
      },
      (error) => (parts.note.textContent = `Plotly can't be loaded: ${error.message}`),
    );
  }

  say(op, more = {}) {
    this.model.send({ op, page: this.page, seen: this.seen, ...more });
  }

  /** Ask the kernel to draw something else; a page that stands still goes on. */
  ask(change) {
    this.setPaused(false);
    this.parts.root.dataset.asked = Number(this.parts.root.dataset.asked ?? 0) + 1;
    this.say("ask", change);
  }

  setPaused(paused) {
    this.paused = paused;
    this.parts.pause.textContent = paused ? "Resume" : "Pause";
    this.parts.pause.setAttribute("aria-pressed", String(paused));
  }

  /** Paint the newest picture with the page's next one, and ask for another; of several that came only the last. */
  follow() {
    if (this.paused || document.hidden || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
      this.say("next");
    });
  }

  get shown() {
    return this.picture?.columns ? this.picture : null;
  }

  draw() {
    const picture = this.model.get("picture") ?? {};
    const { parts } = this;
    if (picture.number === undefined) {
      parts.note.textContent = "Waiting for the first rows …";
      return;
    }
    this.picture = picture;
    this.seen = picture.number;
    parts.note.textContent = picture.note ?? "";
    parts.note.classList.toggle("rp-failed", Boolean(picture.failed));
    parts.read.textContent = `read ${readable(picture.read, "time")} UTC in ${number.format(picture.took)} ms`;
    this.drawControls(picture);
    if (this.shown) {
      this.drawTiles(picture.tiles);
      this.drawHead(picture.columns);
      this.drawRows(true);
      this.drawCharts();
    }
    Object.assign(parts.root.dataset, { number: picture.number, rows: picture.rows?.length ?? 0, until: picture.until ?? "" });
  }

  drawControls(picture) {
    const { parts } = this;
    const { dimensions = [], currencies = [], by = "", currency = "" } = picture;
    fill(parts.by, ["", ...dimensions], by);
    for (const option of parts.by.options) option.textContent = option.value ? `by ${option.value}` : "all together";
    parts.by.hidden = !dimensions.length;
    fill(parts.currency, currencies, currency);
    parts.currency.hidden = currencies.length < 2;
    parts.live.setAttribute("aria-pressed", String(!picture.until && !this.paused));
    if (!this.options.reach || document.activeElement === parts.scrub) return;
    const now = Math.ceil(Date.now() / 1000 / STEP) * STEP;
    Object.assign(parts.scrub, { min: String(now - this.options.reach), max: String(now) });
    const until = picture.until ? Date.parse(picture.until) / 1000 : now;
    parts.scrub.value = String(until);
    parts.range.textContent = this.rangeText(until);
  }

  rangeText(until) {
    if (until >= Number(this.parts.scrub.max)) return "until now";
    return `until ${new Date(until * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  }

  drawTiles(tiles) {
    this.parts.tiles.replaceChildren(
      ...tiles.map(({ title, text }) => element("div", { className: "rp-tile" }, element("b", { text }), element("span", { text: title }))),
    );
  }

  drawHead(columns) {
    const { parts } = this;
    const names = JSON.stringify(columns);
    if (parts.head.dataset.names !== names) {
      parts.head.dataset.names = names;
      parts.head.replaceChildren(...columns.map(({ name, kind }) => {
        const press = element("button", { type: "button", text: name, title: "Sort by this column" });
        press.addEventListener("click", () => this.sortBy(name, kind));
        return element("th", { className: `rp-${kind}`, scope: "col" }, press);
      }));
      parts.filter.replaceChildren(...columns.map(({ name, kind }) => {
        const input = element("input", { type: "search", placeholder: "filter", ariaLabel: `Filter ${name}`, value: this.filters.get(name) ?? "" });
        input.addEventListener("input", () => {
          this.filters.set(name, input.value);
          this.drawRows(false);
        });
        return element("td", { className: `rp-${kind}` }, input);
      }));
    }
    columns.forEach(({ name }, i) => {
      const order = this.sort?.name === name ? (this.sort.order > 0 ? "ascending" : "descending") : "none";
      parts.head.children[i].setAttribute("aria-sort", order);
    });
  }

  /** Numbers and times begin with the largest; a third click gives the order of the kernel again. */
  sortBy(name, kind) {
    const first = kind === "text" ? 1 : -1;
    if (this.sort?.name !== name) this.sort = { name, order: first };
    else this.sort = this.sort.order === first ? { name, order: -first } : null;
    this.drawHead(this.shown.columns);
    this.drawRows(false);
  }

  /** The rows that the filters leave, in order. */
  get rows() {
    const { columns, rows } = this.shown;
    return sorted(filtered(rows, columns.map(({ name }) => this.filters.get(name) ?? "")), columns, this.sort);
  }

  drawRows(isNew) {
    const { columns, key, rows: all } = this.shown;
    const { parts } = this;
    if (isNew) {
      const ids = identities(all, columns, key);
      const now = new Map(ids.map((id, i) => [id, all[i]]));
      this.flashes = changes(this.before, now);
      this.before = now;
    }
    const found = this.rows;
    const rows = found.slice(0, MOST_SHOWN);
    const ids = identities(rows, columns, key);
    parts.body.replaceChildren(...rows.map((row, i) => {
      const flash = isNew && this.flashes.has(ids[i]) ? this.flashes.get(ids[i]) : undefined;
      const cells = row.map((text, place) =>
        element("td", {
          className: `rp-${columns[place].kind}${flash?.has(place) ? " rp-changed" : ""}`, text: readable(text, columns[place].kind),
        }));
      return element("tr", { className: flash === null ? "rp-new" : "" }, ...cells);
    }));
    const of = found.length === all.length ? "" : ` of ${number.format(all.length)}`;
    const cut = found.length > rows.length ? `, the first ${MOST_SHOWN} shown` : "";
    parts.count.textContent = `${number.format(found.length)}${of} row${found.length === 1 && !of ? "" : "s"}${cut}`;
  }

  drawCharts() {
    if (!this.plotly || !this.shown) return;
    const { charts } = this.parts;
    const figures = this.shown.charts;
    while (charts.children.length > figures.length) {
      this.plotly.purge(charts.lastChild);
      charts.lastChild.remove();
    }
    while (charts.children.length < figures.length) charts.append(element("div", { className: "rp-chart" }));
    charts.classList.toggle("rp-single", figures.length === 1);
    figures.forEach(({ data, layout }, i) => {
      // Zoom and hidden lines stay, unless something else is drawn.
      this.plotly.react(charts.children[i], data, dressed({ ...layout, uirevision: layout.title.text }, shownTheme()), CONFIG);
    });
    this.parts.root.dataset.drawn = this.shown.number;
  }

  save() {
    if (!this.shown) return;
    const address = URL.createObjectURL(new Blob([csv(this.shown.columns, this.rows)], { type: "text/csv" }));
    const name = this.options.title.split(/[ ,]/)[0].replace(/[^\w.-]/g, "");
    element("a", { href: address, download: `${name}-${this.shown.read.replaceAll(":", "")}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  close() {
    this.say("bye");
    clearInterval(this.heartbeat);
    cancelAnimationFrame(this.waiting);
    this.model.off("change:picture", this.changed);
    document.removeEventListener("visibilitychange", this.visible);
    this.theme.disconnect();
    if (this.plotly) for (const chart of this.parts.charts.children) this.plotly.purge(chart);
  }
}

function render({ model, el }) {
  const view = new TableView(model, el);
  return () => view.close();
}

export default { render };
