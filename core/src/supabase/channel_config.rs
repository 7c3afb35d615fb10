//! What a channel is to do: plain data, checked before anything is sent.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::postgres::{FilterError, PostgresFilter};
use crate::text::Text;

/// What to subscribe to in a channel, and how. The default is a public channel for broadcasts.
///
/// Sources: specification, sections 4.3 (join payload), 5.1 (bindings) and 6.5 (replay).
///
/// ```
/// use rejoin_core::supabase::{ChannelConfig, PostgresBinding, PostgresEvent};
///
/// let todos = PostgresBinding::new(PostgresEvent::Insert).table("todos").filter("done=eq.false");
/// let config = ChannelConfig::default().private().broadcast_ack().postgres_changes(todos);
/// config.check()?;
/// # Ok::<(), rejoin_core::supabase::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelConfig {
    /// How broadcasts are sent and received.
    pub broadcast: BroadcastConfig,
    /// Whether to see who else is there. Default: no, which saves the server the most work.
    pub presence: PresenceConfig,
    /// The database changes to hear of; default none. Bindings that are equal are sent once.
    pub postgres_changes: Vec<PostgresBinding>,
    /// Whether the server shall answer the join only when database changes flow; default `None`: it
    /// answers at once and tells later. Servers up to 2.129.8 do not know this and answer at once.
    pub postgres_wait: Option<PostgresWait>,
    /// Whether the policies of the database decide who may join; default no. Public and private
    /// channels of one name are strangers to each other.
    pub private: bool,
    /// Whether to join as the API key's role even if there is a user's token; default no. Not on the wire.
    pub anonymous: bool,
    /// Whether to join again after the server has closed the channel. Not on the wire.
    pub rejoin: RejoinPolicy,
    /// Instead of the session's `join_timeout`. Not on the wire.
    pub join_timeout: Option<Duration>,
}

impl ChannelConfig {
    /// Asks the policies of the database who may join.
    #[must_use]
    pub const fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Joins as the API key's role, without a user's token.
    #[must_use]
    pub const fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Has the server confirm broadcasts: see [`BroadcastConfig::ack`].
    #[must_use]
    pub const fn broadcast_ack(mut self) -> Self {
        self.broadcast.ack = true;
        self
    }

    /// Has the server send our own broadcasts back, too: see [`BroadcastConfig::echo`].
    #[must_use]
    pub const fn broadcast_self(mut self) -> Self {
        self.broadcast.echo = true;
        self
    }

    /// Has the server wait for its feed of broadcasts: see [`BroadcastConfig::replication_ready`].
    #[must_use]
    pub const fn replication_ready(mut self) -> Self {
        self.broadcast.replication_ready = true;
        self
    }

    /// Asks for stored broadcasts when joining; the channel must be private.
    #[must_use]
    pub const fn replay(mut self, replay: Replay) -> Self {
        self.broadcast.replay = Some(replay);
        self
    }

    /// Takes part in presence under this key. With an empty key the server makes one up at each join.
    #[must_use]
    pub fn presence(mut self, key: impl Into<Text>) -> Self {
        let key = key.into();
        self.presence.enabled = true;
        self.presence.key = (!key.is_empty()).then_some(key);
        self
    }

    /// Hears of these database changes, too.
    #[must_use]
    pub fn postgres_changes(mut self, binding: PostgresBinding) -> Self {
        self.postgres_changes.push(binding);
        self
    }

    /// Has the server answer the join only when database changes flow.
    #[must_use]
    pub const fn postgres_wait(mut self, wait: PostgresWait) -> Self {
        self.postgres_wait = Some(wait);
        self
    }

    /// What to do when the server closes the channel.
    #[must_use]
    pub const fn rejoin(mut self, policy: RejoinPolicy) -> Self {
        self.rejoin = policy;
        self
    }

    /// How long the join may stay unanswered, instead of the session's `join_timeout`.
    #[must_use]
    pub const fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = Some(timeout);
        self
    }

    /// Looks for what a server would refuse, or accept and then ignore.
    ///
    /// # Errors
    /// The first such thing.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(replay) = &self.broadcast.replay {
            if !self.private {
                return Err(ConfigError::ReplayNeedsPrivate);
            }
            if let Some(limit) = replay.limit.filter(|limit| !(1..=25).contains(limit)) {
                return Err(ConfigError::ReplayLimit(limit));
            }
        }
        self.postgres_changes.iter().try_for_each(PostgresBinding::check)
    }

    /// The bindings in the order in which they are sent and in which the server answers, each once.
    pub(crate) fn distinct_bindings(&self) -> Vec<&PostgresBinding> {
        let mut distinct: Vec<&PostgresBinding> = Vec::with_capacity(self.postgres_changes.len());
        for binding in &self.postgres_changes {
            if !distinct.contains(&binding) {
                distinct.push(binding);
            }
        }
        distinct
    }
}

