//! Supabase Realtime on top of Phoenix Channels: the client [`Session`].
//!
//! A [`Session`] owns a [`phoenix::Session`](crate::phoenix::Session) and adds what Supabase's servers
//! expect of their clients. Facts are from the `phoenix-supabase` specification, whose sections and
//! traps (T1 to T96) the documentation names.
//!
//! # What there is
//!
//! | job | asked for by | told by |
//! |---|---|---|
//! | rows as they change | [`ChannelConfig::postgres_changes`], with a [`PostgresFilter`] | [`Event::PostgresReady`], then [`Event::PostgresChange`] |
//! | broadcasts | [`Session::broadcast`] | [`Event::Broadcast`]; [`Event::PushDone`] for one's own |
//! | broadcasts of the past | [`ChannelConfig::replay`] | [`Event::Broadcast`], with [`BroadcastMeta::replayed`] |
//! | broadcasts without a channel | [`Session::http_broadcast`] | [`Event::HttpDone`] |
//! | who is there | [`ChannelConfig::presence`], [`Session::track`] | [`Event::Presence`], [`Session::presence`] |
//! | access tokens | [`Config::token_provider`], [`Session::set_auth`] | [`Request::Token`], [`Event::TokenRefreshed`] |
//! | long-poll | [`phoenix::Config::transport`](crate::phoenix::Config::transport) | [`Event::TransportChanged`] |
//!
//! # What comes back, and when
//!
//! Subscribed channels are the *wanted* ones: whatever happens, the session works towards being in
//! them, and every event about a failure says when it tries again ([`Retry`]).
//!
//! | what happens | event | what follows |
//! |---|---|---|
//! | the socket is lost, whatever the close code | `Disconnected`, `ChannelErrored` for each channel | 1, 2, 4, 8, 10 s with jitter; joins in pace; `Subscribed { again: true }`, `Gap` |
//! | a heartbeat stays unanswered | `Heartbeat(TimedOut)`, `Disconnected` | the same, without waiting for the dead socket |
//! | the upgrade is refused with 401, 403, 404 | `Disconnected` with [`UpgradeRefusal`] | the longest delay; 429 at least 30 s, and what `Retry-After` says |
//! | a join is refused for ever, such as `PrivateOnly` | `SubscribeFailed`, `ChannelClosed(Refused)` | nothing: change the configuration |
//! | a join is refused for its token, such as `Unauthorized` | `SubscribeFailed`, [`Retry::OnToken`] | the provider is asked; each token is tried once, the first new one at once, later ones after 2, 5, 10 s |
//! | a join is refused for rates, such as `ChannelRateLimitReached` | `SubscribeFailed` | at least 30 s, and fewer joins a second |
//! | a join is refused for now, such as `UnableToConnectToProject` | `SubscribeFailed` | 1, 2, 5, 10 s with jitter |
//! | the token expires while joined | `TokenExpired`, `System`, `ChannelErrored`, [`Retry::OnToken`] | as soon as there is another token |
//! | the server ends the channel for rates | `System`, `ChannelErrored` | at least 30 s |
//! | the server ends the channel without a reason | `ChannelClosed(ServerClosed)` | [`RejoinPolicy`] decides |
//! | the channel crashes, or the server has forgotten it | `ChannelErrored` | 1, 2, 5, 10 s with jitter, `Gap` |
//! | the answer to a join is for other database changes | `SubscribeFailed(BindingMismatch)`, `ChannelClosed(Refused)` | nothing: it would be the same again |
//! | database changes do not flow, or stop | `PostgresFailed` | the server goes on trying; `PostgresReady` |
//! | the server has forgotten who is tracked, as with every rejoin | none | tracked again, once, within the budget; members who left meanwhile leave with the next state |
//! | a presence message is not understood, or over a limit | `PresenceTrouble` | the next state makes good for it |
//! | the channel cannot send and HTTP may stand in | `FellBackToHttp` | `PushDone` with what came of the request |
//! | WebSockets bring nothing, and the transport is `Auto` | `TransportChanged` | long-poll; WebSocket again after 5 min, with the next connection |
//! | the provider of tokens fails | `TokenUnavailable` | the token in force until it expires; asked again after 1, 2, 5, 10, 30 s |
//! | `max_attempts`, `stop_codes` or `stop_statuses` | `Disconnected { retry_at: None }`, with the first also `GaveUp` | `connect` |
//!
//! Whoever must not miss a row or a message fetches what lies in the [`Event::Gap`] from the database
//! when it is told, and rows once more when [`Event::PostgresReady`] says since when changes may be
//! missing: a channel is joined before they flow.
//!
//! ```
//! use rejoin_core::Timestamp;
//! use rejoin_core::supabase::{Event, Retry};
//!
//! /// What an application does about each trouble: mostly nothing, as the session does it.
//! fn on(event: Event, fetch_since: impl Fn(Option<Timestamp>)) {
//!     match event {
//!         Event::PostgresReady { missed_since, .. } => fetch_since(missed_since),
//!         Event::Gap { since, .. } => fetch_since(Some(since)),
//!         // Only these wait for somebody.
//!         Event::SubscribeFailed { failure, retry: Retry::Never, .. } => eprintln!("{failure}"),
//!         Event::SubscribeFailed { failure, retry: Retry::OnToken, .. } => eprintln!("sign in: {failure}"),
//!         Event::GaveUp { attempts } => eprintln!("gave up after {attempts} attempts"),
//!         _ => {}
//!     }
//! }
//! # on(Event::Closed, |_| {});
//! ```

mod absorbing;
mod access_token;
mod auth;
mod bindings;
mod broadcast;
mod changes;
mod channel_config;
mod channels;
mod config;
mod envelope;
mod errors;
mod event;
mod extras;
mod http;
mod join;
mod postgres;
mod presence;
mod pushing;
mod refusal;
mod requests;
mod rest;
mod resuming;
mod session;
mod tokens;
mod tracking;

pub use access_token::{AccessToken, ApiKey, ApiKeyError, TokenError};
pub use bindings::{BindingMismatch, Bindings};
pub use broadcast::{Broadcast, Persist};
pub use channel_config::{
    BroadcastConfig, ChannelConfig, ConfigError, PostgresBinding, PostgresEvent, PostgresWait, PresenceConfig,
    RejoinPolicy, Replay, UnixMillis,
};
pub use config::{Config, KeyIn, LogLevel, SupabaseConfigError};
pub use errors::{AuthError, SubscribeError, TrackError};
pub use event::{
    ChannelState, CloseReason, Event, HeartbeatStatus, PostgresFailure, PresenceTrouble, Request, RequestId, Retry,
    SubscribeFailure, TokenFailure, TokenReason, Trouble,
};
pub use join::{TopicError, topic_of};
pub use postgres::{
    ChangeDetails, ChangeKind, Column, FilterCondition, FilterError, FilterIs, FilterOperator, FilterTest, FilterValue,
    PostgresChange, PostgresFilter, convert_record,
};
pub use refusal::{Refusal, RefusalClass, SystemMessage, UpgradeClass, UpgradeRefusal};
pub use rest::{HttpBroadcast, HttpBroadcastError, HttpFailure};
pub use resuming::BroadcastMeta;
pub use session::Session;
pub use tracking::PresenceBudget;
