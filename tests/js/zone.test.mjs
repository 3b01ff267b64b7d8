import assert from "node:assert/strict";
import test from "node:test";

import { charts, THEMES } from "../../retailpulse_kernel/live/js/charts.mjs";
import { ahead, wall } from "../../retailpulse_kernel/live/js/zone.mjs";

const at = (text) => Date.parse(text) / 1000;

test("a zone's clock, before and after it is put forward", () => {
  assert.equal(wall(at("2026-03-29T00:59:59Z"), "Europe/Berlin"), "2026-03-29T01:59:59");
  assert.equal(wall(at("2026-03-29T01:00:00Z"), "Europe/Berlin"), "2026-03-29T03:00:00");
  assert.equal(wall(at("2026-01-31T18:30:00Z"), "Asia/Kolkata"), "2026-02-01T00:00:00");
  assert.equal(wall(at("2026-01-31T00:00:00Z"), "UTC"), "2026-01-31T00:00:00");
});

test("how far a clock is ahead, between seconds too", () => {
  assert.equal(ahead(at("2026-03-29T00:59:59Z") + 0.75, "Europe/Berlin"), 3600);
  assert.equal(ahead(at("2026-03-29T01:00:00Z"), "Europe/Berlin"), 7200);
  assert.equal(ahead(at("2026-07-01T00:00:00Z"), "Australia/Lord_Howe"), 37800);
  assert.equal(ahead(at("2026-07-01T00:00:00Z"), "America/New_York"), -14400);
});

test("charts show the time that the clock showed at the end of the range, so that no hour comes twice", () => {
  const start = at("2026-10-25T00:30:00Z"); // 02:30 in Berlin, and half an hour later it is 02:00 again
  const bucket = (i) => ({ start: start + 1800 * i, revenue: 10000n, total: 10000n, average: 10000n, complete: true });
  const summary = {
    since: start, until: start + 5400, width: 1800, currency: "EUR", byCategory: [], byType: [], average: 10000n,
    before: null, buckets: [0, 1, 2].map(bucket), ahead: ahead(start + 5400, "Europe/Berlin"),
  };
  const { line, aov } = charts(summary, { revenue: "Revenue", events: "Events", average_order_value: "AOV" }, THEMES.light);
  assert.deepEqual(line.layout.xaxis.range, ["2026-10-25T01:30:00", "2026-10-25T03:00:00"]);
  assert.deepEqual(line.data[0].x, ["2026-10-25T01:30:00", "2026-10-25T02:00:00", "2026-10-25T02:30:00"]);
  assert.deepEqual(aov.layout.xaxis.range, line.layout.xaxis.range);
  assert.equal(summary.since, start);
});
