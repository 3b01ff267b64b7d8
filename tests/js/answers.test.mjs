// The page of the read API: its answers as what is drawn. Run by tests/unit/test_live_js.py, or: node --test tests/js/

import assert from "node:assert/strict";
import { test } from "node:test";

import { amount, nothing, questions, summaryOf, tiles, titlesOf } from "../../retailpulse_kernel/api/web/answers.mjs";
import { charts, THEMES } from "../../retailpulse_kernel/live/js/charts.mjs";

const TITLES = { revenue: "Total revenue", orders: "Orders", events: "Events", average_order_value: "Average order value" };
const row = (bucket, decimal, total, more = {}) => ({ bucket, decimal, running_total_decimal: total, peak: false, complete: true, ...more });

function answers(more = {}) {
  return {
    currency: "USD",
    series: {
      since: "2026-03-04T00:00:00+00:00", until: "2026-03-04T02:20:00+00:00", grain: "hour",
      rows: [row("2026-03-04T00:00:00Z", "10.50", "10.50"), row("2026-03-04T02:00:00Z", "1.25", "11.75", { complete: false })],
    },
    averages: { rows: [{ bucket: "2026-03-04T00:00:00Z", decimal: "5.25" }] },
    revenue: { rows: [{ decimal: "11.75" }] }, orders: { rows: [{ value: 3 }] }, average: { rows: [{ decimal: "3.9167" }] },
    change: { rows: [{ change_percent: -12.345 }] },
    categories: { rows: [{ category: "books", decimal: "9" }, { category: "toys", decimal: "0.00" }, { category: "other", decimal: "2.75" }], others: 7 },
    types: { rows: [{ event_type: "view", value: 1000 }, { event_type: "purchase", value: 3 }] },
    ...more,
  };
}

test("amounts are exact whatever their length", () => {
  assert.equal(amount("123456789012345678.91"), 1234567890123456789100n);
  assert.equal(amount("-0.0001"), -1n);
  assert.deepEqual([amount(null), amount(undefined), amount("5")], [null, null, 50000n]);
});

test("a summary has what the live view draws", () => {
  const summary = summaryOf(answers(), "UTC");
  assert.deepEqual([summary.revenue, summary.orders, summary.average, summary.events], [117500n, 3, 39167n, 1003]);
  assert.deepEqual(summary.byCategory, [["books", 90000n]]);
  const { bar, line, aov } = charts(summary, TITLES, THEMES.light);
  assert.deepEqual(bar.data[0].customdata, [["7 more", "2.75"], ["books", "9.00"]]);
  assert.equal(line.layout.title.text, "Total revenue by hour, USD");
  const open = line.data.find((trace) => trace.name === "so far");
  assert.deepEqual(open.marker.size.at(-1), 7);
  assert.equal(aov.data[0].value, 3.9167);
});

test("a long name leaves place for its bar", () => {
  const name = `${"a".repeat(128)}${"z".repeat(128)}`;
  const { bar } = charts(summaryOf(answers({ categories: { rows: [{ category: name, decimal: "9" }], others: 0 } }), "UTC"), TITLES, THEMES.light);
  assert.equal(bar.layout.yaxis.ticktext[0], `${"a".repeat(20)}…${"z".repeat(19)} `);
  assert.equal(bar.data[0].customdata[0][0], name);
});

test("a day begins at the shop's midnight, on both sides of a change of its clock", () => {
  const rows = ["2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"].map((day) => row(day, "1.00", "1.00"));
  const summary = summaryOf(answers({ series: { since: "2026-03-27T23:00:00Z", until: "2026-03-30T22:00:00Z", grain: "day", rows } }), "Europe/Berlin");
  const { line } = charts(summary, TITLES, THEMES.light);
  const drawn = line.data.find((trace) => trace.name === "by day");
  assert.deepEqual(drawn.x, ["2026-03-28T00:00:00", "2026-03-29T00:00:00", "2026-03-30T00:00:00"], "no hole, and no hour beside midnight");
});

test("what has been converted, and what has no rate, is said", () => {
  const base = { currency: "USD", rates: { EUR: { first: "2026-03-02", last: "2026-03-03" } }, missing: { CHF: { days: 1, amounts: { revenue: "7.00" } } } };
  const { series } = answers();
  const summary = summaryOf(answers({ currency: "base", series: { ...series, base } }), "UTC");
  assert.equal(summary.currency, "USD");
  assert.equal(summary.conversion, "Amounts in USD use the rates for EUR of 2026-03-02 to 2026-03-03. There is no rate for CHF: 7.00 CHF is not converted.");
});

test("nothing is said in words", () => {
  const none = { rows: [] };
  const { series } = answers();
  const empty = answers({ series: { ...series, rows: [] }, averages: none, revenue: none, orders: none, average: none, categories: none, change: none });
  assert.equal(nothing(summaryOf({ ...empty, types: none }, "UTC"), ""), "No events yet today. This page shows the first ones by itself.");
  assert.equal(nothing(summaryOf(empty, "UTC"), "1h"), "No sales in USD yet in the last hour.");
  assert.equal(nothing(summaryOf(answers(), "UTC"), ""), "");
  assert.deepEqual(titlesOf(TITLES, none), TITLES);
  assert.equal(titlesOf(TITLES, answers().change).average_order_value, "Average order value, -12.3 % vs last week");
  assert.deepEqual(tiles(summaryOf(empty, "UTC"), TITLES)[0], ["Total revenue", "0.00 USD"]);
});

test("a corrected window is marked with the time of its correction", () => {
  const { series } = answers();
  series.rows[0].corrected_at = "2026-03-04T01:30:00Z";
  const { line } = charts(summaryOf(answers({ series }), "UTC"), TITLES, THEMES.light);
  assert.equal(line.data.find((trace) => trace.name === "corrected").customdata[0][1], "<br>corrected at 01:30");
});

test("all questions are of one range", () => {
  const asked = Object.values(questions({ from: "a", to: "b" }, "EUR"));
  assert.equal(asked.length, 8);
  assert.ok(asked.every((path) => path.includes("from=a&to=b")));
});
