// The four canonical figures as Plotly traces and layouts.

import { asText, money, plain } from "./model.mjs";

// Okabe and Ito's colours, which stay apart for every kind of colour vision.
const BLUE = "#0072B2";
const ORANGE = "#E69F00";
const GREEN = "#009E73";
const VERMILION = "#D55E00";
const TYPES = {
  view: "#56B4E9", click: BLUE, add_to_cart: ORANGE, remove_from_cart: "#CC79A7", purchase: GREEN, refund: VERMILION,
};
/** Bars of categories; all others have one together. */
export const MOST_CATEGORIES = 12;
/** Characters of a category's name beside its bar. */
const LONGEST_NAME = 40;
/** The bar of all other categories: no category has this name. */
const REST = "\u0000";

export const THEMES = {
  light: { ink: "#333333", faint: "#e3e3e3", paper: "rgba(0,0,0,0)", line: BLUE, total: "#767676" },
  dark: { ink: "#e0e0e0", faint: "#454545", paper: "rgba(0,0,0,0)", line: "#56B4E9", total: "#a0a0a0" },
};

/** How every chart behaves; the same as in retailpulse_kernel.live.plotting: no button or link leads anywhere else. */
export const CONFIG = {
  displaylogo: false, showSendToCloud: false, plotlyServerURL: "", typesetMath: false, responsive: true,
  modeBarButtonsToRemove: ["select2d", "lasso2d"],
};

/** The theme that JupyterLab has now. */
export const shownTheme = () => THEMES[document.body.dataset.jpThemeLight === "false" ? "dark" : "light"];

function axisOf(theme) {
  return {
    gridcolor: theme.faint, zerolinecolor: theme.faint, linecolor: theme.faint, automargin: true,
    separatethousands: true, exponentformat: "none",
  };
}

/** Plotly's buttons: on a clear ground they would be on half-transparent black. */
const buttons = (theme) => ({ bgcolor: theme.paper, color: theme.total, activecolor: theme.ink });

/** A figure that Python has made, in the page's theme. */
export function dressed(layout, theme) {
  const axes = Object.keys({ xaxis: 0, yaxis: 0, ...layout }).filter((name) => /^[xy]axis\d*$/.test(name));
  return {
    ...layout, paper_bgcolor: theme.paper, plot_bgcolor: theme.paper, font: { ...layout.font, color: theme.ink },
    modebar: { ...buttons(theme), ...layout.modebar },
    ...Object.fromEntries(axes.map((name) => [name, { ...axisOf(theme), ...layout[name] }])),
  };
}

function layout(theme, title, more = {}) {
  const axis = axisOf(theme);
  return {
    title: { text: title, font: { size: 13 }, x: 0.01, xanchor: "left", y: 0.97, yanchor: "top" },
    font: { color: theme.ink, size: 11 },
    paper_bgcolor: theme.paper, plot_bgcolor: theme.paper, modebar: buttons(theme),
    margin: { l: 8, r: 12, t: 32, b: 8 },
    xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
    // Zoom and hidden traces stay as the user set them while data goes on.
    uirevision: "kept", datarevision: undefined, hovermode: "closest", showlegend: false,
    ...Object.fromEntries(Object.entries(more).filter(([name]) => !["xaxis", "yaxis"].includes(name))),
  };
}

export const time = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19);

/** A summary whose times are those of the shop's clock: as it shows them at the range's end, so that no hour comes twice. */
function shown(summary) {
  const moved = (seconds) => seconds + (summary.ahead ?? 0);
  const buckets = summary.buckets.map((bucket) => ({
    ...bucket, start: moved(bucket.start),
    ...(bucket.corrected && { corrected: { ...bucket.corrected, at: moved(bucket.corrected.at) } }),
  }));
  return { ...summary, since: moved(summary.since), until: moved(summary.until), buckets };
}

/** The figures of a summary: name -> {data, layout}. */
export function charts(given, titles, theme) {
  const summary = shown(given);
  return { bar: bar(summary, titles, theme), line: line(summary, titles, theme), pie: pie(summary, titles, theme),
    aov: average(summary, titles, theme) };
}

