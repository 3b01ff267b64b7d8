// The way to the kernel: frames come in, each is acknowledged once it is painted.

import { Model } from "./model.mjs";

const HELLO_AGAIN_MS = 3000;

export class Channel {
  constructor(comm, onFrame, onLost) {
    this.comm = comm;
    this.client = Math.random().toString(36).slice(2);
    this.model = new Model();
    this.onFrame = onFrame;
    this.onLost = onLost;
    this.heard = (message, buffers) => this.receive(message, buffers);
    comm.on("msg:custom", this.heard);
    this.hello();
    this.timer = setInterval(() => {
      if (this.model.versions === null) this.hello();
    }, HELLO_AGAIN_MS);
  }

  hello() {
    this.comm.send({ op: "hello", client: this.client });
  }

  receive(message, buffers) {
    if (message.op === "lost") this.onLost();
    if (message.op !== "frame" || (message.to && message.to !== this.client)) return;
    const frame = JSON.parse(new TextDecoder().decode(buffers[0]));
    if (!this.model.apply(frame)) {
      if (this.model.versions !== null || !frame.base.some((version) => version < 0)) this.hello();
      return;
    }
    this.received = Date.now();
    this.onFrame(() => this.comm.send({ op: "ack", client: this.client, seq: frame.seq }));
  }

  close() {
    clearInterval(this.timer);
    this.comm.off("msg:custom", this.heard);
    this.comm.send({ op: "bye", client: this.client });
  }
}

/** Plotly, from the Python package in the kernel's environment: once a page, nothing from the network. */
export function loadPlotly(comm) {
  globalThis.retailpulsePlotly ??= load(comm);
  return globalThis.retailpulsePlotly;
}

async function load(comm) {
  const kept = `/retailpulse/plotly-${comm.get("plotly")}.js`; // a name only: nothing is there to be asked for
  // A page that is not secure (plain http from another machine) has no cache.
  const cache = await globalThis.caches?.open("retailpulse").catch(() => undefined);
  let text = await (await cache?.match(kept))?.text();
  if (!text) {
    text = await ask(comm);
    await cache?.put(kept, new Response(text)).catch(() => undefined);
  }
  const source = `const module = { exports: {} };\n${text}\nexport default module.exports;`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    return { plotly: (await import(address)).default, text };
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** The file, from the kernel. */
function ask(comm) {
  return new Promise((resolve) => {
    const request = () => comm.send({ op: "plotly" });
    const again = setInterval(request, HELLO_AGAIN_MS);
    const heard = (message, buffers) => {
      if (message.op !== "plotly") return;
      clearInterval(again);
      comm.off("msg:custom", heard);
      resolve(new TextDecoder().decode(buffers[0]));
    };
    comm.on("msg:custom", heard);
    request();
  });
}
