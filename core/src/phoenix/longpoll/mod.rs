//! Long-poll (specification, section 10): a transport made of HTTP exchanges. [`LongPoll`] stands
//! where the client has a socket, [`LongPollPeer`] where the server has one.
//!
//! Nothing of it is about channels: what goes in and comes out are frames and [`TransportEvent`]s.
//!
//! [`TransportEvent`]: crate::TransportEvent

use core::time::Duration;

mod answer;
mod batch;
mod call;
mod client;
mod items;
mod peer;
mod response;

pub use call::{LongPollBody, LongPollCall};
pub use client::LongPoll;
pub use peer::{LongPollConfig, LongPollPeer, LongPollStats};
pub use response::LongPollResponse;

/// Where a session token travels besides the query: servers from 1.8.10 on look here first.
const TOKEN_HEADER: &str = "x-phoenix-longpoll-token";

/// How long an exchange may take; twice the 10 s for which a server holds a GET.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How many frames one POST carries; servers from 1.8.9 on ignore what is beyond.
const MAX_ITEMS: usize = 100;
