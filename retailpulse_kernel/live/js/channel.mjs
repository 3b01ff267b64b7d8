// The way to the kernel: frames come in, each is acknowledged once it is painted.

import { Model } from "./model.mjs";

const HELLO_AGAIN_MS = 3000;

export class Channel {
  constructor(comm, onFrame) {
    this.comm = comm;
    this.client = Math.random().toString(36).slice(2);
    this.model = new Model();
    this.onFrame = onFrame;
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
  globalThis.retailpulsePlotly ??= ask(comm);
  return globalThis.retailpulsePlotly;
}

function ask(comm) {
  return new Promise((resolve, reject) => {
    const request = () => comm.send({ op: "plotly" });
    const again = setInterval(request, HELLO_AGAIN_MS);
    const heard = async (message, buffers) => {
      if (message.op !== "plotly") return;
      clearInterval(again);
      comm.off("msg:custom", heard);
      const text = new TextDecoder().decode(buffers[0]);
      const source = `const module = { exports: {} };\n${text}\nexport default module.exports;`;
      const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      try {
        resolve({ plotly: (await import(address)).default, text });
      } catch (error) {
        reject(error);
      } finally {
        URL.revokeObjectURL(address);
      }
    };
    comm.on("msg:custom", heard);
    request();
  });
}
