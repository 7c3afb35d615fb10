//! Who may open a socket (section 1.5).

use std::time::Duration;

use rejoin_core::phoenix::serializer_of;
use rejoin_core::wire::Serializer;
use rejoin_core::{Text, Timestamp};

use super::config::{PeerConfig, Upgrades};
use super::token::{Claims, Flaw};

/// What an upgrade that succeeds says about its socket.
#[derive(Clone)]
pub struct Upgrade {
    /// How messages are written.
    pub serializer: Serializer,
    /// The key, which joins without a token run as.
    pub key: Text,
    /// Whether it is long-poll instead of a socket: text both ways, and polling is the sign of life.
    pub polls: bool,
}

/// Without the key.
impl std::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrade")
            .field("serializer", &self.serializer)
            .field("polls", &self.polls)
            .finish_non_exhaustive()
    }
}

/// The answer to an upgrade that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The body: `{"error": …}`, or nothing.
    pub body: String,
    /// How long the server lets the client wait for it.
    pub delay: Duration,
}

impl Refused {
    /// A refusal with a reason.
    #[must_use]
    pub fn new(status: u16, error: &str, delay: Duration) -> Self {
        Self { status, body: serde_json::json!({ "error": error }).to_string(), delay }
    }
}

impl PeerConfig {
    /// Looks at an upgrade request. The key is the header `x-api-key`, or else `apikey` in the
    /// query of `target`.
    ///
    /// # Errors
    /// If it is refused: as configured, or for an unknown `vsn` (at once, by Phoenix) or for its key.
    pub fn check_upgrade(&self, target: &str, headers: &[(Text, Text)], now: Timestamp) -> Result<Upgrade, Refused> {
        if let Upgrades::Refused(status) = self.upgrades {
            return Err(Refused::new(status, words(status), self.upgrade_delay));
        }
        let Ok(serializer) = serializer_of(target) else {
            return Err(Refused { status: 403, body: String::new(), delay: Duration::ZERO });
        };
        let refused = |error: &str| Refused::new(401, error, self.upgrade_delay);
        let key = key(target, headers).ok_or_else(|| refused("API key is missing"))?;
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        match Claims::of(&key, self.unix_seconds(now)) {
            Ok(_) => Ok(Upgrade { serializer, key, polls: path.ends_with("/longpoll") }),
            Err(Flaw::Expired { .. }) => Err(refused("Token has expired")),
            Err(flaw) => Err(refused(&flaw.to_string())),
        }
    }

    /// The wall clock, in seconds since 1970.
    pub(super) fn unix_seconds(&self, now: Timestamp) -> i64 {
        i64::try_from(self.unix(now).as_secs()).unwrap_or(i64::MAX)
    }

    /// The same, as time since 1970.
    pub(super) fn unix(&self, now: Timestamp) -> Duration {
        self.unix_epoch.saturating_add(now.saturating_since(Timestamp::ZERO))
    }

    /// When the wall clock shows so many seconds since 1970.
    pub(super) fn timestamp(&self, unix: i64) -> Timestamp {
        let since_epoch = Duration::from_secs(unix.unsigned_abs()).saturating_sub(self.unix_epoch);
        Timestamp::ZERO.saturating_add(since_epoch)
    }
}

/// What the server says with a status.
const fn words(status: u16) -> &'static str {
    match status {
        401 => "Failed to validate JWT signature",
        403 => "Realtime was disabled for this tenant",
        404 => "Tenant not found",
        429 => "Too many connected users",
        _ => "Error connecting to Realtime",
    }
}

fn key(target: &str, headers: &[(Text, Text)]) -> Option<Text> {
    let header = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-api-key"));
    let query = || {
        let (_, query) = target.split_once('?')?;
        let (_, key) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "apikey")?;
        Some(Text::from(&*key))
    };
    header.map(|(_, key)| key.clone()).or_else(query).filter(|key| !key.is_empty())
}
