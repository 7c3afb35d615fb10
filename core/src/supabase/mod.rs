//! Supabase Realtime on top of Phoenix Channels: the client [`Session`].
//!
//! A [`Session`] owns a [`phoenix::Session`](crate::phoenix::Session) and adds what Supabase's servers
//! expect of their clients. Facts are from the `phoenix-supabase` specification, whose sections and
//! traps (T1 to T96) the documentation names.

mod absorbing;
mod access_token;
mod auth;
mod broadcast;
mod channel_config;
mod channels;
mod config;
mod envelope;
mod event;
mod join;
mod refusal;
mod session;
mod tokens;

pub use access_token::{AccessToken, ApiKey, ApiKeyError, TokenError};
pub use broadcast::Broadcast;
pub use channel_config::{
    BroadcastConfig, ChannelConfig, ConfigError, PostgresBinding, PostgresEvent, PostgresWait, PresenceConfig,
    RejoinPolicy, Replay, UnixMillis,
};
pub use config::{Config, KeyIn, LogLevel, SupabaseConfigError};
pub use event::{
    ChannelState, CloseReason, Event, HeartbeatStatus, Request, Retry, SubscribeFailure, TokenFailure, TokenReason,
    Trouble,
};
pub use join::{TopicError, topic_of};
pub use refusal::{Refusal, RefusalClass, SystemMessage, UpgradeClass, UpgradeRefusal};
pub use session::{AuthError, Session, SubscribeError};
pub use tokens::RequestId;
