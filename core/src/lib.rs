//! Sans-IO state machines for Phoenix Channels and Supabase Realtime: bytes and time in, frames and
//! events out.
//!
//! Nothing in this crate opens a socket, reads a clock or draws a random number. A *machine*
//! ([`phoenix::Session`] for the client of a Phoenix server, [`supabase::Session`] for that of a
//! Supabase project, [`phoenix::ServerSession`] for the server) is driven by a loop that owns those
//! things; `rejoin-smol` and `rejoin-tokio` are two such loops, and a custom event loop is these six steps:
//!
//! 1. Call a command (`connect`, `join`, `push`, …) or nothing.
//! 2. Carry out every [`TransportAction`] from [`Machine::poll_transport`], and every request from
//!    [`Machine::poll_request`]: a [`supabase::Request`] is for an access token or for HTTP.
//! 3. Look at every event from [`Machine::poll_event`].
//! 4. Wait until a socket has something to say or [`Machine::poll_timeout`] is reached.
//! 5. Tell the machine: [`Machine::handle_transport`] or [`Machine::handle_timeout`].
//! 6. Start again, until [`Machine::is_finished`].
//!
//! A server has one machine a socket. Around them [`phoenix::UpgradeConfig`] decides who may come in, [`auth`]
//! whose token it is, and a [`hub::Hub`] who hears what: as pure as the machines, and used alike.
//!
//! Where [`ConnectRequest::transport`] asks for long-poll instead of a WebSocket, a
//! [`phoenix::LongPoll`] stands where the socket is and speaks HTTP as plain data ([`http`]).
//!
//! Any order of calls is legal. Draining late only delays; calling `handle_timeout` early, late
//! or twice is harmless. Inputs never fail: what the peer does wrong is an event, what the
//! caller does wrong is the `Err` of the command that did it.
//!
//! ```
//! use rejoin_core::{Frame, Machine, Timestamp, TransportAction, TransportEvent};
//! use rejoin_core::phoenix::{Config, Event, JoinOptions, Session};
//!
//! let now = Timestamp::ZERO;
//! let mut session = Session::new(Config::new("ws://localhost:4000/socket")?, now);
//! session.connect(now);
//! let lobby = session.join(now, "room:lobby", JoinOptions::default())?;
//!
//! let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
//! assert_eq!(request.url, "ws://localhost:4000/socket/websocket?vsn=2.0.0");
//! session.handle_transport(now, TransportEvent::Opened { conn: request.conn });
//!
//! let Some(TransportAction::Send { conn, .. }) = session.poll_transport() else { panic!("it joins") };
//! let reply = r#"["1","1","room:lobby","phx_reply",{"status":"ok","response":{}}]"#;
//! session.handle_transport(now, TransportEvent::Received { conn, frame: Frame::Text(reply.into()) });
//!
//! assert!(matches!(session.poll_event(), Some(Event::Connected { .. })));
//! assert!(matches!(session.poll_event(), Some(Event::Joined { channel, .. }) if channel == lobby));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod auth;
mod backoff;
mod deadlines;
mod events;
pub mod http;
pub mod hub;
mod machine;
mod payload;
pub mod phoenix;
mod slab;
pub mod supabase;
mod text;
mod time;
pub mod wire;

pub use backoff::{Backoff, Jitter};
pub use machine::{
    ConnId, ConnectRequest, Frame, Machine, OpenError, TransportAction, TransportEvent, TransportKind, UnknownTransport,
};
pub use payload::{Payload, PayloadError};
pub use text::Text;
pub use time::Timestamp;
