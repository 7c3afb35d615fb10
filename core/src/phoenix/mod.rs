//! Phoenix Channels: the client [`Session`] and its peer, the [`ServerSession`].
//!
//! Both speak over a WebSocket or over HTTP long-poll, of which [`LongPoll`] and [`LongPollPeer`] are the
//! halves; [`Config::transport`] chooses. Who is present in a channel is told by its messages, and
//! [`Presence`] understands them.
//!
//! Whether a client may come in at all is decided before there is a `ServerSession`, by an
//! [`UpgradeConfig`]. What the sockets of a server share is the [`hub`](crate::hub)'s.

mod channel;
mod config;
mod connection;
mod embedding;
mod endpoint;
mod event;
mod heartbeat;
mod ids;
mod inbound;
mod joining;
mod lane;
mod linking;
mod longpoll;
mod pacing;
mod presence;
mod pushes;
mod sending;
mod server;
mod session;
mod transport;
mod upgrade;

pub use channel::ChannelState;
pub(crate) use config::UserPush;
pub use config::{Config, JoinOptions, Limits, Overflow, Push};
pub use connection::ConnectionState;
pub(crate) use embedding::NextUp;
pub(crate) use endpoint::percent_encode;
pub use endpoint::{Endpoint, EndpointError};
pub(crate) use event::is_unmatched;
pub use event::{
    CloseReason, Event, JoinError, JoinFailure, LossReason, PushError, PushOutcome, Stats, TroubleCause, UnknownChannel,
};
pub use ids::{ChannelId, JoinId, PushId, ReplyTo, ServerChannelId};
pub use longpoll::{
    LongPoll, LongPollBody, LongPollCall, LongPollConfig, LongPollPeer, LongPollResponse, LongPollStats,
};
pub use presence::{Meta, Presence, PresenceChange, PresenceChanges, PresenceError, PresenceLimits};
pub use server::{
    AUTH_TIMEOUT, EndReason, Limit, OnMalformed, OutboxOverflow, PLACE_BYTES, RateLimit, ServerConfig, ServerEvent,
    ServerPushError, ServerSession, ServerStats, SharedFrame, StaleHandle, Status,
};
pub use session::Session;
pub use transport::Transport;
pub use upgrade::{
    Admission, AllowedOrigin, Decision, OriginError, OriginPolicy, Params, RequestHead, ResponseHead, Token,
    TokenSource, UnsupportedVsn, Upgrade, UpgradeConfig, serializer_of,
};
