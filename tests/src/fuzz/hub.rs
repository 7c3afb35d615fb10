//! A hub under any operations: nobody misses anything, and nobody is shown another presence than there is.

use rejoin_core::hub::{Broadcast, Fanout, HistoryLimits, Hub, HubConfig, MemberId, Position};
use rejoin_core::phoenix::{Presence, SharedFrame};
use rejoin_core::wire::Serializer;
use rejoin_core::{Payload, Text};

const ROOMS: [Text; 2] = [Text::from_static("room"), Text::from_static("")];
const KEYS: [&str; 3] = ["__proto__", "", "a \"key\"\\\u{0}é"];
const METAS: [&str; 3] = ["{}", r#"{"phx_ref":"spoofed","n":1}"#, r#" {"phx_ref_pre\u0076":[],"":{"phx_ref":1}} "#];

/// Each number is something that one of four clients does in one of two rooms. `stranger` is used for
/// what it likes to call itself, for its meta and for what it says.
#[expect(clippy::missing_panics_doc, reason = "panicking is how a fuzz target speaks")]
pub fn hub(ops: &[u32], stranger: &str) {
    let mut config = HubConfig::default();
    let mut history = HistoryLimits::default();
    (history.messages, history.bytes, history.idle_topics) = (3, usize::MAX, 1);
    config.history = Some(history);
    let (mut hub, mut rooms) = (Hub::new(config, 7), [Room::default(), Room::default()]);
    let stranger_is = Payload::from_json_text(stranger).unwrap_or_default();
    for op in ops {
        let (name, room) = (&ROOMS[(op >> 3) as usize % 2], &mut rooms[(op >> 3) as usize % 2]);
        let client = (op >> 4) % 4;
        let key = KEYS.get((op >> 6) as usize % 4).copied().unwrap_or(stranger);
        let meta = METAS.get((op >> 8) as usize % 4).map(|meta| Payload::from_json_text(*meta).expect("it is JSON"));
        let meta = meta.as_ref().unwrap_or(&stranger_is);
        let member = room.clients.iter().find(|known| known.name == client).map(|known| known.member);
        match (op % 6, member) {
            (0, None) => {
                room.enter(&mut hub, name, client, if op >> 31 == 0 { Serializer::V2 } else { Serializer::V1 })
            }
            (1, Some(member)) => {
                room.clients.retain(|known| known.member != member);
                let left = hub.leave(member).expect("it was there");
                assert_eq!(left.member, client);
                room.hear(left.diff);
            }
            (2, Some(member)) => drop(hub.track(member, key, meta).map(|diff| room.hear(diff))),
            (3, Some(member)) => drop(hub.update(member, key, meta).map(|diff| room.hear(diff))),
            (4, Some(member)) => drop(hub.untrack(member, key).map(|diff| room.hear(diff))),
            (5, _) => room.say(&mut hub, name, meta.clone(), member),
            _ => {}
        }
        room.check(&hub, name);
    }
}

/// What is known of a topic without a hub.
#[derive(Default)]
struct Room {
    /// In the order in which they joined.
    clients: Vec<Client>,
    said: Vec<SharedFrame>,
    /// Where the history was at times, and how much had been said by then.
    positions: Vec<(Position, usize)>,
}

struct Client {
    name: u32,
    member: MemberId,
    serializer: Serializer,
    presence: Presence,
}

impl Room {
    fn enter(&mut self, hub: &mut Hub<u32>, topic: &Text, name: u32, serializer: Serializer) {
        let member = hub.join(topic, serializer, name).expect("there is room for a million");
        let mut presence = Presence::default();
        presence.state(1, &hub.presence_state(topic)).expect("the hub's states are well formed");
        self.clients.push(Client { name, member, serializer, presence });
    }

    /// Everybody gets the diff, or nobody if there is nothing to say.
    fn hear(&mut self, diff: Fanout<'_, u32>) {
        let frames: Vec<_> = diff.map(|(name, shared)| (*name, shared.frame)).collect();
        let names: Vec<_> = self.clients.iter().map(|client| client.name).collect();
        assert!(frames.is_empty() || frames.iter().map(|(name, _)| *name).eq(names));
        for (client, (_, frame)) in self.clients.iter_mut().zip(frames) {
            let message = client.serializer.decode_from_server(frame).expect("the hub's frames are well formed");
            assert_eq!(message.event, "presence_diff");
            client.presence.diff(1, &message.payload).expect("the hub's diffs are well formed");
        }
    }

    fn say(&mut self, hub: &mut Hub<u32>, topic: &Text, payload: Payload, except: Option<MemberId>) {
        let mut broadcast = Broadcast::new("say", payload);
        broadcast.except = except;
        let told: Vec<_> = hub.broadcast(topic, broadcast).map(|(name, _)| *name).collect();
        let others = self.clients.iter().filter(|client| Some(client.member) != except);
        assert!(others.map(|client| client.name).eq(told));
        let newest = hub.history_last(topic, 1).and_then(|history| history.messages.into_iter().next());
        self.said.push(newest.and_then(|message| message.frame(Serializer::V2)).expect("it is kept"));
    }

    fn check(&mut self, hub: &Hub<u32>, topic: &Text) {
        let members = hub.members(topic).map(|(member, name)| (member, *name));
        assert!(members.eq(self.clients.iter().map(|client| (client.member, client.name))));
        let present: Vec<_> = hub.presence(topic).collect();
        for client in &self.clients {
            assert_eq!(client.presence.iter().collect::<Vec<_>>(), present);
        }
        for (position, said) in &self.positions {
            let Some(history) = hub.history_after(topic, position).filter(|history| history.recovered) else {
                continue;
            };
            let frames = history.messages.iter().map(|message| message.frame(Serializer::V2));
            assert!(frames.eq(self.said[*said..].iter().cloned().map(Some)));
        }
        let now = hub.history_last(topic, 0).map(|history| (history.position, self.said.len()));
        self.positions.extend(now);
    }
}
