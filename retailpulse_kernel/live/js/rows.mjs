// Rows of texts: which are shown and in what order, what has changed, and how they are read and written.
//
// Numbers stay the exact texts that the kernel sent; they are compared digit by digit, never as floats.

/** The rows whose columns hold the filters' texts; upper and lower case are the same. */
export function filtered(rows, filters) {
  const wanted = filters.map((text, i) => [i, text.trim().toLowerCase()]).filter(([, text]) => text);
  if (!wanted.length) return rows;
  return rows.filter((row) => wanted.every(([i, text]) => (row[i] ?? "").toLowerCase().includes(text)));
}

/** Compares two exact numbers as texts. */
export function compareNumbers(a, b) {
  if (a === null || b === null) return (b === null) - (a === null);
  if (/[^-\d.]/.test(a + b)) return Number(a) - Number(b); // 1e-7, inf
  const [minusA, minusB] = [a.startsWith("-"), b.startsWith("-")];
  const [wholeA, partsA = ""] = a.replace("-", "").split(".");
  const [wholeB, partsB = ""] = b.replace("-", "").split(".");
  const places = Math.max(partsA.length, partsB.length);
  const value = (minus, whole, parts) => BigInt((whole || "0") + parts.padEnd(places, "0")) * (minus ? -1n : 1n);
  const [x, y] = [value(minusA, wholeA, partsA), value(minusB, wholeB, partsB)];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** The rows by a column, `order` 1 or -1; what has no value comes last. Rows that are equal keep their order. */
export function sorted(rows, columns, sort) {
  const place = columns.findIndex(({ name }) => name === sort?.name);
  if (place < 0) return rows;
  const compare = columns[place].kind === "number" ? compareNumbers : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return [...rows].sort(({ [place]: a }, { [place]: b }) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sort.order * compare(a, b);
  });
}

/** Each row's identity: its key, or everything in it. */
export function identities(rows, columns, key) {
  const places = columns.map(({ name }, i) => (key.includes(name) ? i : -1)).filter((i) => i >= 0);
  return rows.map((row) => JSON.stringify(places.length ? places.map((i) => row[i]) : row));
}

/** The cells that differ from the picture before: identity -> set of columns, or null for a row that is new. */
export function changes(before, now) {
  const found = new Map();
  if (!before) return found;
  now.forEach((row, id) => {
    const old = before.get(id);
    if (!old) found.set(id, null);
    else {
      const places = row.map((text, i) => (text === old[i] ? -1 : i)).filter((i) => i >= 0);
      if (places.length) found.set(id, new Set(places));
    }
  });
  return found;
}

/** A value for reading: thousands apart, times without their T. No digit is lost. */
export function readable(text, kind) {
  if (text === null) return "–";
  if (kind === "time") return text.replace("T", " ").replace(/Z$/, "");
  if (kind !== "number" || /[^-\d.]/.test(text)) return text;
  const [whole, parts] = text.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return parts === undefined ? grouped : `${grouped}.${parts}`;
}

/** Rows as CSV (RFC 4180): exact values, nothing where there is none. */
export function csv(columns, rows) {
  const cell = (text) => (text === null ? "" : /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return [columns.map(({ name }) => name), ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
