// The view's sums, ranges and texts. Run by tests/unit/test_live_js.py, or: node --test tests/js/

import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";

import { Clock } from "../../retailpulse_kernel/live/js/clock.mjs";
import { charts, THEMES } from "../../retailpulse_kernel/live/js/charts.mjs";
import { data, page } from "../../retailpulse_kernel/live/js/export.mjs";
import { asText, chosen, counted, divide, Model, money, overTime, summarise, tree } from "../../retailpulse_kernel/live/js/model.mjs";

const HOUR = 1_795_564_800;
const FIGURES = ["events", "units", "revenue", "orders"];
const KEYS = [[0, "USD", "electronics.audio", "purchase"], [1, "USD", "apparel", "view"], [2, "EUR", "apparel", "purchase"]];
const TITLES = { revenue: "Revenue", events: "Events", average_order_value: "Average" };
const ORDER_EVENTS = ["purchase", "refund"];

function frame(more) {
  return {
    run: "a", seq: 1, base: [-1, -1, -1, -1, -1, -1], versions: [1, 1, 1, 3, 1, 1], figures: FIGURES, keys: KEYS, cells: [], hours: null, late: null, rates: null, health: [],
    state: { edge: HOUR + 300, minutes_from: HOUR - 3600, loaded: true }, ...more,
  };
}

function filled(cells, more) {
  const model = new Model();
  assert.ok(model.apply(frame({ cells, ...more })));
  return model;
}

const ask = (model, more = {}) =>
  summarise(model, { since: HOUR, until: HOUR + 300, now: HOUR + 300, currency: "USD", orderEvents: ORDER_EVENTS, ...more });

test("sums are exact and never cross currencies", () => {
  const model = filled([HOUR, 0, 2, 3, 1234567, 1, HOUR, 1, 5, 0, 0, 0, HOUR + 60, 2, 1, 1, "9007199254740993", 1]);
  const dollars = ask(model);
  assert.equal(money(dollars.revenue), "123.4567");
  assert.deepEqual([dollars.orders, dollars.units, dollars.events], [1, 3, 8]);
  assert.deepEqual(dollars.byCategory, [["electronics.audio", 1234567n]]);
  assert.deepEqual(dollars.byType, [["view", 5], ["purchase", 3]]);
  assert.equal(money(ask(model, { currency: "EUR" }).revenue), "900,719,925,474.0993");
});

test("categories are dot paths, each with what is below it", () => {
  assert.ok(chosen("electronics.audio", ["electronics"]));
  assert.ok(!chosen("electronics2", ["electronics"]));
  const model = filled([HOUR, 0, 2, 3, 10000, 1, HOUR, 1, 5, 0, 0, 0]);
  assert.equal(ask(model, { categories: ["apparel"] }).events, 5);
  assert.deepEqual(tree(["a.b", "a.c", "d"]).map((node) => [node.path, node.children.length]), [["a", 2], ["d", 0]]);
});

test("a frame that comes twice changes nothing, one that misses something is refused", () => {
  const model = filled([HOUR, 0, 2, 3, 10000, 1]);
  assert.ok(model.apply(frame({ base: [0, 0, 0, 0, 0, 0], cells: [HOUR, 0, 2, 3, 10000, 1] })));
  assert.equal(ask(model).events, 2);
  assert.ok(!model.apply(frame({ base: [5, 1, 1, 3, 1, 1] })));
  assert.ok(!model.apply(frame({ run: "b", base: [1, 1, 1, 3, 1, 1] })), "another run begins with everything");
  assert.ok(model.apply(frame({ run: "b", cells: [] })));
  assert.equal(ask(model).events, 0);
});

test("a cell that became nothing is not shown", () => {
  const model = filled([HOUR, 0, 0, 0, 0, 0]);
  assert.deepEqual(ask(model).buckets, []);
});

