// Payloads of bytes: pushed, replied and broadcast.

import assert from "node:assert/strict";
import { test } from "node:test";

import { BINARY, bytes, connect, heard, joined, outcome, TRANSPORTS, values } from "../harness/client.js";
import { everywhere, onEachRuntime } from "../harness/stages.js";

everywhere(
  (stage) => {
    test("bytes are echoed as bytes", async (t) => {
      const channel = await joined(stage.connect(t), stage.topic("room"));
      for (const sent of [[], [0], [123, 34, 125], [0, 128, 255]]) {
        const { status, response } = await outcome(channel.push("echo", bytes(...sent)));
        assert.equal(status, "ok");
        assert.ok(response instanceof ArrayBuffer);
        assert.deepEqual(values(response), sent);
      }
    });

    test("bytes may be the response to a refusal of a push", async (t) => {
      const channel = await joined(stage.connect(t), stage.topic("room"));
      const { status, response } = await outcome(channel.push("fail", bytes(4, 0, 4)));
      assert.deepEqual([status, values(response)], ["error", [4, 0, 4]]);
    });

    test("bytes are broadcast to everybody, and everybody else", async (t) => {
      const topic = stage.topic("room");
      const [ann, bob] = [await joined(stage.connect(t), topic), await joined(stage.connect(t), topic)];
      const [annsShouts, bobsShouts, bobsSays] = [heard(ann, "shout"), heard(bob, "shout"), heard(bob, "say")];
      await outcome(ann.push("shout", bytes(1, 255)));
      await outcome(ann.push("say", bytes(2, 254)));
      assert.deepEqual(values(await annsShouts.next()), [1, 255]);
      assert.deepEqual(values(await bobsShouts.next()), [1, 255]);
      assert.deepEqual(values(await bobsSays.next()), [2, 254]);
    });

    test("a megabyte of bytes comes through", async (t) => {
      const channel = await joined(stage.connect(t), stage.topic("room"));
      const sent = Uint8Array.from({ length: 1 << 20 }, (_, at) => at % 251);
      const { response } = await outcome(channel.push("echo", sent.buffer));
      assert.ok(Buffer.from(response).equals(Buffer.from(sent)), "the echo is something else");
    });

    test("a topic and an event of bytes may be in any script", async (t) => {
      const topic = `${stage.topic("room")}:ž€\u{1f980}`;
      const [ann, bob] = [await joined(stage.connect(t), topic), await joined(stage.connect(t), topic)];
      const bobs = heard(bob, "say");
      await outcome(ann.push("say", bytes(7)));
      assert.deepEqual(values(await bobs.next()), [7]);
    });
  },
  { over: BINARY },
);

onEachRuntime((stage) => {
  test("bytes are pushed over long-poll", async (t) => {
    const topic = stage.topic("room");
    const ann = await joined(connect(t, stage.server.url, TRANSPORTS["long-poll"]), topic);
    const bob = await joined(connect(t, stage.server.url, TRANSPORTS.websocket), topic);
    const bobs = heard(bob, "say");
    assert.equal((await outcome(ann.push("say", bytes(0, 128, 255)))).status, "ok");
    assert.deepEqual(values(await bobs.next()), [0, 128, 255]);
  });

  test("a client of vsn 1.0.0 does without the bytes of others, and misses nothing else", async (t) => {
    const topic = stage.topic("room");
    const old = await joined(connect(t, stage.server.url, TRANSPORTS["websocket, vsn 1.0.0"]), topic);
    const ann = await joined(connect(t, stage.server.url, TRANSPORTS.websocket), topic);
    const [olds, anns] = [heard(old, "shout"), heard(ann, "shout")];
    await outcome(ann.push("shout", bytes(1)));
    await outcome(ann.push("shout", { text: "two" }));
    assert.deepEqual(values(await anns.next()), [1]);
    assert.deepEqual(await anns.next(), { text: "two" });
    assert.deepEqual(await olds.next(), { text: "two" });
  });
});
