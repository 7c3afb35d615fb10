//! What the smol and tokio drivers share: a [`Pump`] that moves frames between a socket and a
//! [`Machine`](rejoin_core::Machine), and the handles that an application holds.
//!
//! Applications use `rejoin-smol` or `rejoin-tokio`, whose `connect` gives a [`Client`] and a
//! future to spawn. The handles are the same types on both, so code over them is tested without
//! sockets on the in-memory runtime in [`memory`].
//!
//! | for | there is |
//! |---|---|
//! | clients of a Phoenix server | [`Client`], [`Channel`] and [`Events`], made by [`connect_with`] |
//! | clients of a Supabase project | the handles in [`supabase`], and [`supabase::migration`] for who knows another client |
//! | servers | [`accept`] and [`serve`] for WebSockets, [`LongPollHub`] for long-poll |
//! | a runtime of your own | [`Runtime`] |
//! | a machine of your own | [`Pump`], with a [`Bridge`] to its handles |
//!
//! Clients go over WebSockets or long-poll, as [`transport`](rejoin_core::phoenix::Config::transport) says.
//!
//! Nothing here spawns, and nothing here is unbounded: commands wait in a bounded queue while the
//! socket is full, events in a bounded queue that stops the reading or drops its oldest messages
//! by your choice ([`Inflow`]). No lock is held while your code runs.

#![forbid(unsafe_code)]

mod accept;
mod client;
mod client_bridge;
mod clock;
mod commands;
mod errors;
mod gather;
mod http;
mod link;
mod long_poll;
pub mod memory;
mod outlets;
mod peer;
mod pump;
mod queue;
mod read_ahead;
mod retry_after;
mod runtime;
mod served;
pub mod server;
mod stream;
pub mod supabase;
mod tap;
mod ticket;
#[cfg(feature = "rustls")]
pub mod tls;
mod token_provider;
mod wakers;
mod websocket;

pub use accept::{AcceptError, AcceptOptions, Accepted, Incoming, UpgradeRequest, accept};
pub use client::{Channel, Client, ConnectOptions, connect_with};
pub use clock::Clock;
pub use errors::{ClosedError, SubscribeError};
pub use http::{Http, HttpClient, HttpConnection};
pub use long_poll::{LongPollHub, LongPollOptions, LongPollSession};
pub use peer::{Peer, PeerEvents, serve, serve_long_poll};
pub use pump::{Bridge, Pump};
pub use read_ahead::ReadAhead;
pub use runtime::{BoxFuture, Runtime};
pub use stream::{ChannelEvent, ConnectionEvent, Events, Inbox, InboxEvent, InboxHandle, Inflow};
pub use tap::{Direction, Tap};
pub use ticket::{PushFailed, PushState, PushTicket};
pub use token_provider::{TokenProvider, TokenProviderError};
pub use websocket::{open_websocket, server_websocket_config, websocket_config};

pub use rejoin_core as core;
