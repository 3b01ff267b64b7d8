import assert from "node:assert/strict";
import { test } from "node:test";

import { changes, compareNumbers, csv, filtered, identities, readable, sorted } from "../../retailpulse_kernel/live/js/rows.mjs";

const COLUMNS = [{ name: "user", kind: "text" }, { name: "total", kind: "number" }];

test("numbers are compared digit by digit", () => {
  const ordered = ["-10.5", "-2", "-0.01", "0", "0.0100", "9", "10", "9007199254740993", "9007199254740993.0001"];
  for (let i = 1; i < ordered.length; i++) assert.equal(compareNumbers(ordered[i - 1], ordered[i]), -1, ordered[i]);
  assert.equal(compareNumbers("1.10", "1.1"), 0);
  assert.equal(compareNumbers("1e-7", "1e-6") < 0, true);
});

test("rows go by a column, without a value last in both directions", () => {
  const rows = [["a", "9"], ["b", null], ["c", "10"], ["d", "9.0"]];
  const users = (order) => sorted(rows, COLUMNS, { name: "total", order }).map(([user]) => user).join("");
  assert.equal(users(1), "adcb");
  assert.equal(users(-1), "cadb");
  assert.equal(sorted(rows, COLUMNS, null), rows);
});

test("a filter is a part of the text, in any column at once", () => {
  const rows = [["Anna", "10"], ["Hannah", "11"], ["Bo", "110"], [null, "1"]];
  assert.deepEqual(filtered(rows, ["ann", "1"]), [rows[0], rows[1]]);
  assert.deepEqual(filtered(rows, [" ann ", "11"]), [rows[1]]);
  assert.equal(filtered(rows, ["", ""]), rows);
});

test("what has changed is told by the key", () => {
  const picture = (rows) => new Map(identities(rows, COLUMNS, ["user"]).map((id, i) => [id, rows[i]]));
  const before = picture([["a", "1"], ["b", "2"]]);
  const found = changes(before, picture([["b", "3"], ["a", "1"], ["c", "4"]]));
  assert.deepEqual([...found], [['["b"]', new Set([1])], ['["c"]', null]]);
  assert.equal(changes(null, before).size, 0, "nothing flashes at first");
});

test("values are read with all their digits", () => {
  assert.equal(readable("-1234567.8900", "number"), "-1,234,567.8900");
  assert.equal(readable("1234", "text"), "1234");
  assert.equal(readable("1e-7", "number"), "1e-7");
  assert.equal(readable("2026-03-01T10:00:00Z", "time"), "2026-03-01 10:00:00");
  assert.equal(readable(null, "number"), "–");
});

test("CSV keeps values as they are", () => {
  const text = csv(COLUMNS, [['say "hi", you', "1234.5600"], ["two\nlines", null]]);
  assert.equal(text, 'user,total\r\n"say ""hi"", you",1234.5600\r\n"two\nlines",\r\n');
});
