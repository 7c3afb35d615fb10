// A proxy of the kind that office networks have: plain HTTP passes, WebSockets do not.

import { once } from "node:events";
import net from "node:net";

import { Inbox } from "./deadline.js";

/** What becomes of a WebSocket. */
export const FATES = {
  /** The connection is reset as soon as it asks for its upgrade. */
  reset: (client) => client.resetAndDestroy(),
  /** Nobody ever answers. */
  hang: () => {},
  /** It opens, and then nothing of the server's passes any more. */
  mute: (client, server) => {
    server.once("data", (head) => client.write(upToBlankLine(head)));
    client.pipe(server);
  },
  pass: (client, server) => {
    client.pipe(server);
    server.pipe(client);
  },
};

export class Proxy {
  #listener;
  #sockets = new Set();
  /** A line for each connection: `websocket` or `http`. */
  seen = new Inbox("a connection through the proxy");

  /** A proxy in front of this port. It is gone when the test is over. */
  static async start(t, port, fate) {
    const proxy = new Proxy();
    proxy.#listener = net.createServer((client) => proxy.#carry(client, port, fate));
    proxy.#listener.listen(0, "127.0.0.1");
    await once(proxy.#listener, "listening");
    t.after(() => proxy.#close());
    return proxy;
  }

  get url() {
    return `ws://127.0.0.1:${this.#listener.address().port}/socket`;
  }

  #carry(client, port, fate) {
    this.#keep(client);
    client.once("data", (head) => {
      const isWebSocket = /^upgrade: *websocket/im.test(head.toString("latin1"));
      this.seen.put(isWebSocket ? "websocket" : "http");
      const server = net.connect(port, "127.0.0.1");
      this.#keep(server);
      client.on("close", () => server.destroy());
      server.on("close", () => client.destroy());
      server.write(head);
      (isWebSocket ? fate : FATES.pass)(client, server);
    });
  }

  #keep(socket) {
    this.#sockets.add(socket);
    // What fails is closed, which the other side is told.
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }

  #close() {
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

function upToBlankLine(head) {
  return head.subarray(0, head.indexOf("\r\n\r\n") + 4);
}
