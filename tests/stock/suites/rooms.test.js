// What every application of channels is made of: joins, pushes, replies and broadcasts.

import assert from "node:assert/strict";
import { test } from "node:test";

import { closes, heard, joined, outcome, outcomes, tell } from "../harness/client.js";
import { everywhere } from "../harness/stages.js";

const MEGABYTE = "é".repeat(512 * 1024);

everywhere((stage) => {
  test("a join is answered with what the channel says", async (t) => {
    const topic = stage.topic("room");
    const join = stage.connect(t).channel(topic, { name: "ann" }).join();
    assert.deepEqual(await outcome(join), { status: "ok", response: { topic, params: { name: "ann" } } });
  });

  test("a refused join says why, and is tried again", async (t) => {
    const attempts = outcomes(stage.connect(t).channel("room:secret").join());
    const refused = { status: "error", response: { reason: "unauthorized" } };
    assert.deepEqual(await attempts.take(3), [refused, refused, refused]);
  });

  test("a topic that the server does not have is refused", async (t) => {
    const join = stage.connect(t).channel("attic:1").join();
    assert.deepEqual(await outcome(join), { status: "error", response: { reason: "unmatched topic" } });
  });

  test("a push is replied to with its own response", async (t) => {
    const channel = await joined(stage.connect(t), stage.topic("room"));
    const answers = await Promise.all([1, 2, 3].map((number) => outcome(channel.push("echo", { number }))));
    assert.deepEqual(
      answers,
      [1, 2, 3].map((number) => ({ status: "ok", response: { number } })),
    );
  });

  test("a push is replied to with an error and its reason", async (t) => {
    const channel = await joined(stage.connect(t), stage.topic("room"));
    const answer = await outcome(channel.push("fail", { reason: "no such song" }));
    assert.deepEqual(answer, { status: "error", response: { reason: "no such song" } });
  });

  test("a push that nobody answers times out, and the next one is answered", async (t) => {
    const channel = await joined(stage.connect(t), stage.topic("room"));
    assert.equal((await outcome(channel.push("ignore", {}, 50))).status, "timeout");
    assert.deepEqual(await outcome(channel.push("echo", { still: "here" })), {
      status: "ok",
      response: { still: "here" },
    });
  });

  test("what is pushed before the join is answered is sent after it, in order", async (t) => {
    const channel = stage.connect(t).channel(stage.topic("room"));
    const shouts = heard(channel, "shout");
    channel.join();
    const answers = [1, 2, 3].map((number) => outcome(channel.push("shout", { number })));
    await Promise.all(answers);
    assert.deepEqual(await shouts.take(3), [{ number: 1 }, { number: 2 }, { number: 3 }]);
  });

  test("a broadcast reaches everybody in the topic, and nobody elsewhere", async (t) => {
    const topic = stage.topic("room");
    const channels = [
      await joined(stage.connect(t), topic),
      await joined(stage.connect(t), topic),
      await joined(stage.connect(t), stage.topic("room")),
    ];
    const [anns, bobs, elsewhere] = channels.map((channel) => heard(channel, "shout"));
    await outcome(channels[0].push("shout", { text: "hello" }));
    assert.deepEqual(await anns.next(), { text: "hello" });
    assert.deepEqual(await bobs.next(), { text: "hello" });
    await outcome(channels[2].push("shout", { text: "alone" }));
    assert.deepEqual(await elsewhere.next(), { text: "alone" });
    assert.deepEqual([anns.drain(), bobs.drain()], [[], []]);
  });

  test("a broadcast from somebody reaches everybody else", async (t) => {
    const topic = stage.topic("room");
    const [ann, bob] = [await joined(stage.connect(t), topic), await joined(stage.connect(t), topic)];
    const [anns, bobs] = [heard(ann, "say"), heard(bob, "say")];
    await outcome(ann.push("say", { text: "from ann" }));
    await outcome(bob.push("say", { text: "from bob" }));
    assert.deepEqual(await bobs.next(), { text: "from ann" });
    assert.deepEqual(await anns.next(), { text: "from bob" });
    assert.deepEqual([anns.drain(), bobs.drain()], [[], []]);
  });

  test("a client that left hears no broadcast, and one that stayed does", async (t) => {
    const topic = stage.topic("room");
    const [ann, bob] = [await joined(stage.connect(t), topic), await joined(stage.connect(t), topic)];
    const [anns, bobs] = [heard(ann, "shout"), heard(bob, "shout")];
    assert.equal((await outcome(ann.leave())).status, "ok");
    await outcome(bob.push("shout", { text: "anybody?" }));
    assert.deepEqual(await bobs.next(), { text: "anybody?" });
    assert.deepEqual(anns.drain(), []);
  });

  test("who leaves and joins again at once is in the topic once", async (t) => {
    const topic = stage.topic("room");
    const socket = stage.connect(t);
    const watcher = await joined(stage.connect(t), topic);
    const first = await joined(socket, topic);
    first.leave();
    const second = await joined(socket, topic);
    const [stale, fresh] = [heard(first, "shout"), heard(second, "shout")];
    await outcome(watcher.push("shout", { number: 1 }));
    await outcome(watcher.push("shout", { number: 2 }));
    assert.deepEqual(await fresh.take(2), [{ number: 1 }, { number: 2 }]);
    assert.deepEqual(await outcome(second.push("echo", { here: true })), { status: "ok", response: { here: true } });
    assert.deepEqual([stale.drain(), fresh.drain()], [[], []]);
    assert.equal(second.state, "joined");
  });

  test("a second channel of the same topic takes the place of the first", async (t) => {
    const topic = stage.topic("room");
    const socket = stage.connect(t);
    const first = await joined(socket, topic);
    const second = await joined(socket, topic);
    const shouts = heard(second, "shout");
    await outcome(second.push("shout", { number: 1 }));
    assert.deepEqual(await shouts.next(), { number: 1 });
    assert.deepEqual([first.state, second.state], ["closed", "joined"]);
  });

  test("a topic and a payload may be in any script", async (t) => {
    const topic = `${stage.topic("room")}:日本語 ‮ źdźbło \u{1f980} "\\/\u2028`;
    const payload = { ключ: ["\u0000\u001f", "\ud83e\udd80", "…", "</script>", 1e21, -0.5, null, true] };
    const [ann, bob] = [await joined(stage.connect(t), topic), await joined(stage.connect(t), topic)];
    const bobs = heard(bob, "событие ✓");
    assert.deepEqual(await outcome(ann.push("echo", payload)), { status: "ok", response: payload });
    await outcome(ann.push("say as", { event: "событие ✓", payload }));
    assert.deepEqual(await bobs.next(), payload);
  });

  test("a payload may have a megabyte", async (t) => {
    const topic = stage.topic("room");
    const [ann, bob] = [await joined(stage.connect(t), topic), await joined(stage.connect(t), topic)];
    const bobs = heard(bob, "say");
    await outcome(ann.push("say", { text: MEGABYTE }));
    assert.ok((await bobs.next()).text === MEGABYTE, "bob heard something else");
    const { status, response } = await outcome(bob.push("echo", { text: MEGABYTE }));
    assert.equal(status, "ok");
    assert.ok(response.text === MEGABYTE, "the echo is something else");
  });

  test("a channel that the server closes stays closed, and the others of the client go on", async (t) => {
    const socket = stage.connect(t);
    const [closing, staying] = [await joined(socket, stage.topic("room")), await joined(socket, stage.topic("room"))];
    const closed = heard(closing, "phx_close");
    tell(closing, "close");
    await closed.next();
    assert.equal((await outcome(staying.push("echo", {}))).status, "ok");
    assert.deepEqual([closing.state, staying.state], ["closed", "joined"]);
  });

  test("a client that the server disconnects comes back to its topics", async (t) => {
    const socket = stage.connect(t);
    const channel = socket.channel(stage.topic("room"));
    const [joins, closed] = [outcomes(channel.join()), closes(socket)];
    assert.equal((await joins.next()).status, "ok");
    tell(channel, "disconnect");
    await closed.next();
    assert.equal((await joins.next()).status, "ok");
  });

  test("a slow join holds up neither the client's other channels nor other clients", async (t) => {
    const socket = stage.connect(t);
    const slow = socket.channel(stage.topic("room"), { gated: true });
    const answer = outcome(slow.join());
    const [own, others] = [
      await joined(socket, stage.topic("room")),
      await joined(stage.connect(t), stage.topic("room")),
    ];
    for (const channel of [own, others]) assert.equal((await outcome(channel.push("echo"))).status, "ok");
    assert.equal(slow.state, "joining");
    await outcome(others.push("open gate"));
    assert.equal((await answer).status, "ok");
  });

  test("a join that takes too long is tried again, and its late answer changes nothing", async (t) => {
    let attempt = 0;
    const channel = stage.connect(t).channel(stage.topic("room"), () => ({ gated: ++attempt === 1 }));
    const attempts = outcomes(channel.join(100));
    assert.equal((await attempts.next()).status, "timeout");
    while ((await attempts.next()).status !== "ok");
    const ends = [heard(channel, "phx_error"), heard(channel, "phx_close")];
    assert.equal((await outcome(channel.push("open gate"))).status, "ok");
    assert.deepEqual(await outcome(channel.push("echo", { late: 1 })), { status: "ok", response: { late: 1 } });
    assert.deepEqual(
      ends.map((inbox) => inbox.drain()),
      [[], []],
    );
  });
});
