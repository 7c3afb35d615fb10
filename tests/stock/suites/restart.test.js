// A server that stops, in peace or not, and comes back.

import assert from "node:assert/strict";
import { test } from "node:test";

import { closes, connect, heard, outcome, outcomes, TRANSPORTS, VSN_2 } from "../harness/client.js";
import { RUNTIMES } from "../harness/stages.js";
import { Server } from "../harness/server.js";

const CROWD = 60;

for (const runtime of RUNTIMES) {
  for (const transport of VSN_2) {
    test(`${runtime}, ${transport}: after a server was killed, its clients are in their topics again`, async (t) => {
      const { server, ann, bob } = await twoInARoom(t, runtime, transport);
      await server.kill();
      await Promise.all([ann.closed.next(), bob.closed.next()]);
      await server.restart();
      await talkAgain(ann, bob);
    });

    test(`${runtime}, ${transport}: a server that stops tells its clients, and they come back`, async (t) => {
      const { server, ann, bob } = await twoInARoom(t, runtime, transport);
      assert.equal(await server.stop(), 0);
      const events = await Promise.all([ann.closed.next(), bob.closed.next()]);
      if (transport === "websocket") {
        assert.deepEqual(
          events.map(({ code }) => code),
          [1012, 1012],
        );
      }
      await server.restart();
      await talkAgain(ann, bob);
    });

    test(`${runtime}, ${transport}: what is pushed while the server is away arrives when it is back`, async (t) => {
      const { server, ann, bob } = await twoInARoom(t, runtime, transport);
      await server.kill();
      await Promise.all([ann.closed.next(), bob.closed.next()]);
      const answers = [1, 2, 3].map((number) => outcome(ann.channel.push("echo", { number })));
      await server.restart();
      assert.deepEqual(
        await Promise.all(answers),
        [1, 2, 3].map((number) => ({ status: "ok", response: { number } })),
      );
    });
  }
}

for (const runtime of RUNTIMES) {
  test(`${runtime}: a crowd of both transports comes back after a restart, everybody once`, async (t) => {
    const server = await Server.start(runtime);
    t.after(() => server.kill());
    const crowd = await Promise.all(Array.from({ length: CROWD }, (_, n) => enter(t, server, VSN_2[n % VSN_2.length])));
    await server.kill();
    await Promise.all(crowd.map(({ closed }) => closed.next()));
    await server.restart();
    await Promise.all(crowd.map(async ({ joins }) => assert.equal((await joins.next()).status, "ok")));
    const inboxes = crowd.map(({ channel }) => heard(channel, "shout"));
    for (const number of [1, 2]) await outcome(crowd[0].channel.push("shout", { number }));
    for (const inbox of inboxes) assert.deepEqual(await inbox.take(2), [{ number: 1 }, { number: 2 }]);
  });
}

async function twoInARoom(t, runtime, transport) {
  const server = await Server.start(runtime);
  t.after(() => server.kill());
  return { server, ann: await enter(t, server, transport), bob: await enter(t, server, transport) };
}

async function enter(t, server, transport) {
  const socket = connect(t, server.url, TRANSPORTS[transport]);
  const channel = socket.channel("room:lobby");
  const joins = outcomes(channel.join());
  assert.equal((await joins.next()).status, "ok");
  return { channel, joins, closed: closes(socket) };
}

async function talkAgain(ann, bob) {
  for (const { joins } of [ann, bob]) assert.equal((await joins.next()).status, "ok");
  const bobs = heard(bob.channel, "say");
  assert.equal((await outcome(ann.channel.push("say", { text: "back?" }))).status, "ok");
  assert.deepEqual(await bobs.next(), { text: "back?" });
}
