// A server that asks for tokens: as a parameter, or as the authToken of phoenix.js.

import assert from "node:assert/strict";
import { test } from "node:test";

import { closes, heard, joined, outcome, refused, VSN_2 } from "../harness/client.js";
import { everywhere, onEachRuntime } from "../harness/stages.js";
import { seconds, SECRET, token } from "../harness/token.js";

everywhere(
  (stage) => {
    for (const [how, carrying] of [
      ["a parameter", (token) => ({ params: { token } })],
      ["the authToken", (token) => ({ authToken: token })],
    ]) {
      test(`a client with a token as ${how} is let in as who the token says`, async (t) => {
        const socket = stage.connect(t, carrying(token({ sub: "ann" })));
        const channel = await joined(socket, stage.topic("room"));
        assert.deepEqual(await outcome(channel.push("who am i")), { status: "ok", response: { user: "ann" } });
      });

      test(`a client with a forged token as ${how} is refused`, async (t) => {
        const socket = stage.connect(t, carrying(token({ sub: "ann" }, "another secret of thirty-two bytes")));
        await refused(socket);
      });

      test(`a client whose token as ${how} has expired is let in when it brings a new one`, async (t) => {
        let attempts = 0;
        const fresh = () => token({ sub: "ann", exp: seconds() + (attempts++ === 0 ? -10 : 60) });
        const options = how === "a parameter" ? { params: () => ({ token: fresh() }) } : { authToken: fresh };
        const socket = stage.connect(t, options);
        await joined(socket, stage.topic("room"));
        assert.ok(attempts > 1, "the expired token was good enough");
      });
    }

    test("a client without a token is refused", async (t) => {
      await refused(stage.connect(t));
    });

    test("the parameters of a client reach its channels", async (t) => {
      const params = { token: token({ sub: "ann" }), lang: "šč &=?%", device: 7 };
      const channel = await joined(stage.connect(t, { params }), stage.topic("room"));
      const answer = await outcome(channel.push("param", { name: "lang" }));
      assert.deepEqual(answer, { status: "ok", response: { value: "šč &=?%" } });
    });

    test("another user's token renews nothing", async (t) => {
      const channel = await joined(stage.connect(t, { authToken: token({ sub: "ann" }) }), stage.topic("room"));
      const answer = await outcome(channel.push("access_token", { access_token: token({ sub: "bob" }) }));
      assert.equal(answer.status, "error");
      assert.deepEqual(await outcome(channel.push("who am i")), { status: "ok", response: { user: "ann" } });
    });
  },
  { args: ["--jwt-secret", SECRET] },
);

onEachRuntime(
  (stage) => {
    test("a client whose token expires is told, and gone unless it has brought a new one", async (t) => {
      await Promise.all(VSN_2.map((transport) => outliveToken(t, stage.over(transport))));
    });
  },
  ["--jwt-secret", SECRET, "--expiry-warning-ms", "2500"],
);

async function outliveToken(t, stage) {
  const soon = () => token({ sub: "ann", exp: Date.now() / 1_000 + 3 });
  const [staying, going] = [
    stage.connect(t, { authToken: soon }),
    stage.connect(t, { authToken: soon, reconnectAfterMs: () => 60_000 }),
  ];
  const [stayed, gone] = [closes(staying), closes(going)];
  const topic = stage.topic("room");
  const [mine, other] = [await joined(staying, topic), await joined(going, topic)];
  const [warnings, ends] = [heard(mine, "token_expiring"), heard(other, "phx_error")];
  await warnings.next();
  const answer = await outcome(mine.push("access_token", { access_token: token({ sub: "ann" }) }));
  assert.deepEqual(answer, { status: "ok", response: {} });
  const end = await ends.next();
  // phoenix.js drops what a poll has just brought if the next poll is turned away within a millisecond.
  if (stage.transport !== "long-poll") assert.deepEqual(end, { reason: "token_expired" });
  await gone.next();
  assert.deepEqual(await outcome(mine.push("echo", { n: 1 })), { status: "ok", response: { n: 1 } });
  assert.deepEqual(stayed.drain(), []);
}
