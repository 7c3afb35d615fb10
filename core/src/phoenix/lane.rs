//! What waits for the transport, as intentions: a frame is written when it is handed over.
//!
//! So a join carries the payload that is current when it leaves, every frame gets its ref at the
//! moment of sending, and what a lost connection never took is known to be unsent.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::ids::{ChannelId, PushId};
use crate::machine::{ConnId, ConnectRequest};
use crate::text::Text;

#[derive(Debug)]
pub(super) enum Outgoing {
    /// Boxed, for it is the largest and the rarest, and a lane of joins is long.
    Open(Box<ConnectRequest>),
    Close {
        conn: ConnId,
        code: u16,
        reason: Text,
    },
    Abort {
        conn: ConnId,
    },
    Heartbeat,
    Join(ChannelId),
    Leave {
        topic: Text,
        join_ref: u64,
    },
    Push(PushId),
    /// A message of the dialect's own, which says what is in it when it leaves.
    Notice(ChannelId),
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: VecDeque<Outgoing>,
    pushes: usize,
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn pushes(&self) -> usize {
        self.pushes
    }

    pub(super) fn send(&mut self, outgoing: Outgoing) {
        self.pushes += usize::from(matches!(outgoing, Outgoing::Push(_)));
        self.queue.push_back(outgoing);
    }

    /// Ahead of everything that waits: heartbeats do not queue.
    pub(super) fn send_first(&mut self, outgoing: Outgoing) {
        self.queue.push_front(outgoing);
    }

    /// Drops a connection, ahead of everything that waits. One that the transport was never asked
    /// for is not asked for any more, and one that is dropped needs no close frame.
    pub(super) fn abort(&mut self, conn: ConnId) {
        let opening = |o: &Outgoing| matches!(o, Outgoing::Open(request) if request.conn == conn);
        let unopened = self.queue.iter().any(opening);
        self.queue.retain(|o| !opening(o) && !matches!(o, Outgoing::Close { conn: closing, .. } if *closing == conn));
        if !unopened {
            self.send_first(Outgoing::Abort { conn });
        }
    }

    pub(super) fn head(&self) -> Option<&Outgoing> {
        self.queue.front()
    }

    pub(super) fn drop_join(&mut self, id: ChannelId) {
        self.queue.retain(|outgoing| !matches!(outgoing, Outgoing::Join(other) if *other == id));
    }

    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        let outgoing = self.queue.pop_front()?;
        self.pushes -= usize::from(matches!(outgoing, Outgoing::Push(_)));
        Some(outgoing)
    }

    /// The connection is gone: whatever was to be sent on it is not.
    pub(super) fn drop_frames(&mut self) {
        self.queue.retain(|o| matches!(o, Outgoing::Open(_) | Outgoing::Close { .. } | Outgoing::Abort { .. }));
        self.pushes = 0;
    }

    /// Takes out the pushes for which `stays` is false.
    pub(super) fn retain_pushes(&mut self, mut stays: impl FnMut(PushId) -> bool) {
        self.queue.retain(|outgoing| !matches!(outgoing, Outgoing::Push(push) if !stays(*push)));
        self.pushes = self.queue.iter().filter(|outgoing| matches!(outgoing, Outgoing::Push(_))).count();
    }

    pub(super) fn first_push(&self) -> Option<PushId> {
        self.queue.iter().find_map(|outgoing| match outgoing {
            Outgoing::Push(push) => Some(*push),
            _ => None,
        })
    }
}
