//! Servers on smol: an application of channels behind a TCP listener.
//!
//! It is an HTTP server by itself: clients come by WebSocket or by long-poll, over TCP or any stream that
//! [`Server::accept`](rejoin_pump::server::Server::accept) is given, and other requests are answered with 404.
//!
//! ```no_run
//! use rejoin_smol::core::{Payload, Text};
//! use rejoin_smol::server::{self, Answer, Channel, Crash, Endpoint, Joined, Refusal, Socket};
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
//! # fn main() -> std::io::Result<()> {
//! smol::block_on(async {
//!     let listener = smol::Async::<std::net::TcpListener>::bind(([127, 0, 0, 1], 4000))?;
//!     let (_server, serving) = server::serve(Endpoint::new(()).channel::<Room>("room:*"), listener);
//!     serving.await;
//!     Ok(())
//! })
//! # }
//! ```

use std::future::Future;
use std::net::{TcpListener, TcpStream};

use async_io::Async;

pub use rejoin_pump::server::*;

use crate::{SmolRuntime, Tcp};

/// A server on smol.
pub type Server = rejoin_pump::server::Server<SmolRuntime>;

/// A server whose connections are given to it with [`accept`](rejoin_pump::server::Server::accept).
/// What runs in the background runs on smol's global executor.
#[must_use]
pub fn new<A: Send + Sync + 'static>(endpoint: Endpoint<A>) -> Server {
    Server::new(endpoint, SmolRuntime::default(), |task| smol::spawn(task).detach())
}

/// A server of a listener, and the future that lets clients in: one task a connection, on smol's
/// global executor. It resolves when a [`shutdown`](rejoin_pump::server::Server::shutdown) begins.
pub fn serve<A: Send + Sync + 'static>(
    endpoint: Endpoint<A>,
    listener: Async<TcpListener>,
) -> (Server, impl Future<Output = ()> + Send) {
    let server = new(endpoint);
    (server.clone(), accept_all(server, listener))
}

/// Lets clients of one more listener in, until a shutdown begins.
pub async fn accept_all(server: Server, listener: Async<TcpListener>) {
    server.accept_all(|| async { listener.accept().await.map(|(tcp, _)| quick(tcp)) }).await;
}

/// Without delay for small messages, where the system allows that.
fn quick(tcp: Async<TcpStream>) -> Tcp {
    let _ = tcp.get_ref().set_nodelay(true);
    tcp.into()
}
