// The read API's answers as the summary that the live view draws, and what the page says of them.

import { MOST_CATEGORIES } from "../../live/js/charts.mjs";
import { money } from "../../live/js/model.mjs";
import { ahead } from "../../live/js/zone.mjs";

const WIDTHS = { minute: 60, hour: 3600, day: 86_400 };
/** A day of a zone whose clock goes back. */
const LONGEST_DAY = 90_000;
const count = new Intl.NumberFormat("en-US");

/** The ranges that a user can choose: what is asked for, and what it is called. */
export const RANGES = { "": "Today", "1h": "Last hour", "6h": "Last 6 hours", "1d": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days" };

/** The addresses of what a refresh asks for, all of the same range. */
export function questions(range, currency) {
  const asked = (path, more) => `${path}?${new URLSearchParams({ ...range, ...more })}`;
  const money = { currency };
  return {
    series: asked("figures/revenue", { ...money, by: "bucket" }),
    averages: asked("figures/average_order_value", { ...money, by: "bucket" }),
    revenue: asked("figures/revenue", money),
    orders: asked("figures/orders", money),
    average: asked("figures/average_order_value", money),
    change: asked("figures/average_order_value", { ...money, compare: "last week" }),
    categories: asked("figures/revenue", { ...money, by: "category", top: MOST_CATEGORIES }),
    types: asked("figures/events", { by: "event_type" }),
  };
}

/** An exact amount in ten-thousandths, from its text. */
export function amount(text) {
  if (text === null || text === undefined) return null;
  const [whole, places = ""] = text.replace("-", "").split(".");
  const parts = BigInt(whole + places.padEnd(4, "0").slice(0, 4));
  return text.startsWith("-") ? -parts : parts;
}

const seconds = (text) => Math.floor(Date.parse(text) / 1000);
const only = (answer) => answer.rows[0] ?? null;

/** A summary as `summarise` of the live view's model gives it. */
export function summaryOf(answers, zone) {
  const { series, types, categories } = answers;
  const [since, until] = [seconds(series.since), seconds(series.until)];
  const away = ahead(until, zone);
  // A day begins at the shop's midnight, also where its clock was another one then.
  const startOf = (text) => (series.grain === "day" ? Date.parse(`${text.slice(0, 19)}Z`) / 1000 - away : seconds(text));
  const averages = new Map(answers.averages.rows.map((row) => [row.bucket, amount(row.decimal)]));
  const rows = categories.rows.map((row) => [row.category, amount(row.decimal)]);
  const rest = categories.others ? [categories.others, rows.pop()[1]] : null;
  return {
    since, until, ahead: away, every: series.grain, width: series.grain === "day" ? LONGEST_DAY : WIDTHS[series.grain],
    currency: series.base?.currency ?? answers.currency, conversion: series.base ? conversion(series.base) : null,
    revenue: amount(only(answers.revenue)?.decimal) ?? 0n,
    orders: only(answers.orders)?.value ?? 0,
    average: amount(only(answers.average)?.decimal), before: null,
    events: types.rows.reduce((sum, row) => sum + row.value, 0),
    byCategory: rows.filter(([, value]) => value !== 0n), rest,
    byType: types.rows.map((row) => [row.event_type, row.value]),
    buckets: series.rows.map((row) => ({
      start: startOf(row.bucket), revenue: amount(row.decimal), total: amount(row.running_total_decimal),
      peak: row.peak, complete: row.complete, average: averages.get(row.bucket) ?? null,
      ...(row.corrected_at && { corrected: { at: seconds(row.corrected_at) } }),
    })),
  };
}

/** What was converted, and what has no rate. */
function conversion({ currency, rates, missing }) {
  const span = ({ first, last }) => (first === last ? first : `${first} to ${last}`);
  const used = Object.entries(rates).map(([name, days]) => `${name} of ${span(days)}`);
  return [
    ...(used.length ? [`Amounts in ${currency} use the rates for ${used.join(", ")}.`] : []),
    ...Object.entries(missing).map(([name, { amounts }]) => `There is no rate for ${name}: ${Object.values(amounts).join(", ")} ${name} is not converted.`),
  ].join(" ");
}

/** The titles of the charts; that of the average has its change, which the API says. */
export function titlesOf(titles, change) {
  const percent = only(change)?.change_percent ?? null;
  if (percent === null) return titles;
  const said = `${percent < 0 ? "" : "+"}${percent.toFixed(1)} %`;
  return { ...titles, average_order_value: `${titles.average_order_value}, ${said} vs last week` };
}

/** The numbers above the charts: what each is called, and what it is. */
export function tiles(summary, titles) {
  return [
    [titles.revenue, `${money(summary.revenue)} ${summary.currency}`],
    [titles.orders, count.format(summary.orders)], [titles.events, count.format(summary.events)],
  ];
}

/** What is said where nothing is drawn. */
export function nothing(summary, range) {
  const when = range === "" ? "today" : `in the ${RANGES[range].toLowerCase()}`;
  if (!summary.events) return `No events yet ${when}. This page shows the first ones by itself.`;
  if (!summary.buckets.some((bucket) => bucket.revenue) && !summary.orders) return `No sales in ${summary.currency} yet ${when}.`;
  return "";
}