/// How broadcasts are sent and received. Everything is off by default, as it is on the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastConfig {
    /// Whether the server answers each broadcast that it accepts. Default no: broadcasts are quick
    /// and may be lost. What a private channel's policies forbid is never answered, even so.
    pub ack: bool,
    /// Whether our own broadcasts come back to this channel, too (`self` on the wire); default no.
    pub echo: bool,
    /// Stored broadcasts to get first; default none.
    pub replay: Option<Replay>,
    /// Whether the server waits, for up to 60 s, until broadcasts from the database reach it, and
    /// tells so by a system message; default no. If they do not, it closes the channel.
    pub replication_ready: bool,
}

/// Which stored broadcasts to get when joining. Servers store what the database has sent, for 72 h.
///
/// A broadcast that comes again, which its `id` tells, is not heard twice (specification, section 6.5).
/// Those of one transaction come in the reverse of the order in which they were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replay {
    /// Only broadcasts from this time on.
    pub since: UnixMillis,
    /// How many at most, the newest; 1 to 25. `None` is the server's default, 25.
    pub limit: Option<u8>,
    /// Whether a rejoin asks only for what is newer than the last sign of life before it, less 5 s;
    /// default yes. If the channel was lost within 10 s of its join, it asks for the same as that join,
    /// whose replay may be lost, too. It takes the host's wall clock to be about as right as the server's;
    /// after a clock that jumped, as behind a sleep of the host's, it asks for more rather than less. Not
    /// on the wire.
    pub resume: bool,
}

impl Replay {
    /// As many as the server gives, from this time on.
    #[must_use]
    pub const fn since(since: UnixMillis) -> Self {
        Self { since, limit: None, resume: true }
    }

    /// The newest `limit` of them, 1 to 25.
    #[must_use]
    pub const fn limit(mut self, limit: u8) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Asks for the same with every rejoin, whatever the clocks say.
    #[must_use]
    pub const fn without_resume(mut self) -> Self {
        self.resume = false;
        self
    }
}

/// A time of day in milliseconds since the Unix epoch: its own type, so that nobody passes seconds,
/// which a server takes for a day in January 1970 (specification, trap T58).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// So many milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// So many seconds after the epoch.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

/// Whether to see who else is in the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceConfig {
    /// Whether the server sends the presence state and its changes; default no.
    pub enabled: bool,
    /// What our own presence is listed under. With `None`, the default, the server makes up another
    /// key at each join.
    pub key: Option<Text>,
    /// Whether to be tracked again after each rejoin, by which the server forgets everybody; default
    /// yes. Not on the wire.
    pub retrack: bool,
}

impl Default for PresenceConfig {
    fn default() -> Self {
        Self { enabled: false, key: None, retrack: true }
    }
}

/// Which database changes to hear of. Start from [`PostgresBinding::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresBinding {
    /// Which kind of changes.
    pub event: PostgresEvent,
    /// Of which schema; default `public`, as on the server. `*` is every one.
    pub schema: Text,
    /// Of which table; default `None`: of every one in the schema.
    pub table: Option<Text>,
    /// Of which rows, such as `id=eq.7`; default `None`: of every one. Needs a table.
    /// [`PostgresFilter`] writes one with the right quotes.
    pub filter: Option<Text>,
    /// Which columns to send besides the primary key; default empty: every one. Needs a table.
    pub select: Vec<Text>,
}

impl PostgresBinding {
    /// Every change of one kind in the schema `public`.
    #[must_use]
    pub const fn new(event: PostgresEvent) -> Self {
        Self { event, schema: Text::from_static("public"), table: None, filter: None, select: Vec::new() }
    }

    /// In this schema.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<Text>) -> Self {
        self.schema = schema.into();
        self
    }

    /// In this table.
    #[must_use]
    pub fn table(mut self, table: impl Into<Text>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// In the rows that match.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Text>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// With these columns only, and the primary key.
    #[must_use]
    pub fn select<T: Into<Text>>(mut self, columns: impl IntoIterator<Item = T>) -> Self {
        self.select = columns.into_iter().map(Into::into).collect();
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        let any = |name: &Text| *name == "*";
        if self.filter.is_some() && self.table.is_none() {
            return Err(ConfigError::FilterNeedsTable);
        }
        if let Some(filter) = &self.filter {
            PostgresFilter::parse(filter).map_err(ConfigError::Filter)?;
        }
        if !self.select.is_empty() && (any(&self.schema) || self.table.as_ref().is_none_or(any)) {
            return Err(ConfigError::SelectNeedsTable);
        }
        Ok(())
    }
}

/// A kind of database changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PostgresEvent {
    /// Every kind (the default).
    #[default]
    All,
    /// Rows that came.
    Insert,
    /// Rows that changed.
    Update,
    /// Rows that went.
    Delete,
}

