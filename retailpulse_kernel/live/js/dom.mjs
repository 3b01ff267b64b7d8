// The view's elements, made once.

import { SPEEDS, WINDOWS } from "./clock.mjs";
import { tree } from "./model.mjs";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const button = (action, text, title) => element("button", { type: "button", className: `rp-${action}`, text, title });
const option = ([text, value]) => element("option", { value: String(value), text });

/** All parts of the view by name; `parts.root` holds them. */
export function build() {
  const parts = {
    pause: button("pause", "Pause", "Stop drawing; nothing is lost"),
    window: element("select", { className: "rp-window", title: "How much is shown" }, ...WINDOWS.map(option)),
    currency: element("select", { className: "rp-currency", title: "Money of different currencies is never added up" }),
    summary: element("summary", { text: "All categories" }),
    tree: element("div", { className: "rp-tree" }),
    scrub: element("input", { type: "range", className: "rp-scrub", title: "Go back in time", step: "60" }),
    range: element("span", { className: "rp-range" }),
    replay: button("replay", "Replay", "Play again from here, or from the window's beginning"),
    speed: element("select", { className: "rp-speed", title: "Speed of a replay" }, ...SPEEDS.map((s) => option([`${s}×`, s]))),
    live: button("live", "Live", "Follow the stream"),
    freeze: button("freeze", "Freeze", "Keep a copy of these charts below"),
    export: button("export", "Export", "Save charts and data as one HTML file"),
    note: element("div", { className: "rp-note", role: "status" }),
    charts: element("div", { className: "rp-charts" }),
    frozen: element("div", { className: "rp-frozen" }),
  };
  parts.categories = element("details", { className: "rp-categories" }, parts.summary, parts.tree);
  parts.strip = element("div", { className: "rp-strip" });
  for (const [name, label] of [
    ["rate", "events/s"], ["lag", "not yet stored"], ["late", "late"], ["bad", "bad"], ["duplicate", "duplicate"], ["age", "since the newest event"],
  ]) {
    parts[name] = element("b", { className: `rp-${name}`, text: "–" });
    parts.strip.append(element("span", {}, parts[name], ` ${label}`));
  }
  for (const name of ["line", "aov", "bar", "pie"]) {
    parts[`chart-${name}`] = parts.charts.appendChild(element("div", { className: `rp-chart rp-chart-${name}` }));
  }
  parts.root = element(
    "div", { className: "rp-view" },
    element("div", { className: "rp-bar" }, parts.pause, parts.window, parts.currency, parts.categories, parts.freeze, parts.export, parts.strip),
    parts.note, parts.charts,
    element("div", { className: "rp-bar" }, parts.scrub, parts.range, parts.replay, parts.speed, parts.live),
    parts.frozen,
  );
  return parts;
}

/** Close an open list when something else is clicked; returns what ends that. */
export function closesByItself(details) {
  const elsewhere = (event) => {
    if (!details.contains(event.target)) details.open = false;
  };
  document.addEventListener("pointerdown", elsewhere);
  return () => document.removeEventListener("pointerdown", elsewhere);
}

/** Fill a select where its options have changed, keeping the choice; `labels` are texts that are not the values. */
export function fill(select, values, value, labels = {}) {
  if (select.dataset.values !== values.join()) {
    select.replaceChildren(...values.map((name) => option([labels[name] ?? name, name])));
    select.dataset.values = values.join();
  }
  select.value = value;
}

/** The tree of categories with a box at each; `choose` gets the paths that are chosen, or null for all. */
export function fillTree(parts, categories, choose) {
  if (parts.tree.dataset.values === categories.join()) return;
  const before = new Set([...parts.tree.querySelectorAll("input:checked")].map((box) => box.value));
  parts.tree.dataset.values = categories.join();
  const all = new Set(categories);
  const boxes = [];
  const list = (nodes) =>
    element("ul", {}, ...nodes.map((node) => {
      const box = element("input", { type: "checkbox", value: node.path, checked: before.has(node.path) });
      box.addEventListener("change", () => choose(picked()));
      boxes.push(box);
      return element("li", {}, element("label", {}, box, ` ${node.name}`), ...(node.children.length ? [list(node.children)] : []));
    }));
  const picked = () => {
    const paths = boxes.filter((box) => box.checked).map((box) => box.value);
    return paths.length ? paths : null;
  };
  const none = element("button", { type: "button", text: "All", className: "rp-all" });
  none.addEventListener("click", () => {
    boxes.forEach((box) => (box.checked = false));
    choose(null);
  });
  parts.tree.replaceChildren(none, list(tree([...all])));
}
