//! The handles of a Supabase client: one [`Client`], re-subscribable [`Channel`]s, and [`Listener`]s
//! that may be attached at any time. The same types on every runtime. If you know another client of
//! Supabase Realtime, begin at [`migration`].
//!
//! ```
//! use std::time::Duration;
//!
//! use rejoin_pump::core::Payload;
//! use rejoin_pump::core::supabase::{Broadcast, ChannelConfig, Config};
//! use rejoin_pump::supabase::{ConnectOptions, Typed, connect_with};
//! # use rejoin_pump::memory;
//!
//! #[derive(Debug, serde::Deserialize)]
//! struct Cursor {
//!     x: f64,
//!     y: f64,
//! }
//!
//! # let (runtime, _listener) = memory::network();
//! # let run = async {
//! let config = Config::new("https://abc.supabase.co/realtime/v1", "sb_publishable_key")?;
//! let (client, pump) = connect_with(config, ConnectOptions::default(), runtime);
//! // Spawn the pump; then:
//! let room = client.channel("room", ChannelConfig::default().broadcast_ack())?;
//! let mut cursors = room.broadcasts::<Cursor>("cursor").await?;
//! room.subscribe().await?;
//! room.wait_ready(Duration::from_secs(10)).await?;
//! let ticket = room.broadcast(Broadcast::new("hello", Payload::json("world")?)).await?;
//! println!("{:?}", ticket.await?);
//! while let Some(heard) = cursors.next().await {
//!     match heard {
//!         Typed::Message(cursor) => println!("{} {}", cursor.payload.x, cursor.payload.y),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # drop(pump);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # };
//! # drop(run);
//! ```
//!
//! # How to listen
//!
//! | what for | how |
//! |---|---|
//! | broadcasts of one event, as a type | [`Channel::broadcasts`] |
//! | rows of one binding, as a type | [`Channel::changes`] |
//! | who is present | [`Channel::presence`] |
//! | anything, as it comes | [`Channel::listen`] |
//! | many channels, in one stream | [`Channel::listen_into`] |
//! | the connection and the token | [`Client::connection_events`] |
//!
//! Whatever is listened for, a stream says when something may be missing in it:
//! [`ChannelEvent::is_loss`].

mod bridge;
mod channel;
mod client;
mod command;
mod errors;
mod event;
mod http;
mod listen;
mod listener;
pub mod migration;
mod presence;
mod ready;
mod reporting;
mod rooms;
mod time_of_day;
mod typed;

pub use channel::Channel;
pub use client::{Client, ConnectOptions, connect_with};
pub use errors::{SetAuthError, SubscribeError};
pub use event::{ChannelEvent, ChannelInfo, ConnectionEvent, HandleId, InboxEvent, Member, RetryIn};
pub use http::{HttpBroadcastFailed, HttpTicket};
pub use listen::Listen;
pub use listener::{ConnectionEvents, Inbox, InboxHandle, Listener};
pub use presence::PresenceStream;
pub use ready::NotReady;
pub use typed::{Typed, TypedBroadcast, TypedChange, TypedListener};
