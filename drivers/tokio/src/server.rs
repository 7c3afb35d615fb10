//! Servers on tokio: an application of channels behind a TCP listener.
//!
//! ```no_run
//! use rejoin_tokio::core::{Payload, Text};
//! use rejoin_tokio::server::{self, Answer, Channel, Crash, Endpoint, Joined, Refusal, Socket};
//!
//! struct Room;
//!
//! impl Channel for Room {
//!     type App = ();
//!
//!     async fn join(_: &Text, _: Payload, _: &Socket<()>) -> Result<Joined<Self>, Refusal> {
//!         Ok(Joined::new(Room))
//!     }
//!
//!     async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<()>) -> Result<Answer, Crash> {
//!         socket.broadcast_from(event, payload);
//!         Ok(Answer::Ok(Payload::EMPTY))
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:4000").await?;
//! let (_server, serving) = server::serve(Endpoint::new(()).channel::<Room>("room:*"), listener);
//! serving.await;
//! # Ok(())
//! # }
//! ```

use std::future::Future;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

pub use rejoin_pump::server::*;

use crate::TokioRuntime;

/// A server on tokio.
pub type Server = rejoin_pump::server::Server<TokioRuntime>;

/// A server whose connections are given to it with [`accept`](rejoin_pump::server::Server::accept).
/// What runs in the background is spawned with [`tokio::spawn`], from inside a tokio runtime.
#[must_use]
pub fn new<A: Send + Sync + 'static>(endpoint: Endpoint<A>) -> Server {
    Server::new(endpoint, TokioRuntime::default(), |task| drop(tokio::spawn(task)))
}

/// A server of a listener, and the future that lets clients in: one task a connection, spawned with
/// [`tokio::spawn`]. It resolves when a [`shutdown`](rejoin_pump::server::Server::shutdown) begins.
pub fn serve<A: Send + Sync + 'static>(
    endpoint: Endpoint<A>,
    listener: TcpListener,
) -> (Server, impl Future<Output = ()> + Send) {
    let server = new(endpoint);
    (server.clone(), accept_all(server, listener))
}

/// Lets clients of one more listener in, until a shutdown begins.
pub async fn accept_all(server: Server, listener: TcpListener) {
    server.accept_all(|| async { listener.accept().await.map(|(tcp, _)| quick(tcp)) }).await;
}

/// Without delay for small messages, where the system allows that.
fn quick(tcp: TcpStream) -> Compat<TcpStream> {
    let _ = tcp.set_nodelay(true);
    tcp.compat()
}
