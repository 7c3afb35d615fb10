//! Who is in which topic, and how a message reaches them: encoded once a serializer, handed over
//! without waiting for anybody's socket.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_channel::Sender;
use rejoin_core::phoenix::ServerChannelId;
use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{ConnId, Frame, Payload, Text};
use rejoin_pump::{Peer, TrySendError};

use super::lock;
use crate::host::Host;

/// Messages that may arrive while a member's join is being answered.
const MEANWHILE: usize = 1_024;
/// A member's pump that does not run (not its socket, which has a buffer of its own) is looked at
/// again this often before it is cut off: a busy machine must not cost anybody their connection.
const PATIENCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub(crate) struct Rooms {
    topics: Mutex<BTreeMap<Text, Room>>,
    /// Binary messages that were not sent to members whose serializer knows none.
    skipped: AtomicU64,
    cut_off: AtomicU64,
}

type Room = BTreeMap<ConnId, Member>;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    peer: Peer,
    serializer: Serializer,
    /// Drops the socket.
    cut: Sender<()>,
    seat: Seat,
}

#[derive(Clone, Debug)]
enum Seat {
    /// The join is being answered; what is said meanwhile follows the answer.
    Entering(Vec<Frame>),
    Taken(ServerChannelId),
}

impl Member {
    pub(crate) const fn new(peer: Peer, serializer: Serializer, cut: Sender<()>) -> Self {
        Self { peer, serializer, cut, seat: Seat::Entering(Vec::new()) }
    }

    /// `Err` if the member has to be tried again.
    fn hand_over(&mut self, frame: Frame) -> Result<(), Late> {
        match &mut self.seat {
            Seat::Entering(meanwhile) if meanwhile.len() < MEANWHILE => meanwhile.push(frame),
            Seat::Entering(_) => self.cut_off(),
            Seat::Taken(channel) => match self.peer.try_push_encoded(*channel, frame.clone()) {
                // One that is gone has left or is about to.
                Ok(()) | Err(TrySendError::Closed) => {}
                Err(_) => return Err(Late { member: self.clone(), frame }),
            },
        }
        Ok(())
    }

    fn cut_off(&self) {
        // Full means that it is being cut.
        let _ = self.cut.try_send(());
    }
}

/// A member whose queue was full, and what it has to get.
struct Late {
    member: Member,
    frame: Frame,
}

impl Rooms {
    /// From now on the member misses nothing.
    pub(crate) fn enter(&self, topic: &Text, member: Member) {
        self.topics().entry(topic.clone()).or_default().insert(member.peer.conn(), member);
    }

    /// The member's join was answered.
    pub(crate) fn seat(&self, topic: &Text, conn: ConnId, channel: ServerChannelId) {
        let mut topics = self.topics();
        let Some(member) = topics.get_mut(topic).and_then(|room| room.get_mut(&conn)) else { return };
        let before = std::mem::replace(&mut member.seat, Seat::Taken(channel));
        let Seat::Entering(meanwhile) = before else { return };
        for frame in meanwhile {
            if member.hand_over(frame).is_err() {
                return member.cut_off();
            }
        }
    }

    pub(crate) fn leave(&self, topic: &Text, conn: ConnId) {
        let mut topics = self.topics();
        let Some(room) = topics.get_mut(topic) else { return };
        room.remove(&conn);
        if room.is_empty() {
            topics.remove(topic);
        }
    }

    /// Sends a message to everybody in the topic but its sender.
    pub(crate) async fn broadcast<H: Host>(
        &self,
        host: &H,
        sender: &Peer,
        topic: &Text,
        event: Text,
        payload: Payload,
    ) {
        let message = Message::new(topic.clone(), event, payload);
        for late in self.hand_out(sender.conn(), topic, &message) {
            self.insist(host, late).await;
        }
    }

    fn hand_out(&self, sender: ConnId, topic: &Text, message: &Message) -> Vec<Late> {
        let (mut v1, mut v2) = (None, None);
        let mut late = Vec::new();
        let mut topics = self.topics();
        let Some(room) = topics.get_mut(topic) else { return late };
        for member in room.values_mut().filter(|member| member.peer.conn() != sender) {
            let encoded = if member.serializer == Serializer::V1 { &mut v1 } else { &mut v2 };
            match encoded.get_or_insert_with(|| member.serializer.encode_from_server(message).ok()) {
                Some(frame) => late.extend(member.hand_over(frame.clone()).err()),
                None => drop(self.skipped.fetch_add(1, Ordering::Relaxed)),
            }
        }
        late
    }

    async fn insist<H: Host>(&self, host: &H, Late { mut member, mut frame }: Late) {
        for _ in 0..PATIENCE {
            host.sleep(PAUSE).await;
            match member.hand_over(frame) {
                Ok(()) => return,
                Err(late) => frame = late.frame,
            }
        }
        self.cut_off.fetch_add(1, Ordering::Relaxed);
        member.cut_off();
    }

    /// Says on stderr what did not reach its readers.
    pub(crate) fn report(&self) {
        let (skipped, cut_off) = (self.skipped.load(Ordering::Relaxed), self.cut_off.load(Ordering::Relaxed));
        if skipped > 0 {
            eprintln!("{skipped} binary messages were not sent to clients of vsn 1.0.0, which has none");
        }
        if cut_off > 0 {
            eprintln!("{cut_off} clients were cut off because they did not keep up");
        }
    }

    fn topics(&self) -> MutexGuard<'_, BTreeMap<Text, Room>> {
        lock(&self.topics)
    }
}
