// A channel that crashes is the server's trouble: its client joins again, and nobody else notices.

import assert from "node:assert/strict";
import { test } from "node:test";

import { heard, joined, outcome, outcomes, tell } from "../harness/client.js";
import { everywhere } from "../harness/stages.js";

everywhere((stage) => {
  for (const [how, event] of [
    ["panics", "panic"],
    ["fails", "fail"],
  ]) {
    test(`a channel that ${how} is joined again, as a new one`, async (t) => {
      const channel = stage.connect(t).channel(stage.topic("crash"));
      const joins = outcomes(channel.join());
      assert.equal((await joins.next()).status, "ok");
      assert.deepEqual(await outcome(channel.push("count")), { status: "ok", response: { count: 1 } });
      assert.deepEqual(await outcome(channel.push("count")), { status: "ok", response: { count: 2 } });
      const errors = heard(channel, "phx_error");
      tell(channel, event);
      await errors.next();
      assert.equal((await joins.next()).status, "ok");
      assert.deepEqual(await outcome(channel.push("count")), { status: "ok", response: { count: 1 } });
      assert.deepEqual(errors.drain(), []);
    });
  }

  test("what is pushed while a crashed channel is away arrives when it is back", async (t) => {
    const channel = await joined(stage.connect(t), stage.topic("crash"));
    const errors = heard(channel, "phx_error");
    tell(channel, "panic");
    await errors.next();
    assert.deepEqual(await outcome(channel.push("count")), { status: "ok", response: { count: 1 } });
  });

  test("a crash costs neither the client's other channels nor the others in the topic anything", async (t) => {
    const topic = stage.topic("crash");
    const socket = stage.connect(t);
    const crashing = await joined(socket, topic);
    const bystanders = [await joined(socket, stage.topic("crash")), await joined(stage.connect(t), topic)];
    const complaints = bystanders.map((channel) => heard(channel, "phx_error"));
    for (const channel of bystanders) await outcome(channel.push("count"));
    const errors = heard(crashing, "phx_error");
    tell(crashing, "panic");
    await errors.next();
    for (const channel of bystanders) {
      assert.deepEqual(await outcome(channel.push("count")), { status: "ok", response: { count: 2 } });
    }
    assert.deepEqual(
      complaints.map((inbox) => inbox.drain()),
      [[], []],
    );
  });

  test("a join that crashes is refused, and tried again", async (t) => {
    let attempt = 0;
    const channel = stage.connect(t).channel(stage.topic("crash"), () => ({ panic: ++attempt === 1 }));
    const joins = outcomes(channel.join());
    assert.deepEqual(await joins.next(), { status: "error", response: { reason: "join crashed" } });
    assert.equal((await joins.next()).status, "ok");
  });
});