test("hours stand in before the minutes, and are never counted beside them", () => {
  const model = filled([HOUR - 3600, 0, 1, 1, 10000, 1], {
    hours: [HOUR - 7200, 0, 10, 10, 100000, 10, HOUR - 3600, 0, 1, 1, 10000, 1],
  });
  const [since, until] = model.range(HOUR, 86400);
  const day = ask(model, { since, until });
  assert.equal(day.events, 11);
  assert.equal(day.width, 3600);
  assert.deepEqual(model.range(HOUR + 120, 7 * 3600), [HOUR - 7 * 3600, HOUR + 120], "a range of hours begins on one");
});

test("what late events added is in the figures, and its window says when and how much", () => {
  const model = filled([HOUR, 0, 2, 3, 10000, 1], {
    late: [[HOUR, 0, 1, 1, 25000, 1, HOUR + 240, HOUR + 60, 0, 2, 2, 5000, 1, HOUR + 200], [HOUR, 0, 9, 9, 9, 9, HOUR]],
  });
  const summary = ask(model);
  assert.deepEqual([money(summary.revenue), summary.orders, summary.events], ["4.00", 3, 5]);
  assert.deepEqual(summary.buckets.map((bucket) => bucket.corrected), [
    { revenue: 25000n, events: 1, at: HOUR + 240 }, { revenue: 5000n, events: 2, at: HOUR + 200 },
  ]);
  assert.deepEqual(ask(model, { currency: "EUR" }).buckets, [], "another currency has none");
  const drawn = charts({ ...summary, ahead: 3600, before: null }, TITLES, THEMES.light).line.data;
  for (const name of ["corrected", "by minute"]) {
    const { customdata } = drawn.find((trace) => trace.name === name);
    assert.deepEqual(customdata[0], ["3.50", "<br>corrected at 01:04, +2.50 USD (1 late event)"], name);
  }
  assert.equal(data(summary, {}).revenue_over_time[1].late_revenue, "0.50");
  assert.ok(model.apply(frame({ base: [0, 0, 0, 3, 0, 0], cells: [], late: null })), "no news leaves what is known");
  assert.equal(ask(model).orders, 3);
});

test("all money is converted by the rates of its day, rounded once, and what has no rate is told", () => {
  const rates = {
    base: "USD", fault: "", days: [
      [HOUR - 86400, { USD: ["1", "2026-11-24"], EUR: ["1.5", "2026-11-24"] }],
      [HOUR + 60, { USD: ["1", "2026-11-25"], EUR: ["1.00005", "2026-11-25"] }],
    ],
  };
  const cells = [HOUR, 0, 2, 3, 10000, 1, HOUR, 2, 1, 1, 20000, 1, HOUR + 60, 2, 1, 1, 10000, 1, HOUR + 120, 2, 1, 1, 10000, 1];
  const model = filled(cells, { rates });
  const all = ask(model, { currency: "base" });
  assert.deepEqual([all.currency, money(all.revenue), all.orders, money(all.average)], ["USD", "6.0001", 4, "1.50"]);
  assert.deepEqual(all.buckets.map((bucket) => money(bucket.total)), ["4.00", "5.0001", "6.0001"], "each is rounded from the exact sum");
  assert.equal(all.conversion, "Amounts in USD use the rates for EUR of 2026-11-24 to 2026-11-25.");
  assert.match(charts({ ...all, before: null }, TITLES, THEMES.light).bar.layout.title.text, /all money in USD/);
  const poor = ask(filled(cells, { rates: { ...rates, days: [[HOUR - 86400, { USD: ["1", "2026-11-24"] }]] } }), { currency: "base" });
  assert.deepEqual([money(poor.revenue), poor.orders], ["1.00", 1]);
  assert.equal(poor.conversion, "There is no rate for EUR: 4.00 EUR is not converted.");
  assert.equal(ask(model).conversion, null);
});

