//! What a channel has that does more than broadcast: database changes, presence, replay.
//!
//! Most channels have none of it, so it lies in a box of its own.

use super::bindings::Subscription;
use super::channel_config::ChannelConfig;
use super::config::Config;
use super::resuming::Resuming;
use super::tracking::Tracking;
use crate::phoenix::Presence;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Extras {
    pub(super) postgres: Option<Postgres>,
    pub(super) presence: Option<Members>,
    pub(super) resuming: Option<Resuming>,
    /// When one of them wants to be looked after; kept with those of the other channels.
    pub(super) deadline: Option<Timestamp>,
}

impl Extras {
    /// `None` if the channel has nothing of the kind.
    pub(super) fn new(config: &ChannelConfig, session: &Config) -> Option<Self> {
        let postgres = Subscription::new(config).map(Postgres::new);
        let presence = config.presence.enabled.then(|| Members {
            presence: Presence::new(session.presence_limits.clone()),
            lifetime: 0,
            tracking: Tracking::new(config.presence.retrack, session.presence_budget),
        });
        let resuming = Resuming::new(config);
        let any = postgres.is_some() || presence.is_some() || resuming.is_some();
        any.then_some(Self { postgres, presence, resuming, deadline: None })
    }

    /// When there is something to do for a channel that is joined, or not.
    pub(super) fn due(&self, joined: bool) -> Option<Timestamp> {
        let ready = self.postgres.as_ref().and_then(|postgres| postgres.readiness.due());
        let tracking = self.presence.as_ref().and_then(|presence| presence.tracking.call_due());
        [ready, tracking].into_iter().flatten().min().filter(|_| joined)
    }
}

/// The database changes of a channel.
#[derive(Debug)]
pub(super) struct Postgres {
    pub(super) subscription: Subscription,
    pub(super) readiness: Readiness,
    /// Since when changes may be missing that will never come.
    pub(super) missed_since: Option<Timestamp>,
    /// How many words about their flow were told since the join, repetitions included.
    pub(super) words: u32,
}

impl Postgres {
    const fn new(subscription: Subscription) -> Self {
        Self { subscription, readiness: Readiness::Unknown, missed_since: None, words: 0 }
    }
}

/// Whether database changes flow, which takes a while longer than to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The server has not said anything, and is not expected to.
    Unknown,
    /// It should say something until then.
    Awaited { until: Timestamp },
    /// It has said that there is trouble, or nothing in time.
    Failed,
    /// Changes flow.
    Ready,
}

impl Readiness {
    const fn due(self) -> Option<Timestamp> {
        match self {
            Self::Awaited { until } => Some(until),
            Self::Unknown | Self::Failed | Self::Ready => None,
        }
    }
}

/// Who is in a channel, and what this client wants to be there.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) presence: Presence,
    /// Which of the channel's joins this is.
    pub(super) lifetime: u64,
    pub(super) tracking: Tracking,
}
