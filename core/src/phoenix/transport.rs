//! Which transport the next dial uses: WebSocket, long-poll, or the one that works here.
//!
//! Falling back is a decision of the core's, so that one transport is active at a time and nobody is
//! stuck with the wrong one (specification, section 10.4 and failure row 61): a WebSocket that opens
//! and dies without a word counts like one that is refused, a server that is down sends nobody to
//! long-poll for good, and what an earlier session found out is a value that the host may keep.

use core::time::Duration;

use crate::machine::TransportKind;
use crate::time::Timestamp;

/// How a [`Session`](super::Session) reaches its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// By WebSocket (the default).
    #[default]
    WebSocket,
    /// By HTTP long-poll, for networks and servers that let no WebSocket through. Broadcasts travel
    /// as text, bytes and metadata of a broadcast not at all, and no heartbeats are sent: polling is the
    /// sign of life.
    LongPoll,
    /// By WebSocket, and by long-poll where three WebSocket attempts in a row delivered nothing.
    ///
    /// An attempt counts if it is refused, dies or stays silent for `after`; an early heartbeat gives a
    /// healthy server something to say. A long-poll that works is never cut, and five minutes after the
    /// fallback the next dial tries WebSocket once more. A long-poll that cannot be opened either
    /// leads back to WebSocket: the network is to blame. A `max_attempts` of less than three gives up
    /// before any of that.
    Auto {
        /// How long one WebSocket attempt may take, from dialling to its first message; 2.5 s is what
        /// phoenix.js takes.
        after: Duration,
    },
}

impl Transport {
    /// [`Transport::Auto`] with phoenix.js's 2.5 s.
    pub const AUTO: Self = Self::Auto { after: Duration::from_millis(2_500) };
}

/// WebSocket attempts in a row without a message that end in the fallback.
const PATIENCE: u32 = 3;

/// How long after a fallback WebSocket gets another chance.
const SECOND_CHANCE: Duration = Duration::from_secs(300);

/// The policy of [`Transport::Auto`]; for the other two it has nothing to decide.
#[derive(Debug)]
pub(super) struct Choice {
    /// How long a WebSocket attempt may take; `None` if there is nothing to choose.
    after: Option<Duration>,
    leaning: Leaning,
    /// Until when the present WebSocket attempt has to deliver its first message.
    deadline: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
enum Leaning {
    WebSocket {
        /// Attempts in a row that delivered nothing.
        failures: u32,
    },
    LongPoll {
        /// When a dial tries WebSocket again.
        back_at: Timestamp,
        /// Whether it was ever opened since the fallback.
        worked: bool,
    },
    /// One WebSocket attempt, long after the fallback.
    SecondChance {
        /// Whether long-poll was ever opened since the fallback.
        worked: bool,
    },
}

impl Choice {
    pub(super) fn new(transport: Transport, memory: TransportKind, now: Timestamp) -> Self {
        let (after, kind) = match transport {
            Transport::WebSocket => (None, TransportKind::WebSocket),
            Transport::LongPoll => (None, TransportKind::LongPoll),
            Transport::Auto { after } => (Some(after.max(Duration::from_millis(1))), memory),
        };
        let leaning = match kind {
            TransportKind::WebSocket => Leaning::WebSocket { failures: 0 },
            TransportKind::LongPoll => Leaning::LongPoll { back_at: now.saturating_add(SECOND_CHANCE), worked: false },
        };
        Self { after, leaning, deadline: None }
    }

    /// The kind of the present connection, or of the next one.
    pub(super) const fn kind(&self) -> TransportKind {
        match self.leaning {
            Leaning::WebSocket { .. } | Leaning::SecondChance { .. } => TransportKind::WebSocket,
            Leaning::LongPoll { .. } => TransportKind::LongPoll,
        }
    }

    /// An attempt begins.
    pub(super) fn dial(&mut self, now: Timestamp) {
        match self.leaning {
            Leaning::LongPoll { back_at, worked } if self.after.is_some() && back_at <= now => {
                self.leaning = Leaning::SecondChance { worked };
            }
            _ => {}
        }
        self.extend(now);
    }

    /// The attempt counts from now: it was kept waiting by us.
    pub(super) fn extend(&mut self, now: Timestamp) {
        let bound = self.after.filter(|_| self.kind() == TransportKind::WebSocket);
        self.deadline = bound.map(|after| now.saturating_add(after));
    }

