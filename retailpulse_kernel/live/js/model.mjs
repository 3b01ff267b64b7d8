// The figures that the kernel has sent, and sums over any part of them.
//
// Money is a BigInt in ten-thousandths of its currency: sums are exact, as they are in Python.

/** The choice of all money, converted into the base currency. */
export const BASE = "base";

/** Figures by minute, and by hour before that. */
export class Model {
  constructor() {
    this.reset(null);
  }

  reset(run) {
    this.run = run;
    this.versions = null;
    this.keys = [];
    this.minutes = new Map();
    this.hours = new Map();
    this.late = [new Map(), new Map()];
    this.rates = null;
    this.health = new Map();
    this.state = {};
  }

  /** Take a frame; false when something before it is missing. */
  apply(frame) {
    if (frame.run !== this.run || this.versions === null) {
      if (frame.base.some((version) => version >= 0)) return false;
      this.reset(frame.run);
    } else if (frame.base.some((version, i) => version > this.versions[i])) {
      return false;
    }
    for (const [id, ...key] of frame.keys) this.keys[id] = key;
    fill(this.minutes, frame.cells, frame.figures.length);
    if (frame.hours) {
      this.hours = new Map();
      fill(this.hours, frame.hours, frame.figures.length);
    }
    if (frame.late) {
      this.late = frame.late.map((flat) => {
        const windows = new Map();
        fill(windows, flat, frame.figures.length + 1);
        return windows;
      });
    }
    if (frame.rates) this.rates = scaled(frame.rates);
    for (const [minute, ...counts] of frame.health) this.health.set(minute, counts);
    this.state = frame.state;
    this.figures = frame.figures;
    // A frame may be older than what is known already: its values are then the same or come again.
    this.versions = frame.versions.map((version, i) => Math.max(version, this.versions?.[i] ?? -1));
    this.forget();
    return true;
  }

  forget() {
    const oldest = this.state.edge - 7 * 3600;
    for (const minute of this.minutes.keys()) if (minute < oldest) this.minutes.delete(minute);
    for (const minute of this.health.keys()) if (minute < this.state.edge - 25 * 3600) this.health.delete(minute);
  }

  /** The start of the oldest window that is known. */
  get oldest() {
    return Math.min(this.state.minutes_from || this.state.edge, ...this.hours.keys());
  }

  get currencies() {
    return [...new Set(this.keys.map((key) => key[0]))].sort();
  }

  /** The currency that most of the events have. */
  get mainCurrency() {
    const events = new Map();
    for (const cells of this.minutes.values()) {
      for (const [id, parts] of cells) events.set(this.keys[id][0], (events.get(this.keys[id][0]) ?? 0) + parts[0]);
    }
    return [...events].sort((a, b) => b[1] - a[1])[0]?.[0] ?? null;
  }

  get categories() {
    return [...new Set(this.keys.map((key) => key[1]))].sort();
  }

  /** A range of whole windows: minutes where they are known, otherwise whole hours. */
  range(until, seconds) {
    const known = this.state.minutes_from ?? 0;
    let [since, end] = [until - seconds, until];
    if (end < known) end = this.bucketOf(end, 3600);
    if (since < known) since = this.bucketOf(since, 3600);
    return [since, end];
  }

  /** The start of the minute or the hour that a moment lies in: the shop's hours may begin at any minute of UTC's. */
  bucketOf(moment, width) {
    const phase = width === 3600 ? (this.state.hour_phase ?? 0) : 0;
    return Math.floor((moment - phase) / width) * width + phase;
  }

  cells(since, until) {
    return this.windows(this.minutes, this.hours, since, until);
  }

  /** What late events added to the windows of a range: each key's figures, and when they were added. */
  additions(since, until) {
    return this.windows(...this.late, since, until);
  }

  *windows(minutes, hours, since, until) {
    const known = this.state.minutes_from ?? 0;
    for (const [start, cells] of hours) {
      if (start >= since && start + 3600 <= Math.min(until, known)) yield [start, cells];
    }
    for (const [start, cells] of minutes) {
      if (start >= Math.max(since, known) && start < until) yield [start, cells];
    }
  }
}

