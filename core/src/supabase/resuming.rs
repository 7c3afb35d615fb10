//! Replayed broadcasts are heard once, and a rejoin asks only for what it may have missed.
//!
//! A server replays the newest stored broadcasts since a time, at each join anew, and knows nothing of
//! what an earlier join was given (specification, section 6.5 and trap T57).

use alloc::borrow::Cow;
use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

use serde::Deserialize;

use super::channel_config::{ChannelConfig, Replay, UnixMillis};
use crate::payload::Payload;
use crate::text::Text;
use crate::time::Timestamp;

/// How many ids are remembered; a server replays no more than 25 at a time.
const REMEMBERED: usize = 1024;
/// A server's ids are UUIDs. In a text broadcast the sender can write a `meta` of its own, of any size.
const ID_BYTES: usize = 255;
/// How long a server may take to replay, once it has answered the join. If the channel is lost sooner,
/// nobody knows what of it came.
const DELIVERY: Duration = Duration::from_secs(10);
/// How much earlier than the last sign of life a rejoin asks: what was on its way then, and clocks that
/// differ a little.
const MARGIN: Duration = Duration::from_secs(5);

/// What a server says about a broadcast besides what its sender does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastMeta {
    /// Its name among stored broadcasts; `None` if it is not stored.
    pub id: Option<Text>,
    /// Whether it is of the past, and came because the channel was joined with a [`Replay`].
    pub replayed: bool,
}

impl BroadcastMeta {
    /// Reads the `meta` of a broadcast. What is missing or of another type is `None` or false.
    #[must_use]
    pub fn of(meta: &Payload) -> Self {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow, default)]
            id: Option<Cow<'a, str>>,
            #[serde(default)]
            replayed: Option<bool>,
        }
        let Ok(wire) = meta.parse::<Wire<'_>>() else { return Self::default() };
        Self { id: wire.id.map(|id| id.as_ref().into()), replayed: wire.replayed == Some(true) }
    }
}

/// A channel that asks for stored broadcasts.
#[derive(Debug)]
pub(super) struct Resuming {
    config: ChannelConfig,
    replay: Replay,
    /// Until when everything was heard, as the last join had it; `None` if it asked for all.
    pub(super) heard_until: Option<Duration>,
    /// When a join was last answered.
    pub(super) joined_at: Timestamp,
    seen: BTreeSet<Text>,
    order: VecDeque<Text>,
}

impl Resuming {
    /// `None` if the channel asks for none.
    pub(super) fn new(config: &ChannelConfig) -> Option<Self> {
        let replay = config.broadcast.replay?;
        let (seen, order) = (BTreeSet::new(), VecDeque::new());
        Some(Self { config: config.clone(), replay, heard_until: None, joined_at: Timestamp::ZERO, seen, order })
    }

    /// Whether all was replayed that the last join had asked for, if the channel was lost then.
    pub(super) fn is_delivered(&self, lost: Timestamp) -> bool {
        lost >= self.joined_at.saturating_add(DELIVERY)
    }

    /// The `config` of a rejoin, if nothing can be missing from before `heard_until`.
    pub(super) fn config_since(&self, heard_until: Duration) -> Option<Text> {
        if !self.replay.resume {
            return None;
        }
        let since = u64::try_from(heard_until.saturating_sub(MARGIN).as_millis()).ok()?;
        let since = UnixMillis::from_millis(since).max(self.replay.since);
        let mut config = self.config.clone();
        config.broadcast.replay = Some(Replay { since, ..self.replay });
        Some(config.to_json())
    }

    /// Whether this broadcast has been heard before; remembers it.
    pub(super) fn is_repeated(&mut self, meta: &Payload) -> bool {
        let Some(id) = BroadcastMeta::of(meta).id.filter(|id| id.as_bytes().len() <= ID_BYTES) else { return false };
        if !self.seen.insert(id.clone()) {
            return true;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        false
    }
}
