//! Rejoin on smol: realtime channels that always come back.
//!
//! [`connect`] gives a [`Client`] of a Phoenix server and a future to spawn, [`supabase::connect`] the same
//! for a Supabase project: rows, broadcasts, presence and tokens. There is no hidden task and no hidden thread but smol's own.
//! Clients go over WebSockets or long-poll, and servers let them in by both: [`accept`], [`LongPollHub`].
//!
//! ```no_run
//! use rejoin_smol::core::phoenix::{Config, JoinOptions, Push};
//! use rejoin_smol::{ChannelEvent, core::Payload};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! smol::block_on(async {
//!     let (client, pump) = rejoin_smol::connect(Config::new("ws://localhost:4000/socket")?);
//!     let pump = smol::spawn(pump);
//!
//!     let (lobby, mut events) = client.join("room:lobby", JoinOptions::default()).await?;
//!     let ticket = lobby.push(Push::new("shout", Payload::json("hello")?)).await?;
//!     println!("{:?}", ticket.await?);
//!     while let Some(event) = events.next().await {
//!         if let ChannelEvent::Message { event, payload } = event {
//!             println!("{event}: {:?}", payload.as_json());
//!         }
//!     }
//!     client.close().await;
//!     pump.await;
//!     Ok(())
//! })
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod server;
pub mod supabase;
mod tcp;
#[cfg(feature = "rustls")]
pub mod tls;

use std::future::Future;
use std::net::TcpStream;
use std::time::Instant;

use async_io::{Async, Timer};
use futures_util::future::Either;
use rejoin_pump::core::OpenError;
use rejoin_pump::core::phoenix::Config;

pub use rejoin_pump::*;
pub use tcp::Tcp;

/// A connected stream: plain or encrypted.
pub type Io = Either<Tcp, Encrypted>;

#[cfg(feature = "rustls")]
type Encrypted = tls::Stream;
/// Nothing makes one.
#[cfg(not(feature = "rustls"))]
type Encrypted = Tcp;

/// The smol runtime. Use it directly to drive a [`Pump`] of your own or to serve sockets.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SmolRuntime {
    /// Instead of [`rejoin_pump::tls::client_config`].
    #[cfg(feature = "rustls")]
    pub tls: Option<std::sync::Arc<rejoin_pump::tls::rustls::ClientConfig>>,
}

/// A client that connects at once, and the future that drives it. The jitter's seed is drawn from
/// the system unless the configuration has one.
pub fn connect(config: Config) -> (Client, impl Future<Output = ()> + Send) {
    connect_on(SmolRuntime::default(), config, ConnectOptions::default())
}

/// The same, with a runtime that has been told about TLS, and with options.
pub fn connect_on(
    runtime: SmolRuntime,
    config: Config,
    options: ConnectOptions,
) -> (Client, impl Future<Output = ()> + Send) {
    rejoin_pump::connect_with(config, options, runtime)
}

impl Runtime for SmolRuntime {
    type Io = Io;
    type Sleep = Sleep;

    fn dial(&self, host: String, port: u16, secure: bool) -> BoxFuture<Result<Io, OpenError>> {
        let runtime = self.clone();
        Box::pin(async move {
            let tcp = connect_tcp(&host, port).await.map_err(|error| OpenError::io(error.to_string()))?;
            if secure { runtime.encrypt(&host, tcp).await } else { Ok(plain(tcp)) }
        })
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep(Timer::at(deadline))
    }
}

/// An accepted connection without TLS, for [`accept`].
#[must_use]
pub fn plain(tcp: Async<TcpStream>) -> Io {
    Either::Left(tcp.into())
}

impl SmolRuntime {
    #[cfg(feature = "rustls")]
    async fn encrypt(&self, host: &str, tcp: Async<TcpStream>) -> Result<Io, OpenError> {
        let config = self.tls.clone().unwrap_or_else(rejoin_pump::tls::client_config);
        tls::connect(config, host, tcp).await.map(Either::Right)
    }

    #[cfg(not(feature = "rustls"))]
    async fn encrypt(&self, _: &str, _: Async<TcpStream>) -> Result<Io, OpenError> {
        Err(OpenError::io("wss:// and https:// need the feature `rustls` of rejoin-smol"))
    }
}

/// A timer of async-io.
pub struct Sleep(Timer);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

/// Tries every address of the host in turn.
async fn connect_tcp(host: &str, port: u16) -> std::io::Result<Async<TcpStream>> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the host has no address");
    for address in smol::net::resolve((host, port)).await? {
        match Async::<TcpStream>::connect(address).await {
            Ok(tcp) => {
                tcp.get_ref().set_nodelay(true)?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
