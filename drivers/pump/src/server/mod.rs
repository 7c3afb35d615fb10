//! A server of channels: clients of Phoenix talk to an application of yours.
//!
//! An [`Endpoint`] says which topics there are and who may come; its [`Channel`]s say what happens
//! in them. A [`Server`] takes connections, over any byte stream, by WebSocket or by long-poll.
//! One task drives a connection: its socket, its session and its channels.
//!
//! A listener is all that it needs: [`Server::accept`] reads the requests and answers what is not its
//! own with 404. Where another HTTP library reads them, because there are pages too, there are
//! [`Server::upgrade`] and [`Server::long_poll`]; `rejoin_tokio::hyper` is made of these.
//!
//! What this is made of can be had alone: [`serve`](crate::serve) for a socket whose events are
//! yours to answer, [`Hub`](rejoin_core::hub::Hub) for topics and presence.

mod admitted;
mod channel;
mod connections;
mod conversation;
mod draining;
mod endpoint;
mod erased;
mod handle;
pub mod history;
mod identity;
mod listening;
mod over;
mod reason;
mod report;
mod rooms;
mod shared;
mod socket;
mod tokens;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use admitted::Admitted;
pub use channel::{Answer, Channel, Crash, Joined, Leave, Refusal};
pub use draining::Drained;
pub use endpoint::{Endpoint, ServerOptions, TopicOptions};
pub use handle::Server;
pub use report::{Refused, Report};
pub use shared::ServerCounts;
pub use socket::Socket;

/// Nothing panics while it is held, so a poisoned lock is as good as a sound one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
