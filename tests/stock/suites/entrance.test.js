// Who is let in at all: pages of this host, in a version that both sides speak.

import assert from "node:assert/strict";
import { test } from "node:test";

import WebSocket from "ws";

import { joined, outcome, refused, VSN_2 } from "../harness/client.js";
import { everywhere, onEachRuntime } from "../harness/stages.js";

everywhere(
  (stage) => {
    test("a vsn that the server does not speak is refused", async (t) => {
      await refused(stage.connect(t, { vsn: "3.0.0" }));
    });
  },
  { over: VSN_2 },
);

onEachRuntime((stage) => {
  test("a page of the same host is let in", async (t) => {
    const channel = await joined(
      stage.connect(t, { transport: pageOf(`http://${stage.server.address}`) }),
      "room:page",
    );
    assert.equal((await outcome(channel.push("echo"))).status, "ok");
  });

  test("a page of another host is refused", async (t) => {
    await refused(stage.connect(t, { transport: pageOf("http://elsewhere.example") }));
  });
});

/** The WebSocket of a page in a browser, which says where the page is from. */
function pageOf(origin) {
  return class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, { origin });
    }
  };
}
