// The page of the read API: the canonical charts, asked for again every few seconds.

import { charts, CONFIG, shownTheme, time } from "../../live/js/charts.mjs";
import { element, fill } from "../../live/js/dom.mjs";
import { BASE, money } from "../../live/js/model.mjs";
import { nothing, questions, RANGES, summaryOf, tiles, titlesOf } from "./answers.mjs";

const REFRESH_MS = 5_000;
/** An answer that takes longer is given up, and said to be late. */
const PATIENCE_MS = 20_000;
/** The currencies of a range change seldom. */
const CURRENCIES_MS = 60_000;
const TOKEN = "retailpulse-token";

/** An answer that is none: what the API said, and whether it wants a token. */
class Refused extends Error {
  constructor(status, { detail, remedy }) {
    super([detail, remedy].filter(Boolean).join(" "));
    this.status = status;
  }
}

async function ask(path, signal) {
  const token = sessionStorage.getItem(TOKEN);
  const answer = await fetch(`api/v1/${path}`, { signal, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  const body = await answer.json().catch(() => ({ detail: `The read API answered with status ${answer.status}.` }));
  if (answer.ok) return body;
  throw new Refused(answer.status, typeof body.detail === "string" ? body : { detail: `The read API answered with status ${answer.status}.` });
}

class Page {
  constructor() {
    const given = new URLSearchParams(location.search);
    this.range = given.get("range") in RANGES ? given.get("range") : "";
    this.currency = given.get("currency");
    this.known = { at: 0, range: null, names: [] };
    this.build();
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.draw());
    document.addEventListener("visibilitychange", () => !document.hidden && this.soon());
    this.soon();
  }

  build() {
    this.title = element("h1", { text: "RetailPulse" });
    this.ranges = element("select", { className: "rp-window", title: "How much is shown" });
    fill(this.ranges, Object.keys(RANGES), this.range, RANGES);
    this.currencies = element("select", { className: "rp-currency", title: "Money of different currencies is never added up", hidden: true });
    this.shownRange = element("span", { className: "rp-range" });
    this.note = element("div", { className: "rp-note", role: "status" });
    this.empty = element("p", { className: "rp-empty", hidden: true });
    this.tiles = element("div", { className: "rp-tiles" });
    this.charts = element("div", { className: "rp-charts", hidden: true });
    for (const name of ["line", "aov", "bar", "pie"]) this.charts.append(element("div", { className: `rp-chart rp-chart-${name}` }));
    this.login = this.form();
    this.root = element(
      "main", { className: "rp-view" },
      element("div", { className: "rp-bar" }, this.title, this.ranges, this.currencies, this.shownRange),
      this.note, this.login, this.empty, this.tiles, this.charts,
    );
    document.body.append(this.root);
    this.ranges.addEventListener("change", () => this.choose({ range: this.ranges.value }));
    this.currencies.addEventListener("change", () => this.choose({ currency: this.currencies.value }));
  }

  form() {
    const token = element("input", { type: "password", autocomplete: "current-password", required: true });
    token.setAttribute("aria-label", "Token of the read API");
    const form = element("form", { hidden: true }, element("span", { text: "Token of the read API" }), token, element("button", { type: "submit", text: "Show the figures" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, token.value.trim());
      token.value = "";
      this.say("Asking with this token …");
      this.soon();
    });
    return form;
  }

  /** Another range or currency: it is kept in the page's address, which can be sent to somebody. */
  choose(choice) {
    Object.assign(this, choice);
    const kept = Object.entries({ range: this.range, currency: this.currency }).filter(([, value]) => value);
    history.replaceState(null, "", kept.length ? `?${new URLSearchParams(kept)}` : location.pathname);
    this.soon();
  }

  /** Ask now, and give up what is being asked. */
  soon() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = new AbortController();
    this.refresh(this.asking);
  }

  async refresh(asking) {
    const late = setTimeout(() => asking.abort("late"), PATIENCE_MS);
    try {
      await this.read(asking.signal);
      if (asking !== this.asking) return;
      this.login.hidden = true;
      this.root.classList.remove("rp-old");
      this.draw();
    } catch (error) {
      if (asking === this.asking) this.fail(error, asking.signal.reason === "late");
    } finally {
      clearTimeout(late);
    }
    // Nobody looks at a hidden page; who comes back to it gets the figures at once.
    if (asking === this.asking && !document.hidden && this.login.hidden) this.timer = setTimeout(() => this.soon(), REFRESH_MS);
  }

  async read(signal) {
    const shop = await ask("shop", signal);
    const range = this.range ? { last: this.range } : {};
    if (this.known.range !== this.range || Date.now() - this.known.at > CURRENCIES_MS) {
      const { rows } = await ask(`values/currency?${new URLSearchParams(range)}`, signal);
      this.known = { at: Date.now(), range: this.range, names: rows.map((row) => row.currency) };
    }
    const currency = this.currency ?? this.known.names[0];
    // The first answer says which range this is now; all others are of the same one.
    const series = await ask(questions(range, currency).series, signal);
    const asked = questions({ from: series.since, to: series.until }, currency);
    delete asked.series;
    const names = Object.keys(asked);
    const found = await Promise.all(names.map((name) => ask(asked[name], signal)));
    const answers = { series, currency, ...Object.fromEntries(names.map((name, i) => [name, found[i]])) };
    this.shop = shop;
    this.shown = { range: this.range, currency, summary: summaryOf(answers, shop.zone), titles: titlesOf(shop.titles, answers.change), at: Date.now() };
  }

  say(text) {
    if (this.note.textContent !== text) this.note.textContent = text;
  }

  /** Say why there is nothing new; what was shown stays, and is marked as old. */
  fail(error, late) {
    const refused = error instanceof Refused;
    if (refused && error.status === 401) {
      const tried = sessionStorage.getItem(TOKEN) !== null;
      sessionStorage.removeItem(TOKEN);
      this.login.hidden = false;
      this.say(`${tried ? "The read API does not take this token." : "The read API asks for a token."} Who runs RetailPulse has it, in the file secrets/api of its folder of data.`);
      return;
    }
    const why = refused ? error.message : late ? `The read API has not answered for ${PATIENCE_MS / 1000} s.` : "The read API does not answer: it is down or restarts.";
    const old = this.shown ? ` The figures are those of ${new Date(this.shown.at).toLocaleTimeString("en-GB")}.` : "";
    this.root.classList.toggle("rp-old", Boolean(this.shown));
    this.say(`${why}${old} It is asked again every ${REFRESH_MS / 1000} s.`);
  }

  draw() {
    document.body.dataset.jpThemeLight = String(!this.dark.matches);
    if (!this.shown) return;
    const { shop } = this;
    const { summary, titles, range, currency } = this.shown;
    document.title = this.title.textContent = shop.name === "shop" ? "RetailPulse" : shop.name;
    const offered = [...new Set([...this.known.names, currency])].filter((name) => name !== BASE);
    fill(this.currencies, [...offered, ...(shop.has_rates ? [BASE] : [])], currency, { [BASE]: `base currency (${shop.currency})` });
    this.currencies.hidden = offered.length < 2 && !shop.has_rates;
    const moment = (seconds) => time(seconds + summary.ahead).slice(0, 16).replace("T", " ");
    this.shownRange.textContent = `${moment(summary.since)} – ${moment(summary.until)} ${shop.zone}`;
    const missing = nothing(summary, range);
    this.empty.hidden = Boolean(summary.events);
    this.empty.textContent = summary.events ? "" : missing;
    this.charts.hidden = this.tiles.hidden = !summary.events;
    if (!this.root.classList.contains("rp-old")) this.say(summary.events ? [missing, summary.conversion].filter(Boolean).join(" ") : "");
    this.tiles.replaceChildren(...tiles(summary, shop.titles).map(([name, value]) => element("div", { className: "rp-tile" }, element("b", { text: value }), element("span", { text: name }))));
    if (summary.events) {
      for (const [name, figure] of Object.entries(charts(summary, titles, shownTheme()))) {
        globalThis.Plotly.react(this.charts.querySelector(`.rp-chart-${name}`), figure.data, figure.layout, CONFIG);
      }
    }
    this.painted(summary, currency);
  }

  /** Say what has been painted, for tests: exact figures, as text. */
  painted(summary, currency) {
    Object.assign(this.root.dataset, {
      revenue: money(summary.revenue), orders: summary.orders, average: money(summary.average), events: summary.events,
      since: summary.since, until: summary.until, currency, frames: Number(this.root.dataset.frames ?? 0) + 1,
    });
  }
}

// The script of Plotly stands before this one, and runs first.
document.body.dataset.jpThemeLight = String(!matchMedia("(prefers-color-scheme: dark)").matches);
new Page();
