//! Supabase Realtime on top of Phoenix Channels: broadcast, presence and database changes.
#![expect(dead_code, reason = "the session is to use what is pub(crate) here")]

mod access_token;
mod channel_config;
mod config;
mod join;
mod refusal;

pub use access_token::{AccessToken, ApiKey, ApiKeyError, TokenError};
pub use channel_config::{
    BroadcastConfig, ChannelConfig, ConfigError, PostgresBinding, PostgresEvent, PostgresWait, PresenceConfig,
    RejoinPolicy, Replay, UnixMillis,
};
pub use config::{Config, KeyIn, LogLevel, SupabaseConfigError};
pub use join::{TopicError, topic_of};
pub use refusal::{Refusal, RefusalClass, SystemMessage, UpgradeClass, UpgradeRefusal};