function fill(windows, flat, width) {
  for (let i = 0; i < flat.length; i += width + 2) {
    let cells = windows.get(flat[i]);
    if (!cells) windows.set(flat[i], (cells = new Map()));
    cells.set(flat[i + 1], flat.slice(i + 2, i + 2 + width));
  }
}

/** Rates whose factors are whole numbers: each is multiplied by the same `scale`. */
function scaled({ base, fault, days }) {
  const parts = (factor) => [...factor.split("."), ""];
  const places = Math.max(0, ...days.flatMap(([, rates]) => Object.values(rates).map(([factor]) => parts(factor)[1].length)));
  const whole = (factor) => BigInt(parts(factor)[0] + parts(factor)[1].padEnd(places, "0"));
  return {
    base, fault, scale: 10n ** BigInt(places),
    days: days.map(([start, rates]) => [start, new Map(Object.entries(rates).map(([name, [factor, day]]) => [name, { factor: whole(factor), day }]))]),
  };
}

/** Converts amounts of windows by the rates of their days; it keeps which rates it used, and what has none. */
class Conversion {
  constructor({ base, scale, days, fault }) {
    Object.assign(this, { base, scale, days, fault });
    this.used = new Map();
    this.missing = new Map();
  }

  /** The amount times `scale`; null where there is no rate. An amount of 0 is 0 in every currency. */
  amount(amount, currency, start) {
    if (!amount) return 0n;
    const day = this.days.findLast(([begin]) => begin <= start);
    const rate = day?.[1].get(currency);
    if (!rate) {
      this.missing.set(currency, (this.missing.get(currency) ?? 0n) + amount);
      return null;
    }
    if (currency !== this.base) this.used.set(currency, (this.used.get(currency) ?? new Set()).add(rate.day));
    return amount * rate.factor;
  }

  /** What was done, for people. */
  get words() {
    if (this.fault) return this.fault;
    const span = (days) => (days.length > 1 ? `${days[0]} to ${days.at(-1)}` : days[0]);
    const used = [...this.used].sort().map(([currency, days]) => `${currency} of ${span([...days].sort())}`);
    return [
      ...(used.length ? [`Amounts in ${this.base} use the rates for ${used.join(", ")}.`] : []),
      ...[...this.missing].sort().map(([currency, amount]) => `There is no rate for ${currency}: ${money(amount)} ${currency} is not converted.`),
    ].join(" ");
  }
}

/** The buckets' width for a range, in seconds. */
export function widthOf(model, since, until) {
  return since < (model.state.minutes_from ?? 0) || until - since > 6 * 3600 ? 3600 : 60;
}

/** Whether a category is in a choice of dot paths; null is all. */
export function chosen(category, choice) {
  return choice === null || choice.some((path) => category === path || category.startsWith(path + "."));
}

/** The canonical figures of a range at a moment, in epoch seconds, as retailpulse_kernel.answers.reading.summarise gives them. */
export function summarise(model, { since, until, now, currency, categories = null, orderEvents }) {
  const place = (name) => model.figures.indexOf(name);
  const [events, units, revenue, orders] = ["events", "units", "revenue", "orders"].map(place);
  const width = widthOf(model, since, until);
  const sums = { revenue: 0n, orders: 0, units: 0, events: 0 };
  const byCategory = new Map();
  const byType = new Map();
  const buckets = new Map();
  const conversion = currency === BASE && model.rates ? new Conversion(model.rates) : null;
  const scale = conversion?.scale ?? 1n;
  const wanted = model.keys.map((key) => key !== undefined && chosen(key[1], categories));
  const take = (start, cells, added) => {
    const bucket = model.bucketOf(start, width);
    for (const [id, parts] of cells) {
      if (!wanted[id] || !parts[events]) continue;
      const [money, category, type] = model.keys[id];
      byType.set(type, (byType.get(type) ?? 0) + parts[events]);
      sums.events += parts[events];
      if (!conversion && money !== currency) continue;
      const own = BigInt(parts[revenue]);
      const amount = conversion ? conversion.amount(own, money, start) : own;
      if (amount === null) continue;
      sums.revenue += amount;
      sums.orders += parts[orders];
      sums.units += parts[units];
      if (orderEvents.includes(type)) byCategory.set(category, (byCategory.get(category) ?? 0n) + amount);
      const known = buckets.get(bucket);
      if (known) {
        known.revenue += amount;
        known.orders += parts[orders];
      } else buckets.set(bucket, { start: bucket, revenue: amount, orders: parts[orders] });
      if (added) correct(buckets.get(bucket), amount, parts[events], parts.at(-1));
    }
  };
  for (const [start, cells] of model.cells(since, until)) take(start, cells, false);
  for (const [start, cells] of model.additions(since, until)) take(start, cells, true);
  return {
    since, until, currency: conversion?.base ?? currency, width, conversion: conversion?.words ?? null,
    ...sums,
    revenue: divide(sums.revenue, scale),
    average: divide(sums.revenue, BigInt(sums.orders) * scale),
    byCategory: [...byCategory].map(([name, amount]) => [name, divide(amount, scale)]).sort(([a, x], [b, y]) => (x === y ? (a < b ? -1 : 1) : x < y ? 1 : -1)),
    byType: [...byType].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)),
    buckets: overTime(
      [...buckets.values()]
        .sort((a, b) => a.start - b.start)
        .map((bucket) => ({ ...bucket, complete: since <= bucket.start && bucket.start + width <= Math.min(until, now) })),
      scale,
    ),
  };
}

