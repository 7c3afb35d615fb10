// The server under test: a process that can be stopped, killed and brought back on its port.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { within } from "./deadline.js";

const PROGRAM =
  process.env.STOCK_SERVER ?? fileURLToPath(new URL("../../../target/debug/stock-server", import.meta.url));

export class Server {
  #args;
  #process;
  /** `127.0.0.1:port`; the same after a restart. */
  address;

  /** Starts a server on a free port of this machine. */
  static async start(runtime, args = []) {
    const server = new Server();
    server.#args = ["--runtime", runtime, ...args];
    await server.#listen("127.0.0.1:0");
    return server;
  }

  /** What a client of phoenix.js is given. */
  get url() {
    return `ws://${this.address}/socket`;
  }

  get port() {
    return Number(this.address.split(":").at(-1));
  }

  /** Brings it back where it was. */
  async restart() {
    await this.#listen(this.address);
  }

  /** Asks it to stop, which it does when its clients know. Its exit code is 0 if it went well. */
  async stop() {
    return this.#end("SIGTERM");
  }

  /** Ends it without a word to anybody. */
  async kill() {
    return this.#end("SIGKILL");
  }

  async #listen(address) {
    this.#process = spawn(PROGRAM, [...this.#args, "--listen", address], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const lines = createInterface({ input: this.#process.stdout });
    const failed = once(this.#process, "exit").then(([code]) => {
      throw new Error(`the server ended with ${code} before it listened`);
    });
    const [line] = await within(Promise.race([once(lines, "line"), failed]), "a listening server");
    this.address = /ws:\/\/([^/]+)\//.exec(line)[1];
  }

  async #end(signal) {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return this.#process.exitCode;
    const exit = once(this.#process, "exit");
    this.#process.kill(signal);
    const [code] = await within(exit, `a server that ends after ${signal}`);
    return code;
  }
}