test("old minutes are forgotten", () => {
  const model = filled([HOUR - 8 * 3600, 0, 1, 1, 1, 1, HOUR, 0, 1, 1, 1, 1]);
  assert.deepEqual([...model.minutes.keys()], [HOUR]);
});

test("ratios are rounded half up, as Decimal does", () => {
  assert.equal(divide(1n, 2), 1n);
  assert.equal(divide(-1n, 2), -1n);
  assert.equal(divide(10n, 3), 3n);
  assert.equal(divide(10n, 0), null);
});

test("the same peaks and totals as retailpulse_kernel.answers.reading", () => {
  const path = process.env.RETAILPULSE_PEAKS;
  if (!path) return;
  for (const { buckets, expected } of JSON.parse(readFileSync(path, "utf8"))) {
    const found = overTime(buckets.map(([start, revenue, complete]) => ({ start, revenue: BigInt(revenue), orders: 1, complete })));
    assert.deepEqual(found.map((b) => [b.start, b.total.toString(), b.peak]), expected);
  }
});

test("the clock follows, stands, replays and catches up", () => {
  const clock = new Clock(300);
  assert.equal(clock.end(HOUR, 0), HOUR);
  clock.scrub(HOUR - 600);
  assert.equal(clock.end(HOUR + 60, 5000), HOUR - 600);
  clock.replay(60, HOUR, 0);
  assert.equal(clock.end(HOUR, 999), HOUR - 600);
  assert.equal(clock.end(HOUR, 1000), HOUR - 540);
  clock.halt(HOUR, 2000);
  assert.equal(clock.end(HOUR, 99_000), HOUR - 480);
  clock.replay(60, HOUR, 0);
  assert.equal(clock.end(HOUR, 60_000), HOUR);
  assert.ok(clock.isLive);
  clock.replay(1, HOUR, 0);
  assert.equal(clock.end(HOUR, 0), HOUR - 300, "from the live edge it plays the window again");
});

test("counts of a range", () => {
  const model = filled([], { health: [[HOUR, 10, 1, 2, 3], [HOUR + 60, 5, 0, 0, 1], [HOUR - 60, 9, 9, 9, 9]] });
  assert.deepEqual(counted(model, HOUR, HOUR + 120), [15, 1, 2, 4]);
});

test("four charts, with the rest of many categories in one bar", () => {
  const keys = Array.from({ length: 20 }, (_, i) => [i, "USD", `c${i}`, "purchase"]);
  const model = filled(keys.flatMap(([id]) => [HOUR, id, 1, 1, (id + 1) * 10000, 1]), { keys });
  const made = charts({ ...ask(model), before: null }, TITLES, THEMES.light);
  assert.deepEqual(Object.keys(made).sort(), ["aov", "bar", "line", "pie"]);
  const [bar] = made.bar.data;
  assert.equal(bar.y.at(-1), "c19");
  assert.equal(made.bar.layout.yaxis.ticktext[0], "8 more ");
  assert.equal(bar.x.reduce((sum, x) => sum + x, 0), 210);
});

test("a window between empty ones is a dot: a line alone would not show it", () => {
  const model = filled([0, 120, 180, 240].flatMap((second) => [HOUR + second, 0, 1, 1, 90000, 1]));
  const made = charts({ ...ask(model, { now: HOUR + 900 }), before: null }, TITLES, THEMES.light);
  for (const [chart, name] of [["line", "by minute"], ["aov", ""]]) {
    const { y, marker } = made[chart].data.find((trace) => trace.name === name);
    assert.deepEqual(y.map((value, i) => [value === null, marker.size[i]]), [[false, 5], [true, 0], [false, 0], [false, 0], [false, 0]]);
  }
});

