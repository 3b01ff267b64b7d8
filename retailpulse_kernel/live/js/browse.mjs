// Topics and tables to look through: a search, an entry for each, its parts, and buttons that put code into the notebook.
//
// The page that holds this view puts the code into a cell when it hears the event `retailpulse:insert`. Where no page
// hears it, the code is copied.

import { element } from "./dom.mjs";

class Browser {
  constructor(model, el) {
    this.model = model;
    this.search = element("input", {
      type: "search", className: "rp-search", placeholder: "Search names, fields, columns", "aria-label": "Search",
    });
    this.refresh = element("button", { type: "button", className: "rp-refresh", text: "List again" });
    this.aside = element("button", { type: "button", className: "rp-aside", text: "At the side", hidden: true });
    this.note = element("div", { className: "rp-note", role: "status" });
    this.list = element("div", { className: "rp-list" });
    this.root = element(
      "div", { className: "rp-view rp-browser", "data-lm-suppress-shortcuts": "true" },
      element("div", { className: "rp-bar" }, this.search, this.refresh, this.aside), this.note, this.list,
    );
    el.append(this.root);
    this.search.addEventListener("input", () => this.draw());
    this.refresh.addEventListener("click", () => {
      this.say("Listing …");
      model.send({ op: "refresh" });
    });
    this.aside.addEventListener("click", () => this.tell("retailpulse:aside"));
    // A page with a side says so. The side itself has no need of the button.
    this.aside.hidden = !("retailpulseSide" in document.body.dataset) || Boolean(el.closest(".rp-side"));
    this.root.addEventListener("keydown", (event) => this.move(event));
    this.changed = () => {
      this.say("");
      this.draw();
    };
    model.on("change:content", this.changed);
    this.changed();
  }

  say(text) {
    const { problems, empty } = this.model.get("content");
    this.note.textContent = text || [...problems, empty].filter(Boolean).join(" ");
  }

  draw() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const open = new Set([...this.list.querySelectorAll("details[open]")].map((one) => one.dataset.key));
    const groups = this.model.get("content").groups.map((group) => [group.title, found(group.items, words)]);
    this.list.replaceChildren(...groups.filter(([, items]) => items.length).map(([title, items]) => element(
      "section", {}, element("h3", { text: `${title} (${items.length})` }),
      ...items.map((item) => this.entry(`${title}/${item.name}/${item.store ?? ""}`, item, words, open)),
    )));
    if (!this.list.children.length && words.length) this.list.append(element("p", { className: "rp-none", text: "Nothing has these words." }));
  }

  entry(key, item, words, open) {
    const entry = element(
      "details", { open: open.has(key), "data-key": key },
      element("summary", {}, element("b", { text: item.name }), " ", element("i", { text: item.kind })),
    );
    // Long lists: what is inside is made once it is looked at.
    const fill = () => {
      if (entry.open && entry.children.length === 1) entry.append(...this.inside(item, words));
    };
    entry.addEventListener("toggle", fill);
    fill();
    return entry;
  }

  inside(item, words) {
    const about = element("dl", {}, ...item.about.flatMap(([label, text]) => [element("dt", { text: label }), element("dd", { text })]));
    const codes = element("div", { className: "rp-bar" }, ...item.code.map(([title, code]) => this.drop(title, code)));
    const parts = element("ul", {}, ...item.parts.map((part) => this.part(part, words)));
    return [about, codes, parts];
  }

  part(part, words) {
    const name = part.code ? this.drop(part.name, part.code) : element("code", { text: part.name });
    const said = [part.type, part.about].filter(Boolean).join(", ");
    const personal = part.personal ? [" ", element("em", { text: "personal", title: "The contract marks this field as personal" })] : [];
    const hit = words.length && matches(part, words) ? { className: "rp-hit" } : {};
    return element("li", hit, name, " ", element("span", { text: said }), ...personal);
  }

  /** A button that puts code into the notebook. */
  drop(text, code) {
    const button = element("button", { type: "button", className: "rp-drop", text, title: code });
    button.addEventListener("click", () => this.insert(code));
    return button;
  }

  async insert(code) {
    if (this.tell("retailpulse:insert", { code })) return this.say("");
    try {
      await navigator.clipboard.writeText(code);
      this.say(`Copied, to be pasted into a cell: ${code}`);
    } catch {
      this.say(`For a cell: ${code}`);
    }
  }

  /** Tell the page something; whether it has done it. */
  tell(name, detail) {
    return !this.root.dispatchEvent(new CustomEvent(name, { bubbles: true, cancelable: true, composed: true, detail }));
  }

  /** Up and down go from one entry or button to the next, Escape back to the search. */
  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      this.search.value = "";
      this.draw();
      this.search.focus();
    } else if (step) {
      const places = [this.search, ...this.list.querySelectorAll("summary, button")].filter((one) => one.checkVisibility());
      const next = places[places.indexOf(document.activeElement) + step];
      if (!next) return;
      event.preventDefault();
      next.focus();
    }
  }

  close() {
    this.model.off("change:content", this.changed);
  }
}

/** The items that have all words, in their name, their job or in what they hold. */
export function found(items, words) {
  return items.filter((item) => {
    const texts = [item.name, item.kind, ...item.about.map(([, text]) => text), ...item.parts.flatMap((part) => [part.name, part.about])];
    const all = texts.join("\n").toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

const matches = (part, words) => words.some((word) => `${part.name}\n${part.about}`.toLowerCase().includes(word));

function render({ model, el }) {
  const browser = new Browser(model, el);
  return () => browser.close();
}

export default { render };
