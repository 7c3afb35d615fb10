// The last phoenix.js that spoke vsn 1.0.0 and nothing else. Its joins carry no join_ref.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

import WebSocket from "ws";

import { connect, heard, joined, messages, outcome, outcomes, tell, TRANSPORTS } from "../harness/client.js";
import { PATIENCE_MS } from "../harness/deadline.js";
import { onEachRuntime } from "../harness/stages.js";

// It looks for its globals there.
globalThis.window = globalThis;
const { Presence, Socket } = createRequire(import.meta.url)("phoenix-1.2");

onEachRuntime((stage) => {
  test("an old client joins, pushes and is replied to", async (t) => {
    const topic = stage.topic("room");
    const join = connectOld(t, stage).channel(topic, { name: "ann" }).join();
    assert.deepEqual(await outcome(join), { status: "ok", response: { topic, params: { name: "ann" } } });
    const channel = await joined(connectOld(t, stage), topic);
    assert.deepEqual(await outcome(channel.push("echo", { n: 1 })), { status: "ok", response: { n: 1 } });
    assert.deepEqual(await outcome(channel.push("fail", { n: 2 })), { status: "error", response: { n: 2 } });
    assert.equal((await outcome(channel.push("ignore", {}, 50))).status, "timeout");
  });

  test("an old client is refused with a reason", async (t) => {
    const join = connectOld(t, stage).channel("room:secret").join();
    assert.deepEqual(await outcome(join), { status: "error", response: { reason: "unauthorized" } });
  });

  test("an old client and a new one hear each other", async (t) => {
    const topic = stage.topic("room");
    const old = await joined(connectOld(t, stage), topic);
    const young = await joined(connect(t, stage.server.url, TRANSPORTS.websocket), topic);
    const [olds, youngs] = [heard(old, "say"), heard(young, "say")];
    await outcome(old.push("say", { from: "old" }));
    await outcome(young.push("say", { from: "young" }));
    assert.deepEqual(await youngs.next(), { from: "old" });
    assert.deepEqual(await olds.next(), { from: "young" });
  });

  test("an old client leaves, joins again, and hears everything once", async (t) => {
    const topic = stage.topic("room");
    const socket = connectOld(t, stage);
    const first = await joined(socket, topic);
    const all = messages(socket);
    first.leave();
    // Without a join_ref it would take the end of the first channel for that of the second.
    await all.nextWhere(({ event }) => event === "phx_close");
    const second = await joined(socket, topic);
    const shouts = heard(second, "shout");
    await outcome(second.push("shout", { n: 1 }));
    await outcome(second.push("shout", { n: 2 }));
    assert.deepEqual(await shouts.take(2), [{ n: 1 }, { n: 2 }]);
    assert.deepEqual(shouts.drain(), []);
  });

  test("an old client joins a channel that crashed again", async (t) => {
    const channel = connectOld(t, stage).channel(stage.topic("crash"));
    const joins = outcomes(channel.join());
    assert.equal((await joins.next()).status, "ok");
    tell(channel, "panic");
    assert.equal((await joins.next()).status, "ok");
    assert.deepEqual(await outcome(channel.push("count")), { status: "ok", response: { count: 1 } });
  });

  test("an old client sees who is present", async (t) => {
    const topic = stage.topic("presence");
    const channel = connectOld(t, stage).channel(topic, { key: "ann", meta: { mood: "new" } });
    const [states, diffs] = [heard(channel, "presence_state"), heard(channel, "presence_diff")];
    assert.equal((await outcome(channel.join())).status, "ok");
    let present = Presence.syncState({}, await states.next());
    present = Presence.syncDiff(present, await diffs.next());
    assert.deepEqual(
      Presence.list(present, (key, { metas }) => [key, metas[0].mood]),
      [["ann", "new"]],
    );
    await outcome(channel.push("update", { mood: "busy" }));
    present = Presence.syncDiff(present, await diffs.next());
    assert.deepEqual(
      Presence.list(present, (key, { metas }) => [key, metas[0].mood]),
      [["ann", "busy"]],
    );
  });
});

function connectOld(t, stage) {
  const socket = new Socket(stage.server.url, {
    transport: WebSocket,
    timeout: PATIENCE_MS,
    reconnectAfterMs: () => 20,
  });
  t.after(() => {
    socket.disconnect();
    // Its timers go on otherwise.
    clearInterval(socket.heartbeatTimer);
    for (const channel of socket.channels) channel.rejoinTimer.reset();
  });
  socket.connect();
  return socket;
}
