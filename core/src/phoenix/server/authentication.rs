//! What the host says about its client, and what time does to it: authentication, refusal, expiry.

use alloc::vec::Vec;

use super::access::Access;
use super::event::{EndReason, ServerEvent};
use super::{ServerSession, reason};
use crate::machine::Frame;
use crate::slab::Key;
use crate::text::Text;
use crate::time::Timestamp;
use crate::wire;

/// The close code of a policy violation (RFC 6455, section 7.4.1).
const POLICY: u16 = 1008;

impl ServerSession {
    /// Says that the client is who it claims to be, until `expires_at`; `None` is for ever. What it has
    /// sent meanwhile is heard now.
    ///
    /// A call for a client that is already authenticated is a refresh of its token: the new time
    /// counts, and its warning is still to come. A time that is past closes the socket at once, with
    /// nothing heard.
    pub fn authenticate(&mut self, now: Timestamp, expires_at: Option<Timestamp>) {
        self.advance(now);
        if !self.is_open() {
            return;
        }
        let granted = Access::Granted { expires_at, warned: false };
        let before = core::mem::replace(&mut self.access, granted);
        self.check_access();
        if let Access::Awaited { held, .. } = before {
            held.into_iter().for_each(|frame| self.hear(frame));
        }
    }

    /// Turns the client away after the upgrade, usually with 1008: it is not who it claims to be. What it
    /// has sent is not heard, and [`ServerEvent::Ended`] follows after at most `close_timeout`. The reason
    /// is as in [`close`](Self::close).
    pub fn refuse(&mut self, now: Timestamp, code: u16, reason: impl Into<Text>) {
        self.advance(now);
        self.close_with(code, reason.into(), EndReason::Refused);
    }

    /// Keeps a frame until the client is authenticated.
    pub(super) fn hold(&mut self, frame: Frame) {
        let Access::Awaited { held, bytes, .. } = &mut self.access else { return };
        *bytes += frame.len();
        held.push(frame);
        if held.len() > self.config.held_frames || *bytes > self.config.held_bytes {
            let reason = Text::from_static("too much before authentication");
            self.close_with(POLICY, reason, EndReason::TooEager);
        }
    }

    /// Gives up what is held; says of how many frames.
    pub(super) fn release_held(&mut self) -> usize {
        match core::mem::replace(&mut self.access, Access::GRANTED) {
            Access::Awaited { held, .. } => held.len(),
            Access::Granted { .. } => 0,
        }
    }

    /// What the time has done to the client's access.
    pub(super) fn check_access(&mut self) {
        if self.access.deadline(&self.config).is_none_or(|at| self.now < at) {
            return;
        }
        match &mut self.access {
            Access::Awaited { .. } => {
                let reason = Text::from_static("not authenticated in time");
                self.close_with(POLICY, reason, EndReason::Unauthenticated);
            }
            Access::Granted { expires_at: Some(at), warned } if self.now < *at => {
                *warned = true;
                self.events.push_back(ServerEvent::Expiring { expires_at: *at });
            }
            Access::Granted { .. } => self.expire(),
        }
    }

    fn expire(&mut self) {
        let keys: Vec<Key> = self.channels.iter().map(|(key, _)| key).collect();
        for channel in keys.into_iter().filter_map(|key| self.remove_channel(key)).collect::<Vec<_>>() {
            self.send_end(&channel, wire::ERROR, reason("token_expired"));
        }
        self.close_with(POLICY, Text::from_static("token expired"), EndReason::Expired);
    }
}
