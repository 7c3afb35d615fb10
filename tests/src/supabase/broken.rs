//! Servers that are broken in one way each: for whoever has to find out what is wrong.

use super::config::{Joins, PeerConfig, PresenceState, Readiness, Upgrades};

/// One way to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The connection is accepted, and that is all.
    Unanswered,
    /// Upgrades are refused with this status.
    Upgrade(u16),
    /// Heartbeats are not answered.
    Heartbeats,
    /// Joins are refused.
    JoinRefused,
    /// Joins are not answered.
    JoinUnanswered,
    /// Broadcasts are acknowledged, and come back to nobody who wants his own.
    Broadcasts,
    /// Nobody is told who is present.
    Presence,
    /// Changes of the database cannot be subscribed to, and the server says so.
    PostgresFailed,
    /// The same, and it does not say so.
    PostgresNeverReady,
}

impl Broken {
    /// Every way, with each status that refuses upgrades (section 1.5).
    pub const ALL: [Self; 13] = [
        Self::Unanswered,
        Self::Upgrade(401),
        Self::Upgrade(403),
        Self::Upgrade(404),
        Self::Upgrade(429),
        Self::Upgrade(500),
        Self::Heartbeats,
        Self::JoinRefused,
        Self::JoinUnanswered,
        Self::Broadcasts,
        Self::Presence,
        Self::PostgresFailed,
        Self::PostgresNeverReady,
    ];

    /// A server of this configuration, broken.
    #[must_use]
    pub fn breaks(self, mut config: PeerConfig) -> PeerConfig {
        match self {
            Self::Unanswered => config.upgrades = Upgrades::Unanswered,
            Self::Upgrade(status) => config.upgrades = Upgrades::Refused(status),
            Self::Heartbeats => config.answers_heartbeats = false,
            Self::JoinRefused => {
                let reason = "UnableToConnectToProject: Realtime was unable to connect to the project database";
                config.joins = Joins::Refused(reason.into());
            }
            Self::JoinUnanswered => config.joins = Joins::Unanswered,
            Self::Broadcasts => config.returns_broadcasts = false,
            Self::Presence => config.presence_state = PresenceState::Never,
            Self::PostgresFailed => {
                let message = "Unable to subscribe to changes with given parameters. Please check Realtime is enabled \
                               for the given connect parameters: [event: *, schema: public, table: todos, filters: \
                               [], select: nil]";
                config.readiness = Readiness::Failing(message.into());
            }
            Self::PostgresNeverReady => config.readiness = Readiness::Never,
        }
        config
    }
}