    /// How long the attempt that begins may take, if the policy bounds it.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.after.filter(|_| self.kind() == TransportKind::WebSocket)
    }

    /// The connection is open, which proves a long-poll and nothing about a WebSocket.
    pub(super) const fn opened(&mut self) {
        if let Leaning::LongPoll { worked, .. } = &mut self.leaning {
            *worked = true;
        }
    }

    /// Whether the present WebSocket has delivered nothing yet.
    pub(super) const fn is_unheard(&self) -> bool {
        self.deadline.is_some()
    }

    /// The first message of a WebSocket has come: it works here.
    pub(super) const fn heard(&mut self) {
        self.deadline = None;
        self.leaning = Leaning::WebSocket { failures: 0 };
    }

    /// The connection, or the attempt at it, was lost.
    pub(super) fn lost(&mut self, now: Timestamp) {
        let unheard = self.deadline.take().is_some();
        let back_at = now.saturating_add(SECOND_CHANCE);
        self.leaning = match self.leaning {
            _ if self.after.is_none() => return,
            Leaning::WebSocket { failures } if unheard && failures + 1 < PATIENCE => {
                Leaning::WebSocket { failures: failures + 1 }
            }
            Leaning::WebSocket { .. } if unheard => Leaning::LongPoll { back_at, worked: false },
            Leaning::SecondChance { worked } if unheard => Leaning::LongPoll { back_at, worked },
            Leaning::LongPoll { worked: false, .. } => Leaning::WebSocket { failures: 0 },
            settled => settled,
        };
    }

    /// The connection, or the attempt at it, was given up by us, which says nothing about it.
    pub(super) const fn given_up(&mut self) {
        self.deadline = None;
    }

    /// When the present WebSocket attempt has been silent for too long.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TransportKind::{LongPoll, WebSocket};

    fn auto(memory: TransportKind) -> Choice {
        Choice::new(Transport::AUTO, memory, Timestamp::ZERO)
    }

    fn fail(choice: &mut Choice, now: Timestamp) -> TransportKind {
        choice.dial(now);
        let dialled = choice.kind();
        choice.lost(now);
        dialled
    }

    #[test]
    fn three_silent_websockets_in_a_row_lead_to_long_poll_and_one_that_spoke_starts_the_count_again() {
        let (mut choice, now) = (auto(WebSocket), Timestamp::ZERO);
        fail(&mut choice, now);
        fail(&mut choice, now);
        choice.dial(now);
        choice.opened();
        choice.heard();
        choice.lost(now);
        let dialled: [_; 4] = core::array::from_fn(|_| fail(&mut choice, now));
        assert_eq!(dialled, [WebSocket, WebSocket, WebSocket, LongPoll]);
        assert_eq!(choice.kind(), WebSocket, "long-poll failed too");
    }

    #[test]
    fn five_minutes_after_the_fallback_websocket_gets_one_try() {
        let mut choice = auto(LongPoll);
        let (early, late) = (Timestamp::from_millis(299_999), Timestamp::from_millis(300_000));
        choice.dial(early);
        choice.opened();
        choice.lost(early);
        assert_eq!(choice.kind(), LongPoll, "one that worked is dialled again");
        assert_eq!(fail(&mut choice, late), WebSocket);
        assert_eq!(fail(&mut choice, late), LongPoll);
        assert_eq!(choice.kind(), LongPoll, "it has worked before");
        let later = late.saturating_add(SECOND_CHANCE);
        choice.dial(later);
        choice.heard();
        choice.lost(later);
        assert_eq!(choice.kind(), WebSocket);
    }

    #[test]
    fn a_fixed_transport_is_never_left_and_has_no_deadline() {
        for (transport, kind) in [(Transport::WebSocket, WebSocket), (Transport::LongPoll, LongPoll)] {
            let mut choice = Choice::new(transport, LongPoll, Timestamp::ZERO);
            for seconds in 0..1_000 {
                assert_eq!(fail(&mut choice, Timestamp::from_millis(seconds * 1_000)), kind);
                choice.dial(Timestamp::ZERO);
                assert_eq!(choice.due(), None);
            }
        }
    }
}
