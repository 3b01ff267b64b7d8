// What is shown as one HTML file that needs nothing else: Plotly, the charts and their data are in it.

import { CONFIG, time } from "./charts.mjs";
import { asText, money } from "./model.mjs";

/** The data behind a summary; amounts are exact decimal strings. */
export function data(summary, about) {
  const exact = (amount) => (amount === null ? null : money(amount).replaceAll(",", ""));
  return {
    ...about,
    since: `${time(summary.since)}Z`, until: `${time(summary.until)}Z`, currency: summary.currency,
    ...(summary.conversion !== null && { conversion: summary.conversion }),
    revenue: exact(summary.revenue), orders: summary.orders, units: summary.units,
    average_order_value: exact(summary.average),
    revenue_by_category: Object.fromEntries(summary.byCategory.map(([name, value]) => [name, exact(value)])),
    events_by_type: Object.fromEntries(summary.byType),
    revenue_over_time: summary.buckets.map((bucket) => ({
      bucket: `${time(bucket.start)}Z`, revenue: exact(bucket.revenue), running_total: exact(bucket.total),
      orders: bucket.orders, average_order_value: exact(bucket.average), peak: bucket.peak,
      complete: bucket.complete,
      ...(bucket.corrected && {
        corrected_at: `${time(bucket.corrected.at)}Z`, late_events: bucket.corrected.events, late_revenue: exact(bucket.corrected.revenue),
      }),
    })),
  };
}

const inScript = (value) => JSON.stringify(value).replaceAll("<", "\\u003c");

/** The file's text. */
export function page({ plotly, figures, content, heading }) {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${asText(heading)}</title>
<style>
:root { color-scheme: light; background: #fff; }
body { font: 14px system-ui, sans-serif; margin: 16px; color: #333; background: #fff; }
#charts { display: grid; grid-template-columns: 3fr 2fr; gap: 8px; }
#charts > div { height: 320px; min-width: 0; }
@media (max-width: 800px) { #charts { grid-template-columns: 1fr; } }
</style></head><body>
<h1 style="font-size: 18px">${asText(heading)}</h1>
<div id="charts"></div>
<script type="application/json" id="retailpulse-data">${inScript(content)}</script>
<script>${plotly.replaceAll("</script", "<\\/script")}</script>
<script>
for (const figure of ${inScript(figures)}) {
  const chart = document.getElementById("charts").appendChild(document.createElement("div"));
  Plotly.newPlot(chart, figure.data, figure.layout, ${inScript(CONFIG)});
}
</script></body></html>
`;
}
