// Networks that let no WebSocket through: phoenix.js falls back to long-poll.

import assert from "node:assert/strict";
import { test } from "node:test";

import { LongPoll } from "phoenix";
import WebSocket from "ws";

import { connect, heard, joined, outcome } from "../harness/client.js";
import { PATIENCE_MS } from "../harness/deadline.js";
import { FATES, Proxy } from "../harness/proxy.js";
import { onEachRuntime } from "../harness/stages.js";

onEachRuntime((stage) => {
  for (const [what, fate] of [
    ["are reset", FATES.reset],
    ["hang", FATES.hang],
    ["open and stay silent", FATES.mute],
  ]) {
    test(`where WebSockets ${what}, a client falls back to long-poll`, async (t) => {
      const { socket, talk } = await meetBehind(t, stage, fate);
      await talk();
      assert.equal(socket.transport, LongPoll);
    });
  }

  test("where WebSockets pass, a client stays with them", async (t) => {
    const { socket, proxy, talk } = await meetBehind(t, stage, FATES.pass, { longPollFallbackMs: PATIENCE_MS });
    await talk();
    assert.equal(socket.transport, WebSocket);
    assert.deepEqual(proxy.seen.drain(), ["websocket"]);
  });

  test("a client that fell back once does not try a WebSocket again", async (t) => {
    const sessionStorage = new Storage();
    const { proxy, talk } = await meetBehind(t, stage, FATES.reset, { sessionStorage });
    await talk();
    proxy.seen.drain();
    const again = await joined(connect(t, proxy.url, { ...FALLBACK, sessionStorage }), stage.topic("room"));
    assert.equal((await outcome(again.push("echo"))).status, "ok");
    assert.ok(!proxy.seen.drain().includes("websocket"));
  });
});

const FALLBACK = { transport: WebSocket, longPollFallbackMs: 200 };

/** Ann is behind the proxy, bob is not. */
async function meetBehind(t, stage, fate, options = {}) {
  const proxy = await Proxy.start(t, stage.server.port, fate);
  const topic = stage.topic("room");
  const socket = connect(t, proxy.url, { ...FALLBACK, ...options });
  const ann = await joined(socket, topic);
  const bob = await joined(connect(t, stage.server.url, { transport: WebSocket }), topic);
  const talk = async () => {
    const [anns, bobs] = [heard(ann, "say"), heard(bob, "say")];
    assert.equal((await outcome(ann.push("say", { text: "from ann" }))).status, "ok");
    assert.equal((await outcome(bob.push("say", { text: "from bob" }))).status, "ok");
    assert.deepEqual(await bobs.next(), { text: "from ann" });
    assert.deepEqual(await anns.next(), { text: "from bob" });
  };
  return { socket, proxy, talk };
}

/** As in a browser's tab. */
class Storage {
  #items = new Map();

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, item) {
    this.#items.set(key, item);
  }
}