test("what runs, and what the range cuts, is not drawn as a fall", () => {
  const model = filled([0, 60, 120, 180].flatMap((second) => [HOUR + second, 0, 1, 1, second === 180 ? 1 : 90000 + second, 1]));
  const summary = ask(model, { now: HOUR + 200 });
  assert.deepEqual(summary.buckets.map((bucket) => bucket.complete), [true, true, true, false]);
  assert.ok(ask(model).buckets.every((bucket) => bucket.complete), "a minute later it is over");
  const hours = ask(model, { since: HOUR + 60, until: HOUR + 7 * 3600, now: HOUR + 7 * 3600 });
  assert.deepEqual([hours.width, hours.buckets[0].complete], [3600, false], "the range holds a part of this hour");
  const made = charts(summary, { revenue: "Revenue", events: "Events", average_order_value: "Average" }, THEMES.light);
  for (const [chart, solid] of [[made.line, "by minute"], [made.aov, ""]]) {
    const line = chart.data.find((trace) => trace.name === solid);
    const open = chart.data.find((trace) => trace.name === "so far");
    assert.deepEqual(line.y.map((value) => value !== null), [true, true, true, false]);
    assert.deepEqual(open.y.map((value) => value !== null), [false, false, true, true], "dashes join the line and the point");
    assert.deepEqual(open.marker.size, [0, 0, 0, 7]);
  }
  assert.ok(!charts({ ...ask(model), before: null }, {}, THEMES.light).line.data.some((trace) => trace.name === "so far"));
});

test("each category has a bar with its text as it is", () => {
  const names = ["1499", "855", "2024-01-02", "12:30", "<b>bold</b>", "a & b", "learn more", "2 more", "true", "1e5", "x", "y", "z", "w"];
  const keys = names.map((name, id) => [id, "USD", name, "purchase"]);
  const model = filled(keys.flatMap(([id]) => [HOUR, id, 1, 1, (100 - id) * 10000, 1]), { keys });
  const { data: [trace], layout } = charts({ ...ask(model), before: null }, { revenue: "Revenue" }, THEMES.light).bar;
  const axis = layout.yaxis;
  assert.equal(axis.type, "category");
  assert.deepEqual(axis.tickvals, trace.y);
  assert.equal(new Set(trace.y).size, 13, "twelve and the rest, each a bar of its own");
  assert.deepEqual(axis.ticktext.map((text) => text.trim()).reverse(), [...names.slice(0, 12).map(asText), "2 more"]);
  assert.deepEqual([asText("<b>bold</b>"), asText("a & b")], ["&lt;b&gt;bold&lt;/b&gt;", "a &amp; b"]);
  const colours = trace.marker.color;
  assert.deepEqual([colours[0], new Set(colours.slice(1)).size], [THEMES.light.total, 1], "only the rest has its colour");
});

test("an exported page holds exact data and can't be broken out of", () => {
  const keys = [[0, "USD", "</script><b>", "purchase"]];
  const model = filled([HOUR, 0, 1, 1, 1234500, 1], { keys });
  const content = data(ask(model), { namespace: "n" });
  assert.equal(content.revenue, "123.45");
  const text = page({ plotly: "let a = '</script>';", figures: [], content, heading: "<h>" });
  assert.ok(!text.includes("</script><b>") && !text.includes("'</script>'"));
  const json = text.match(/id="retailpulse-data">(.*?)<\/script>/s)[1];
  assert.deepEqual(JSON.parse(json), content);
});

test("hours that begin half an hour after those of UTC are whole buckets", () => {
  const known = HOUR + 1800;
  const model = filled([known, 0, 1, 1, 30000, 1], {
    hours: [known - 7200, 0, 10, 10, 100000, 10, known - 3600, 0, 1, 1, 10000, 1],
    state: { edge: known + 300, minutes_from: known, hour_phase: 1800, loaded: true },
  });
  const [since, until] = model.range(known + 300, 7200);
  assert.deepEqual([since, until], [known - 7200, known + 300]);
  const found = ask(model, { since, until, now: until });
  assert.deepEqual(found.buckets.map((bucket) => [bucket.start, money(bucket.revenue)]),
    [[known - 7200, "10.00"], [known - 3600, "1.00"], [known, "3.00"]]);
});
