// Where a story is told: on each runtime of the server, over each transport of the client.

import { after, before, describe } from "node:test";

import { connect, TRANSPORTS } from "./client.js";
import { Server } from "./server.js";

/** With axum it is tokio, and somebody else's HTTP. */
export const RUNTIMES = ["smol", "tokio", "axum"];

/** Tells it once for each runtime, each with a server of its own. */
export function onEachRuntime(tell, args = []) {
  for (const runtime of RUNTIMES) {
    describe(runtime, () => {
      const stage = new Stage();
      before(async () => {
        stage.server = await Server.start(runtime, args);
      });
      after(() => stage.server?.kill());
      tell(stage);
    });
  }
}

/** Tells it once for each runtime and transport. */
export function everywhere(tell, { over = Object.keys(TRANSPORTS), args = [] } = {}) {
  onEachRuntime((stage) => {
    for (const name of over) {
      describe(name, () => tell(stage.over(name)));
    }
  }, args);
}

let topics = 0;

class Stage {
  /** The server, once the tests run. */
  server;
  /** The name of the clients' transport, on a stage that has one. */
  transport;
  #options = {};

  over(name) {
    const stage = new Stage();
    Object.defineProperty(stage, "server", { get: () => this.server });
    stage.transport = name;
    stage.#options = TRANSPORTS[name];
    return stage;
  }

  /** A client of the server by the stage's transport. */
  connect(t, options = {}) {
    return connect(t, this.server.url, { ...this.#options, ...options });
  }

  /** A topic that no other test has. */
  topic(kind) {
    topics += 1;
    return `${kind}:${topics}`;
  }
}
