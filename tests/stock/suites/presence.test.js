// Presence, as the Presence class of phoenix.js keeps it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { Presence } from "phoenix";

import { joined, outcome, tell } from "../harness/client.js";
import { Inbox } from "../harness/deadline.js";
import { everywhere } from "../harness/stages.js";

// Who came by long-poll and is gone is missed after one and a half windows.
const args = ["--window-ms", "1000"];

everywhere(
  (stage) => {
    test("three clients agree on who is present, through updates and leaves", async (t) => {
      const topic = stage.topic("presence");
      const people = [];
      for (const key of ["ann", "bob", "cid"]) people.push(await Person.join(stage.connect(t), topic, key));
      const [ann, bob, cid] = people;
      await agree(people, { ann: ["new"], bob: ["new"], cid: ["new"] });

      await outcome(bob.channel.push("update", { mood: "busy" }));
      await agree(people, { ann: ["new"], bob: ["busy"], cid: ["new"] });

      await outcome(ann.channel.leave());
      await agree([bob, cid], { bob: ["busy"], cid: ["new"] });

      const back = await Person.join(stage.connect(t), topic, "ann");
      await agree([back, bob, cid], { ann: ["new"], bob: ["busy"], cid: ["new"] });

      cid.channel.socket.disconnect();
      await agree([back, bob], { ann: ["new"], bob: ["busy"] });
    });

    test("two clients under one key are two metas of it, and each goes on its own", async (t) => {
      const topic = stage.topic("presence");
      const [phone, laptop] = [
        await Person.join(stage.connect(t), topic, "ann"),
        await Person.join(stage.connect(t), topic, "ann"),
      ];
      const bob = await Person.join(stage.connect(t), topic, "bob");
      await agree([phone, laptop, bob], { ann: ["new", "new"], bob: ["new"] });
      await outcome(phone.channel.push("update", { mood: "busy" }));
      await agree([phone, laptop, bob], { ann: ["busy", "new"], bob: ["new"] });
      await outcome(phone.channel.push("untrack"));
      await agree([phone, laptop, bob], { ann: ["new"], bob: ["new"] });
    });

    test("who comes back after a disconnect is present once", async (t) => {
      const topic = stage.topic("presence");
      const [ann, bob] = [
        await Person.join(stage.connect(t), topic, "ann"),
        await Person.join(stage.connect(t), topic, "bob"),
      ];
      await agree([ann, bob], { ann: ["new"], bob: ["new"] });
      bob.arrivals.drain();
      tell(await joined(ann.channel.socket, stage.topic("room")), "disconnect");
      await bob.hears("leave", "ann");
      await bob.hears("join", "ann");
      await agree([ann, bob], { ann: ["new"], bob: ["new"] });
    });

    test("a key may be any text", async (t) => {
      const topic = stage.topic("presence");
      const keys = ["__proto__", "constructor", "", "ключ \u{1f511}", "1"];
      const people = [];
      for (const key of keys) people.push(await Person.join(stage.connect(t), topic, key));
      await agree(people, Object.fromEntries(keys.map((key) => [key, ["new"]])));
    });
  },
  { args },
);

class Person {
  /** In the topic, under this key. */
  static async join(socket, topic, key) {
    const channel = socket.channel(topic, { key, meta: { mood: "new" } });
    const person = new Person(channel);
    await outcome(channel.join());
    return person;
  }

  constructor(channel) {
    this.channel = channel;
    this.presence = new Presence(channel);
    this.changes = new Inbox(`a change of who is present in ${channel.topic}`);
    this.arrivals = new Inbox(`an arrival in ${channel.topic}`);
    this.presence.onSync(() => this.changes.put(undefined));
    this.presence.onJoin((key) => this.arrivals.put({ kind: "join", key }));
    this.presence.onLeave((key) => this.arrivals.put({ kind: "leave", key }));
  }

  hears(kind, key) {
    return this.arrivals.nextWhere((arrival) => arrival.kind === kind && arrival.key === key);
  }

  /** Who is present: the moods of each key, sorted. */
  present() {
    const people = this.presence.list((key, { metas }) => [key, metas.map(({ mood }) => mood).sort()]);
    return people.sort(byKey);
  }
}

/** Waits until each of them sees exactly this: the moods of each key. */
async function agree(people, expected) {
  const wanted = Object.entries(expected).sort(byKey);
  for (const person of people) {
    while (!isDeepStrictEqual(person.present(), wanted)) {
      await person.changes.next().catch((error) => {
        assert.deepEqual(person.present(), wanted, error.message);
      });
    }
  }
}

function byKey([one], [other]) {
  return one < other ? -1 : 1;
}
