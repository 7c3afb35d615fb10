//! Every push has one outcome, and one that is true.

use std::collections::BTreeMap;
use std::fmt;

use rejoin_core::phoenix::{PushId, PushOutcome};

/// What is known of pushes from outside.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    logs: BTreeMap<PushId, Log>,
}

#[derive(Clone, Copy, Debug)]
struct Log {
    way: Way,
    sent: bool,
    done: bool,
}

/// Which way a push goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Over the socket.
    Socket {
        /// Whether the outcome is the server's word.
        wants_reply: bool,
        /// Whether it is sent again after a loss.
        resent: bool,
    },
    /// As a wish about presence, over the socket when and as often as it has to be.
    Wish,
    /// Over HTTP.
    Http,
    /// Over HTTP instead of the socket.
    FellBack,
}

impl Pushes {
    pub(super) fn begins(&mut self, push: PushId, way: Way) -> Result<(), String> {
        match self.logs.insert(push, Log { way, sent: false, done: false }) {
            None => Ok(()),
            Some(_) => Err(format!("S2: {push:?} is given out twice")),
        }
    }

    pub(super) fn sent(&mut self, push: PushId) -> Result<(), String> {
        self.moves(push, &"is sent", |log| {
            let may = match log.way {
                Way::Socket { wants_reply, resent } => wants_reply && (resent || !log.sent),
                Way::Wish => true,
                Way::Http | Way::FellBack => false,
            };
            log.sent = true;
            may
        })
    }

    pub(super) fn done(&mut self, push: PushId, outcome: &PushOutcome) -> Result<(), String> {
        self.moves(push, &format_args!("ends as {outcome:?}"), |log| {
            log.done = true;
            match (outcome, log.way) {
                (_, Way::Http) => false,
                (PushOutcome::Sent, way) => matches!(way, Way::Socket { wants_reply: false, .. }),
                // What the server shows already, or has forgotten, need not be said.
                (_, Way::FellBack) | (PushOutcome::Ok(_), Way::Wish) => true,
                (PushOutcome::Ok(_) | PushOutcome::Error(_) | PushOutcome::Other { .. }, way) => {
                    log.sent && !matches!(way, Way::Socket { wants_reply: false, .. })
                }
                (PushOutcome::Unknown, _) => log.sent,
                (PushOutcome::Dropped, _) => !log.sent,
                _ => true,
            }
        })
    }

    pub(super) fn falls_back(&mut self, push: PushId) -> Result<(), String> {
        self.moves(push, &"falls back", |log| {
            let before = std::mem::replace(&mut log.way, Way::FellBack);
            matches!(before, Way::Socket { .. }) && !log.sent
        })
    }

    pub(super) fn done_over_http(&mut self, push: PushId) -> Result<(), String> {
        self.moves(push, &"is done over HTTP", |log| {
            log.done = true;
            log.way == Way::Http
        })
    }

    pub(super) fn last(&self) -> Option<PushId> {
        self.logs.keys().last().copied()
    }

    /// Those without an outcome.
    pub(super) fn open(&self) -> impl Iterator<Item = PushId> {
        self.logs.iter().filter(|(_, log)| !log.done).map(|(push, _)| *push)
    }

    /// How many requests are on their way.
    pub(super) fn over_http(&self) -> usize {
        self.logs.values().filter(|log| !log.done && matches!(log.way, Way::Http | Way::FellBack)).count()
    }

    /// Something happens to a push that is not over, and may.
    fn moves(
        &mut self,
        push: PushId,
        what: &dyn fmt::Display,
        may: impl FnOnce(&mut Log) -> bool,
    ) -> Result<(), String> {
        let Some(log) = self.logs.get_mut(&push).filter(|log| !log.done) else {
            return Err(format!("S2: {push:?} {what}, which is over, or never was"));
        };
        let before = *log;
        if may(log) { Ok(()) } else { Err(format!("S2: {push:?} {what}, but {before:?}")) }
    }
}
