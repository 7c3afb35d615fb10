// Many channels, many messages, and long silences.

import assert from "node:assert/strict";
import { test } from "node:test";

import { closes, heard, joined, messages, opens, outcome, VSN_2 } from "../harness/client.js";
import { everywhere, onEachRuntime } from "../harness/stages.js";

const CHANNELS = 100;
const BURST = 10_000;
const MEGABYTE = "x".repeat(1 << 20);

everywhere((stage) => {
  test("a client may have 100 channels, and the 101st is refused", async (t) => {
    const socket = stage.connect(t);
    const kind = stage.topic("room");
    const join = (number) => joined(socket, `${kind}:${number}`);
    const channels = await Promise.all(Array.from({ length: CHANNELS }, (_, number) => join(number)));
    const answers = await Promise.all(channels.map((channel, number) => outcome(channel.push("echo", { number }))));
    assert.deepEqual(
      answers.map(({ response }) => response.number),
      [...channels.keys()],
    );
    const refused = socket.channel(`${kind}:${CHANNELS}`);
    assert.deepEqual(await outcome(refused.join()), {
      status: "error",
      response: { reason: "too many channels joined" },
    });
    assert.equal((await outcome(channels[0].push("echo"))).status, "ok");

    refused.leave();
    await outcome(channels[0].leave());
    await joined(socket, `${kind}:again`);
  });
});

everywhere(
  (stage) => {
    test("10,000 broadcasts reach a healthy reader, all of them and in order", async (t) => {
      const topic = stage.topic("room");
      const [reader, speaker] = [await joined(stage.connect(t), topic), await joined(stage.connect(t), topic)];
      const numbers = heard(reader, "number");
      speaker.push("numbers", { count: BURST });
      for (let number = 0; number < BURST; number += 1) assert.deepEqual(await numbers.next(), { number });
      assert.deepEqual(numbers.drain(), []);
    });

    test("1,000 pushes at once are answered, each by its own reply", async (t) => {
      const channel = await joined(stage.connect(t), stage.topic("room"));
      const pushes = Array.from({ length: 1_000 }, (_, number) => outcome(channel.push("echo", { number })));
      for (const [number, { status, response }] of (await Promise.all(pushes)).entries()) {
        assert.deepEqual({ status, response }, { status: "ok", response: { number } });
      }
    });
  },
  { over: VSN_2 },
);

everywhere(
  (stage) => {
    test("a client that does not read is cut off, and the others hear everything", async (t) => {
      const topic = stage.topic("room");
      const stuck = stage.connect(t);
      const [, reader, speaker] = [
        await joined(stuck, topic),
        await joined(stage.connect(t), topic),
        await joined(stage.connect(t), topic),
      ];
      const [heardByReader, closed] = [heard(reader, "say"), closes(stuck)];
      const connection = stuck.conn;
      connection.pause();
      // What waits for one client is bounded by 16 MiB, and the system's buffers hold some.
      for (let number = 0; number < 48; number += 1) {
        assert.equal((await outcome(speaker.push("say", { number, filling: MEGABYTE }))).status, "ok");
        assert.equal((await heardByReader.next()).number, number);
      }
      connection.resume();
      await closed.next();
    });
  },
  { over: ["websocket", "websocket, vsn 1.0.0"] },
);

onEachRuntime(
  (stage) => {
    test("a client whose heart beats stays, and one that is silent is closed and comes back", async (t) => {
      await Promise.all(
        ["websocket", "websocket, vsn 1.0.0"].map(async (transport) => {
          const on = stage.over(transport);
          const beating = on.connect(t, { heartbeatIntervalMs: 100 });
          const silent = on.connect(t, { heartbeatIntervalMs: 60_000 });
          const [opened, closed] = [opens(silent), closes(silent)];
          const [stayed, replies] = [closes(beating), messages(beating)];
          const channel = await joined(beating, stage.topic("room"));
          // Longer than the server's patience with either.
          for (const _ of ["once", "and again"]) {
            await opened.next();
            assert.equal((await closed.next()).code, 1002);
          }
          const { payload } = await replies.nextWhere(({ topic }) => topic === "phoenix");
          assert.deepEqual(payload, { status: "ok", response: {} });
          assert.equal((await outcome(channel.push("echo"))).status, "ok");
          assert.deepEqual(stayed.drain(), []);
        }),
      );
    });
  },
  ["--idle-ms", "1500"],
);
