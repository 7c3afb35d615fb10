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
    /// How much of what is broadcast is kept for members who were away; default `None`, nothing. Presence
    /// is never kept: a state says more than all the diffs before it.
    pub history: Option<HistoryLimits>,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { members: 1_000_000, presence: TrackLimits::default(), history: None }
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

/// How much of what is broadcast is kept. The oldest messages of a topic make room for the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryLimits {
    /// Messages of one topic; default 100.
    pub messages: usize,
    /// Bytes of the messages of one topic, as they are under vsn 2.0.0, and of their keys, each message
    /// counting 128 B more; default 1 MiB.
    pub bytes: usize,
    /// Bytes of the messages of all topics, counted alike; default 256 MiB. What is over it is taken from the
    /// topics without members, as with [`idle_topics`](Self::idle_topics), and then from the topic that
    /// speaks: no topic costs another one that has members its history.
    pub total_bytes: usize,
    /// Topics without members whose history is kept all the same; default 1,000. The one that has been
    /// without members for the longest time is forgotten first, and counted in
    /// [`HubStats::forgotten`].
    pub idle_topics: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { messages: 100, bytes: 1 << 20, total_bytes: 256 << 20, idle_topics: 1_000 }
    }
}

/// What was left out, counted since the hub began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Messages that a member was not sent because its serializer cannot say them: bytes under vsn
    /// 1.0.0, or bytes with a topic or an event of more than 255 bytes.
    pub skipped: u64,
    /// Histories of topics without members that had to make room, for another or for the bytes of all.
    /// Whoever comes back to such a topic recovers nothing.
    pub forgotten: u64,
}
