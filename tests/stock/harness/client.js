// phoenix.js as it comes from npm; where it takes callbacks, tests get promises and inboxes.

import assert from "node:assert/strict";

import { LongPoll, Socket } from "phoenix";
import WebSocket from "ws";

import { Inbox, PATIENCE_MS } from "./deadline.js";

/** Everything that decides how a client's messages travel. */
export const TRANSPORTS = {
  websocket: { transport: WebSocket },
  // As phoenix.js is told to speak to servers older than vsn 2.0.0.
  "websocket, vsn 1.0.0": {
    transport: WebSocket,
    vsn: "1.0.0",
    encode: (message, done) => done(JSON.stringify(message)),
    decode: (frame, done) => done(withJoinRef(JSON.parse(frame))),
  },
  "long-poll": { transport: LongPoll },
};

/** Under vsn 1.0.0 the ends of a channel carry the join_ref as their ref, and nothing else carries it. */
function withJoinRef(message) {
  const isEnd = ["phx_close", "phx_error"].includes(message.event);
  return { ...message, join_ref: isEnd ? message.ref : null };
}

/** Those under which phoenix.js can receive bytes. Over long-poll, and under vsn 1.0.0, it can not. */
export const BINARY = ["websocket"];

export const VSN_2 = ["websocket", "long-poll"];

/** A client that comes back at once instead of after seconds. It is gone when the test is over. */
export function connect(t, url, options = {}) {
  const socket = new Socket(url, {
    timeout: PATIENCE_MS,
    reconnectAfterMs: () => 20,
    rejoinAfterMs: () => 20,
    ...options,
  });
  // Not waited for: phoenix.js looks every 150 ms only whether it is done.
  t.after(() => {
    socket.disconnect();
    // A join that is on its way would keep the process until it times out.
    for (const channel of socket.channels) channel.joinPush.cancelTimeout();
  });
  socket.connect();
  return socket;
}

/** A channel whose join is answered with ok. */
export async function joined(socket, topic, params = {}) {
  const channel = socket.channel(topic, params);
  const { status, response } = await outcome(channel.join());
  if (status !== "ok") throw new Error(`the join of ${topic}: ${status} ${JSON.stringify(response)}`);
  return channel;
}

/** Pushes what is not answered, because the channel will be gone. */
export function tell(channel, event) {
  channel.push(event, {}, 100);
}

/** What a push, or the first attempt of a join, comes to: `ok`, `error` or `timeout`, and the response. */
export function outcome(push) {
  return outcomes(push).next();
}

/** What every attempt of a join comes to. */
export function outcomes(push) {
  const inbox = new Inbox("an outcome");
  for (const status of ["ok", "error", "timeout"]) {
    push.receive(status, (response) => inbox.put({ status, response }));
  }
  return inbox;
}

/** The payloads of an event of a channel, from now on. */
export function heard(channel, event) {
  const inbox = new Inbox(`${event} on ${channel.topic}`);
  channel.on(event, (payload) => inbox.put(payload));
  return inbox;
}

/** The close events of the socket, from now on. */
export function closes(socket) {
  const inbox = new Inbox("a close of the socket");
  socket.onClose((event) => inbox.put(event));
  return inbox;
}

/** Its being connected, from now on. */
export function opens(socket) {
  const inbox = new Inbox("a socket that opens");
  socket.onOpen(() => inbox.put(undefined));
  return inbox;
}

/** Waits until the socket was turned away twice, and has never been let in. */
export async function refused(socket) {
  const [opened, closed] = [opens(socket), closes(socket)];
  await closed.take(2);
  assert.deepEqual(opened.drain(), []);
}

/** Any message at all, from now on. */
export function messages(socket) {
  const inbox = new Inbox("a message");
  socket.onMessage((message) => inbox.put(message));
  return inbox;
}

export function bytes(...values) {
  return Uint8Array.from(values).buffer;
}

export function values(buffer) {
  return [...new Uint8Array(buffer)];
}
