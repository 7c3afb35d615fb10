//! The bounds of a hub, and what it counts at them.

/// Configuration of a [`Hub`](super::Hub).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubConfig {
    /// Members of all topics together; default 1,000,000, which is 10,000 sockets with the 100 channels
    /// that each may have. There are never more topics than members.
    pub members: usize,
    /// How much presence there may be.
    pub presence: TrackLimits,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { members: 1_000_000, presence: TrackLimits::default() }
    }
}

/// How much presence there may be. What would be over a limit is refused with a
/// [`TrackError`](super::TrackError).
///
/// By default a topic's presence is within what [`phoenix::Presence`](crate::phoenix::Presence) keeps, and
/// a state of it within one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackLimits {
    /// Bytes of a key; default 255. A key may be any text, the empty one included.
    pub key_bytes: usize,
    /// Bytes of JSON that one meta may have; default 64 KiB.
    pub meta_bytes: usize,
    /// Keys under which one member is present; default 16.
    pub keys_per_member: usize,
    /// Members that are present under one key of a topic; default 1,000.
    pub metas_per_key: usize,
    /// Metas of one topic; default 10,000.
    pub metas: usize,
    /// Bytes of JSON that the metas of one topic have together with their keys; default 8 MiB.
    pub bytes: usize,
}

impl Default for TrackLimits {
    fn default() -> Self {
        Self {
            key_bytes: 255,
            meta_bytes: 64 << 10,
            keys_per_member: 16,
            metas_per_key: 1_000,
            metas: 10_000,
            bytes: 8 << 20,
        }
    }
}

/// What did not reach somebody, counted since the hub began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Messages that a member was not sent because its serializer cannot say them: bytes under vsn
    /// 1.0.0, or bytes with a topic or an event of more than 255 bytes.
    pub skipped: u64,
}
