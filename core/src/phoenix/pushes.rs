//! The push table: where every accepted push is, until its one outcome.

use alloc::collections::BTreeMap;

use super::config::{Limits, Push, UserPush};
use super::ids::{ChannelId, PushId};
use crate::deadlines::Deadlines;
use crate::payload::Payload;
use crate::text::Text;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Pushes {
    table: BTreeMap<PushId, Entry>,
    by_ref: BTreeMap<u64, PushId>,
    deadlines: Deadlines<PushId>,
    last: u64,
    waiting: usize,
    waiting_bytes: usize,
    wanting_reply: usize,
    /// How many are sent and keep their payload to be sent again.
    kept: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) channel: ChannelId,
    pub(super) event: Text,
    pub(super) payload: Payload,
    pub(super) wants_reply: bool,
    /// Whether a loss before the reply sends it again.
    pub(super) resend: bool,
    pub(super) user_event: Option<UserPush>,
    pub(super) place: Place,
    /// Whether the transport has ever taken it, now or before a loss.
    pub(super) sent: bool,
    /// When it times out.
    until: Timestamp,
    /// Its registered deadline; a push that is as good as sent and wants no reply needs none.
    deadline: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In its channel's queue.
    Waiting,
    /// In the transport lane.
    Lane,
    /// Taken by the transport; its reply is to come.
    Sent { reference: u64 },
}

impl Pushes {
    pub(super) const fn new() -> Self {
        Self {
            table: BTreeMap::new(),
            by_ref: BTreeMap::new(),
            deadlines: Deadlines::new(),
            last: 0,
            waiting: 0,
            waiting_bytes: 0,
            wanting_reply: 0,
            kept: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_full(&self, wants_reply: bool, limits: &Limits) -> bool {
        wants_reply && self.wanting_reply >= limits.pending_replies
    }

    /// How many wait for their channel.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many are sent and may have to wait again.
    pub(super) const fn kept(&self) -> usize {
        self.kept
    }

    /// Whether a push of this size may wait besides those that do.
    pub(super) fn can_wait(&self, bytes: usize, limits: &Limits) -> bool {
        self.waiting < limits.send_buffer && self.waiting_bytes.saturating_add(bytes) <= limits.send_buffer_bytes
    }

    pub(super) fn insert(&mut self, channel: ChannelId, push: Push, until: Timestamp, place: Place) -> PushId {
        let id = self.reserve();
        let Push { event, payload, wants_reply, resend_on_reconnect, user_event, timeout: _ } = push;
        // What no reply settles is over when it is sent.
        let resend = resend_on_reconnect && wants_reply;
        self.wanting_reply += usize::from(wants_reply);
        let entry = Entry {
            channel,
            event,
            payload,
            wants_reply,
            resend,
            user_event,
            place: Place::Lane,
            sent: false,
            until,
            deadline: None,
        };
        self.table.insert(id, entry);
        self.set_place(id, place);
        id
    }

    /// An id that no push here will have.
    pub(super) const fn reserve(&mut self) -> PushId {
        self.last += 1;
        PushId(self.last)
    }

    pub(super) fn get(&self, id: PushId) -> Option<&Entry> {
        self.table.get(&id)
    }

    pub(super) fn by_ref(&self, reference: u64) -> Option<PushId> {
        self.by_ref.get(&reference).copied()
    }

    /// Moves a push, keeping counts, refs and deadline in step.
    pub(super) fn set_place(&mut self, id: PushId, place: Place) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        let size = entry.payload.len();
        match core::mem::replace(&mut entry.place, place) {
            Place::Waiting => (self.waiting, self.waiting_bytes) = (self.waiting - 1, self.waiting_bytes - size),
            Place::Sent { reference } => {
                self.by_ref.remove(&reference);
                self.kept -= usize::from(entry.resend);
            }
            Place::Lane => {}
        }
        match place {
            Place::Waiting => (self.waiting, self.waiting_bytes) = (self.waiting + 1, self.waiting_bytes + size),
            Place::Sent { reference } => {
                entry.sent = true;
                self.by_ref.insert(reference, id);
                if entry.resend {
                    self.kept += 1;
                } else {
                    // It will not be sent again, so nothing needs the payload.
                    entry.payload = Payload::EMPTY;
                }
            }
            Place::Lane => {}
        }
        let timed = entry.wants_reply || place == Place::Waiting;
        if timed != entry.deadline.is_some() {
            self.deadlines.set(id, &mut entry.deadline, timed.then_some(entry.until));
        }
    }

    pub(super) fn remove(&mut self, id: PushId) -> Option<Entry> {
        let mut entry = self.table.remove(&id)?;
        match entry.place {
            Place::Waiting => {
                (self.waiting, self.waiting_bytes) = (self.waiting - 1, self.waiting_bytes - entry.payload.len());
            }
            Place::Sent { reference } => {
                self.by_ref.remove(&reference);
                self.kept -= usize::from(entry.resend);
            }
            Place::Lane => {}
        }
        self.deadlines.set(id, &mut entry.deadline, None);
        self.wanting_reply -= usize::from(entry.wants_reply);
        Some(entry)
    }

    /// All pushes in the order in which they were accepted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PushId, &Entry)> {
        self.table.iter().map(|(id, entry)| (*id, entry))
    }

    pub(super) fn due(&self) -> Option<(Timestamp, PushId)> {
        self.deadlines.first()
    }
}