/** A long name without its middle, so that it leaves place for its bar; the hover has all of it. */
const short = (name) => (name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME / 2)}…${name.slice(1 - LONGEST_NAME / 2)}` : name);

/** Of which money a chart is, for its title. */
const ofMoney = ({ currency, conversion }) => (conversion === null ? currency : `all money in ${currency}`);

function bar(summary, titles, theme) {
  const shown = summary.byCategory.slice(0, MOST_CATEGORIES);
  const rest = summary.byCategory.slice(MOST_CATEGORIES);
  // Who adds up the others already says how many they are, and what they have.
  const [others, sum] = summary.rest ?? [rest.length, rest.reduce((sum, [, value]) => sum + value, 0n)];
  const rows = shown.map(([name, value]) => ({ key: name, label: asText(name), shown: asText(short(name)), value }));
  if (others) rows.push({ key: REST, label: `${others} more`, value: sum });
  rows.reverse();
  const keys = rows.map(({ key }) => key);
  return {
    data: [{
      type: "bar", orientation: "h", x: rows.map(({ value }) => plain(value)), y: keys,
      customdata: rows.map(({ label, value }) => [label, money(value)]),
      hovertemplate: `%{customdata[0]}: %{customdata[1]} ${summary.currency}<extra></extra>`,
      marker: { color: keys.map((key) => (key === REST ? theme.total : theme.line)) },
    }],
    layout: layout(theme, `${titles.revenue} by category, ${ofMoney(summary)}`, {
      bargap: 0.25,
      yaxis: { type: "category", tickmode: "array", tickvals: keys, ticktext: rows.map(({ label, shown }) => `${shown ?? label} `) },
    }),
  };
}

/** Buckets with a hole where some are missing: a line must not bridge them. */
function holed(buckets, width) {
  return buckets.flatMap((bucket, i) => {
    const before = buckets[i - 1];
    return before && bucket.start - before.start > width ? [{ start: before.start + width }, bucket] : [bucket];
  });
}

/** What is complete, with holes for the rest: a window that is not over would be drawn as a fall. */
const complete = (buckets) => buckets.map((bucket) => (bucket.complete ? bucket : { start: bucket.start }));

/** What is not complete, each with its neighbours: a dashed line that ends in a hollow point. */
function unfinished(buckets, field, unit, colour) {
  const open = (bucket) => bucket?.complete === false;
  if (!buckets.some(open)) return [];
  const shown = buckets.map((bucket, i) => (buckets.slice(Math.max(i - 1, 0), i + 2).some(open) ? bucket : { start: bucket.start }));
  return [over(shown, field, unit, {
    name: "so far", mode: "lines+markers", line: { color: colour, width: 1.5, dash: "dot" },
    marker: { color: colour, symbol: "circle-open", size: shown.map((bucket) => (open(bucket) ? 7 : 0)) },
  })];
}

/** What a window says of the late events that were added to it: when, how much and how many. */
function correction({ corrected }, unit) {
  if (!corrected) return "";
  const { at, events, revenue } = corrected;
  if (revenue === undefined) return `<br>corrected at ${time(at).slice(11, 16)}`;
  const added = `${revenue < 0n ? "" : "+"}${money(revenue)} ${unit}`;
  return `<br>corrected at ${time(at).slice(11, 16)}, ${added} (${events} late ${events === 1 ? "event" : "events"})`;
}

/** A dot where a point has no neighbour: a line alone would not show it. */
const dots = (values) => values.map((value, i) => (value !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null ? 5 : 0));

/** A trace over time; what the hover says is exact. */
function over(buckets, field, unit, more) {
  const values = buckets.map((bucket) => plain(bucket[field] ?? null));
  const days = buckets.length > 0 && buckets.at(-1).start - buckets[0].start >= 86_400;
  return {
    type: "scatter", mode: "lines+markers", x: buckets.map((bucket) => time(bucket.start)), y: values,
    // At one point several traces may lie: each of them tells of a correction.
    customdata: buckets.map((bucket) => [money(bucket[field] ?? null), field === "revenue" ? correction(bucket, unit) : ""]),
    hovertemplate: `%{x|${days ? "%d %b %H:%M" : "%H:%M"}} ${more.name}: %{customdata[0]} ${unit}%{customdata[1]}<extra></extra>`, ...more,
    marker: { size: dots(values), ...more.marker },
  };
}

/** A hollow dot at each window to which late events were added. */
function corrected(buckets, unit, theme) {
  const marked = buckets.filter((bucket) => bucket.corrected);
  if (!marked.length) return [];
  return [over(marked, "revenue", unit, {
    name: "corrected", mode: "markers", marker: { color: theme.total, symbol: "circle-open", size: 9, line: { width: 2 } },
  })];
}

function line(summary, titles, theme) {
  const peaks = summary.buckets.filter((bucket) => bucket.peak);
  const every = summary.every ?? (summary.width === 60 ? "minute" : "hour");
  const buckets = holed(summary.buckets, summary.width);
  const unit = summary.currency;
  return {
    data: [
      over(summary.buckets, "total", unit, {
        name: "running total", yaxis: "y2", mode: "lines", line: { color: theme.total, width: 1.5, dash: "dot" },
      }),
      over(complete(buckets), "revenue", unit, { name: `by ${every}`, line: { color: theme.line, width: 2 }, marker: { color: theme.line } }),
      ...unfinished(buckets, "revenue", unit, theme.line),
      ...corrected(buckets, unit, theme),
      over(peaks, "revenue", unit, { name: "peak", mode: "markers", marker: { color: VERMILION, size: 9, symbol: "triangle-up" } }),
    ],
    layout: layout(theme, `${titles.revenue} by ${every}, ${ofMoney(summary)}`, {
      // Below the chart: Plotly's buttons are above it, at the right.
      showlegend: true, legend: { orientation: "h", x: 0, y: -0.16, yanchor: "top", font: { size: 10 } },
      xaxis: { type: "date", range: [time(summary.since), time(summary.until)] },
      yaxis: { rangemode: "tozero" },
      yaxis2: {
        ...axisOf(theme), overlaying: "y", side: "right", rangemode: "tozero", tickmode: "auto", showgrid: false, color: theme.total,
      },
    }),
  };
}

function pie(summary, titles, theme) {
  return {
    data: [{
      type: "pie", hole: 0.45, sort: false, direction: "clockwise",
      labels: summary.byType.map(([type]) => type), values: summary.byType.map(([, count]) => count),
      marker: { colors: summary.byType.map(([type]) => TYPES[type] ?? theme.total) },
      textinfo: "percent", textposition: "inside",
      hovertemplate: "%{label}: %{value:,} (%{percent})<extra></extra>",
    }],
    layout: layout(theme, `${titles.events} by type`, {
      showlegend: true, legend: { x: 1.02, y: 0.5, font: { size: 10 } }, uniformtext: { minsize: 9, mode: "hide" }, margin: { l: 4, r: 4, t: 32, b: 4 },
    }),
  };
}

function average(summary, titles, theme) {
  const points = holed(summary.buckets.filter((bucket) => bucket.average !== null), summary.width);
  const indicator = {
    type: "indicator", mode: summary.before === null || summary.before === undefined ? "number" : "number+delta",
    value: plain(summary.average), domain: { x: [0, 1], y: [0.52, 1] },
    number: { valueformat: ",.2f", suffix: ` ${summary.currency}`, font: { size: 26 } },
  };
  if (indicator.mode === "number+delta") {
    indicator.delta = {
      reference: plain(summary.before), relative: true, valueformat: ".1%", font: { size: 13 },
      increasing: { color: GREEN }, decreasing: { color: VERMILION },
    };
  }
  return {
    data: [
      indicator,
      over(complete(points), "average", summary.currency, { name: "", line: { color: ORANGE, width: 1.5 }, marker: { color: ORANGE } }),
      ...unfinished(points, "average", summary.currency, ORANGE),
    ],
    layout: layout(theme, titles.average_order_value, {
      xaxis: { type: "date", range: [time(summary.since), time(summary.until)], nticks: 4 },
      yaxis: { domain: [0, 0.45], nticks: 3, rangemode: "tozero" },
    }),
  };
}
