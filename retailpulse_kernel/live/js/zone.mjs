// The shop's time, as charts and controls show it.

const formats = new Map();

/** What the clock of a zone shows at a moment in epoch seconds: `2026-01-31T10:00:00`. */
export function wall(seconds, zone) {
  if (!formats.has(zone)) {
    formats.set(zone, new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" }));
  }
  return formats.get(zone).format(new Date(seconds * 1000)).replace(" ", "T");
}

/** By how many seconds the clock of a zone is ahead of UTC at a moment. */
export const ahead = (seconds, zone) => Date.parse(`${wall(seconds, zone)}Z`) / 1000 - Math.floor(seconds);