/** Note what late events added to a bucket: how much, how many they are, and when the last of them was added. */
function correct(bucket, revenue, events, at) {
  const before = bucket.corrected ?? { revenue: 0n, events: 0, at };
  bucket.corrected = { revenue: before.revenue + revenue, events: before.events + events, at: Math.max(before.at, at) };
}

/** Revenue by bucket with its running total; peaks are complete and stand out by more than a standard deviation. Amounts come times `scale`. */
export function overTime(buckets, scale = 1n) {
  const values = buckets.filter((bucket) => bucket.complete).map((bucket) => plain(bucket.revenue));
  const mean = values.reduce((sum, value) => sum + value, 0) / (values.length || 1);
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length || 1));
  let total = 0n;
  return buckets.map((bucket, i) => {
    total += bucket.revenue;
    const around = buckets.slice(Math.max(i - 1, 0), i + 2).map((other) => other.revenue);
    const highest = around.every((other) => other <= bucket.revenue);
    return {
      ...bucket, revenue: divide(bucket.revenue, scale), total: divide(total, scale),
      ...(bucket.corrected && { corrected: { ...bucket.corrected, revenue: divide(bucket.corrected.revenue, scale) } }),
      average: divide(bucket.revenue, BigInt(bucket.orders) * scale),
      peak: bucket.complete && highest && plain(bucket.revenue) > mean + spread,
    };
  });
}

/** An exact ratio, rounded half up to four places; null over nothing. */
export function divide(over, under) {
  if (!under) return null;
  const n = BigInt(under);
  const doubled = 2n * over;
  return doubled >= 0n ? (doubled + n) / (2n * n) : -((-doubled + n) / (2n * n));
}

/** An amount as text: at least two decimal places, at most four. */
export function money(amount) {
  if (amount === null) return "–";
  const digits = (amount < 0n ? -amount : amount).toString().padStart(5, "0");
  const decimals = digits.slice(-4).replace(/0{1,2}$/, "");
  return (amount < 0n ? "-" : "") + digits.slice(0, -4).replace(/\B(?=(\d{3})+$)/g, ",") + "." + decimals;
}

/** Text as it is, where Plotly would read `<b>` and its like as markup. */
export const asText = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

/** An amount as a number, for drawing only. */
export const plain = (amount) => (amount === null ? null : Number(amount) / 1e4);

/** What the job counted in a range: consumed, duplicate, late, bad. */
export function counted(model, since, until) {
  const sums = [0, 0, 0, 0];
  for (const [minute, counts] of model.health) {
    if (minute >= since && minute < until) counts.forEach((count, i) => (sums[i] += count));
  }
  return sums;
}

/** Categories as a tree of their dot paths: [{path, name, children}]. */
export function tree(categories) {
  const root = { children: new Map() };
  for (const category of categories) {
    let node = root;
    let path = "";
    for (const name of category.split(".")) {
      path = path ? `${path}.${name}` : name;
      if (!node.children.has(name)) node.children.set(name, { path, name, children: new Map() });
      node = node.children.get(name);
    }
  }
  const list = (node) => [...node.children.values()].map((child) => ({ ...child, children: list(child) }));
  return list(root);
}
