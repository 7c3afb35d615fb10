//! One client of the embedded server: what it asks for, carried out in order.

use std::collections::BTreeMap;

use futures_lite::future;
use rejoin_core::phoenix::{JoinId, ServerChannelId, ServerEvent, Status};
use rejoin_core::{Payload, Text};
use rejoin_pump::{Peer, PeerEvents};

use super::rooms::Rooms;

pub(crate) struct Guest<'a> {
    rooms: &'a Rooms,
    peer: Peer,
    topics: BTreeMap<ServerChannelId, Text>,
}

impl<'a> Guest<'a> {
    pub(crate) fn new(rooms: &'a Rooms, peer: Peer) -> Self {
        Self { rooms, peer, topics: BTreeMap::new() }
    }

    /// Until the socket is gone.
    pub(crate) async fn run(mut self, mut events: PeerEvents) {
        while let Some(event) = events.next().await {
            match event {
                ServerEvent::Join { join, topic, .. } => self.join(join, topic),
                ServerEvent::Push { channel, event, payload, reply } => {
                    let Some(topic) = self.topics.get(&channel) else { continue };
                    // What cannot be answered any more shows as `Left`.
                    if event == "ping" {
                        let _ = self.peer.reply(reply, Status::Ok, payload);
                    } else if event.starts_with("phx_") {
                        // Passed on, it would end the others' channels.
                        let _ = self.peer.reply(reply, Status::Error, reason("reserved event"));
                    } else {
                        let _ = self.peer.reply(reply, Status::Ok, Payload::EMPTY);
                        self.rooms.broadcast(&self.peer, topic, event, payload);
                        // The members' pumps get a turn before the next message.
                        future::yield_now().await;
                    }
                }
                ServerEvent::Left { channel } => {
                    if let Some(topic) = self.topics.remove(&channel) {
                        self.rooms.leave(&topic, self.peer.conn());
                    }
                }
                // The socket is being closed; nothing else concerns a room.
                _ => {}
            }
        }
        for topic in self.topics.values() {
            self.rooms.leave(topic, self.peer.conn());
        }
    }

    fn join(&mut self, join: JoinId, topic: Text) {
        if topic.is_empty() || topic == "phoenix" {
            // What cannot be refused is gone.
            let _ = self.peer.refuse_join(join, reason("no such topic"));
            return;
        }
        // Who has gone meanwhile is in no topic.
        if let Ok(channel) = self.rooms.enter(&topic, &self.peer, join) {
            self.topics.insert(channel, topic);
        }
    }
}

fn reason(text: &str) -> Payload {
    Payload::json(&BTreeMap::from([("reason", text)])).unwrap_or_default()
}
