//! One client of the embedded server: what it asks for, carried out in order.

use std::collections::BTreeMap;

use async_channel::Sender;
use futures_lite::future;
use rejoin_core::phoenix::{JoinId, ServerChannelId, ServerEvent, Status};
use rejoin_core::wire::Serializer;
use rejoin_core::{Payload, Text};
use rejoin_pump::{Peer, PeerEvents};

use super::rooms::{Member, Rooms};
use crate::host::Host;

pub(crate) struct Guest<'a, H> {
    host: &'a H,
    rooms: &'a Rooms,
    serializer: Serializer,
    peer: Peer,
    cut: Sender<()>,
    topics: BTreeMap<ServerChannelId, Text>,
}

impl<'a, H: Host> Guest<'a, H> {
    pub(crate) fn new(host: &'a H, rooms: &'a Rooms, serializer: Serializer, peer: Peer, cut: Sender<()>) -> Self {
        Self { host, rooms, serializer, peer, cut, topics: BTreeMap::new() }
    }

    /// Until the socket is gone.
    pub(crate) async fn run(mut self, mut events: PeerEvents) {
        while let Some(event) = events.next().await {
            match event {
                ServerEvent::Join { join, topic, .. } => self.join(join, topic).await,
                ServerEvent::Push { channel, event, payload, reply } => {
                    let Some(topic) = self.topics.get(&channel) else { continue };
                    // What cannot be answered any more shows as `Left`.
                    if event == "ping" {
                        let _ = self.peer.reply(reply, Status::Ok, payload).await;
                    } else if event.starts_with("phx_") {
                        // Passed on, it would end the others' channels.
                        let _ = self.peer.reply(reply, Status::Error, reason("reserved event")).await;
                    } else {
                        let _ = self.peer.reply(reply, Status::Ok, Payload::EMPTY).await;
                        self.rooms.broadcast(self.host, &self.peer, topic, event, payload).await;
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

    async fn join(&mut self, join: JoinId, topic: Text) {
        if topic.is_empty() || topic == "phoenix" {
            // What cannot be refused is gone.
            let _ = self.peer.refuse_join(join, reason("no such topic")).await;
            return;
        }
        self.rooms.enter(&topic, Member::new(self.peer.clone(), self.serializer, self.cut.clone()));
        match self.peer.accept_join(join, Payload::EMPTY).await {
            Ok(channel) => {
                self.rooms.seat(&topic, self.peer.conn(), channel);
                self.topics.insert(channel, topic);
            }
            Err(_) => self.rooms.leave(&topic, self.peer.conn()),
        }
    }
}

fn reason(text: &str) -> Payload {
    Payload::json(&BTreeMap::from([("reason", text)])).unwrap_or_default()
}