impl PostgresEvent {
    /// As it stands on the wire: `*`, `INSERT`, `UPDATE` or `DELETE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "*",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// How long the server shall keep a join's answer until database changes flow. Without a binding
/// there is nothing to wait for, and it is not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresWait {
    /// After this time, at most 20 s, the server refuses the join. `None` is its default, 15 s.
    pub timeout: Option<Duration>,
}

impl PostgresWait {
    /// As long as this, at most 20 s.
    #[must_use]
    pub const fn at_most(timeout: Duration) -> Self {
        Self { timeout: Some(timeout) }
    }
}

/// Whether to join again after a close that nobody here asked for (specification, section 4.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejoinPolicy {
    /// A closed channel stays closed.
    Never,
    /// If the server's last system message gives a reason that time or a fresh token can mend (the
    /// default): what it closes for good, it would close again.
    #[default]
    OnRetryableReason,
    /// Whatever the reason.
    Always,
}

/// What is wrong with a [`ChannelConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Replay on a public channel, for which nothing is stored.
    ReplayNeedsPrivate,
    /// A replay of none, or of more than 25 broadcasts.
    ReplayLimit(u8),
    /// A filter for no table in particular.
    FilterNeedsTable,
    /// A filter that servers do not understand: they would join the channel and tell no changes.
    Filter(FilterError),
    /// Columns of no table in particular.
    SelectNeedsTable,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReplayNeedsPrivate => {
                f.write_str("only private channels replay broadcasts; make the channel private or leave replay out")
            }
            Self::ReplayLimit(limit) => write!(f, "the replay limit is {limit}; give 1 to 25, or none"),
            Self::Filter(error) => error.fmt(f),
            Self::FilterNeedsTable => f.write_str("a filter of database changes needs a table; name it"),
            Self::SelectNeedsTable => {
                f.write_str("a choice of columns needs one schema and one table; name them instead of `*`")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Replay = Replay::since(UnixMillis::from_millis(1_795_194_803_337));

    #[test]
    fn replay_is_for_private_channels_and_up_to_25_broadcasts() {
        let config = ChannelConfig::default().replay(SINCE);
        assert_eq!(config.check(), Err(ConfigError::ReplayNeedsPrivate));
        assert_eq!(config.private().check(), Ok(()));
        for limit in 0..=u8::MAX {
            let expected = if (1..=25).contains(&limit) { Ok(()) } else { Err(ConfigError::ReplayLimit(limit)) };
            assert_eq!(ChannelConfig::default().private().replay(SINCE.limit(limit)).check(), expected);
        }
    }

    #[test]
    fn filters_and_columns_are_those_of_a_table() {
        let check = |binding| ChannelConfig::default().postgres_changes(binding).check();
        let all = || PostgresBinding::new(PostgresEvent::All);
        assert_eq!(check(all()), Ok(()));
        assert_eq!(check(all().schema("*").table("*")), Ok(()));
        assert_eq!(check(all().table("todos").filter("id=eq.7").select(["id", "task"])), Ok(()));
        assert_eq!(check(all().filter("id=eq.7")), Err(ConfigError::FilterNeedsTable));
        let unknown = FilterError::UnknownOperator("equals".into());
        assert_eq!(check(all().table("todos").filter("id=equals.7")), Err(ConfigError::Filter(unknown)));
        let error = check(all().table("todos").filter("name=eq.a,b")).unwrap_err();
        assert!(matches!(&error, ConfigError::Filter(FilterError::UnquotedComma(_))), "{error}");
        assert_eq!(check(all().select(["id"])), Err(ConfigError::SelectNeedsTable));
        assert_eq!(check(all().table("*").select(["id"])), Err(ConfigError::SelectNeedsTable));
        assert_eq!(check(all().schema("*").table("todos").select(["id"])), Err(ConfigError::SelectNeedsTable));
    }

    #[test]
    fn equal_bindings_are_one() {
        let todos = || PostgresBinding::new(PostgresEvent::All).table("todos");
        let notes = || PostgresBinding::new(PostgresEvent::All).table("notes");
        let some = todos().select(["id"]);
        let config = [todos(), notes(), todos(), some.clone(), notes()]
            .into_iter()
            .fold(ChannelConfig::default(), ChannelConfig::postgres_changes);
        assert_eq!(config.distinct_bindings(), [&todos(), &notes(), &some]);
    }

    #[test]
    fn a_time_in_seconds_is_not_taken_for_one_in_milliseconds() {
        assert_eq!(UnixMillis::from_secs(1_795_194_803), UnixMillis::from_millis(1_795_194_803_000));
        assert_eq!(UnixMillis::from_secs(u64::MAX).as_millis(), u64::MAX);
    }
}
