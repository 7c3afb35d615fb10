//! Rejoin on tokio: realtime channels that always come back.
//!
//! [`connect`] gives a [`Client`] of a Phoenix server and a future to spawn, [`supabase::connect`] the same
//! for a Supabase project: rows, broadcasts, presence and tokens. There is no hidden task.
//! Clients go over WebSockets or long-poll, and servers let them in by both: [`accept`], [`LongPollHub`].
//!
//! ```no_run
//! use rejoin_tokio::core::phoenix::{Config, JoinOptions, Push};
//! use rejoin_tokio::{ChannelEvent, core::Payload};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, pump) = rejoin_tokio::connect(Config::new("ws://localhost:4000/socket")?);
//! let pump = tokio::spawn(pump);
//!
//! let (lobby, mut events) = client.join("room:lobby", JoinOptions::default()).await?;
//! let ticket = lobby.push(Push::new("shout", Payload::json("hello")?)).await?;
//! println!("{:?}", ticket.await?);
//! while let Some(event) = events.next().await {
//!     if let ChannelEvent::Message { event, payload } = event {
//!         println!("{event}: {:?}", payload.as_json());
//!     }
//! }
//! client.close().await;
//! pump.await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "hyper")]
pub mod hyper;
pub mod server;
pub mod supabase;
#[cfg(feature = "rustls")]
pub mod tls;

use std::future::Future;
use std::time::Instant;

use futures_util::future::Either;
use rejoin_pump::core::OpenError;
use rejoin_pump::core::phoenix::Config;
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

pub use rejoin_pump::*;

/// A connected stream: plain or encrypted.
pub type Io = Either<Compat<TcpStream>, Encrypted>;

#[cfg(feature = "rustls")]
type Encrypted = tls::Stream;
/// Nothing makes one.
#[cfg(not(feature = "rustls"))]
type Encrypted = Compat<TcpStream>;

/// The tokio runtime. Use it directly to drive a [`Pump`] of your own or to serve sockets.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TokioRuntime {
    /// Instead of [`rejoin_pump::tls::client_config`].
    #[cfg(feature = "rustls")]
    pub tls: Option<std::sync::Arc<rejoin_pump::tls::rustls::ClientConfig>>,
}

/// A client that connects at once, and the future that drives it. The jitter's seed is drawn from
/// the system unless the configuration has one.
pub fn connect(config: Config) -> (Client, impl Future<Output = ()> + Send) {
    connect_on(TokioRuntime::default(), config, ConnectOptions::default())
}

/// The same, with a runtime that has been told about TLS, and with options.
pub fn connect_on(
    runtime: TokioRuntime,
    config: Config,
    options: ConnectOptions,
) -> (Client, impl Future<Output = ()> + Send) {
    rejoin_pump::connect_with(config, options, runtime)
}

impl Runtime for TokioRuntime {
    type Io = Io;
    type Sleep = tokio::time::Sleep;

    fn dial(&self, host: String, port: u16, secure: bool) -> BoxFuture<Result<Io, OpenError>> {
        let runtime = self.clone();
        Box::pin(async move {
            let tcp = connect_tcp(&host, port).await.map_err(|error| OpenError::io(error.to_string()))?;
            if secure { runtime.encrypt(&host, tcp).await } else { Ok(plain(tcp)) }
        })
    }

    fn sleep_until(&self, deadline: Instant) -> tokio::time::Sleep {
        tokio::time::sleep_until(deadline.into())
    }
}

/// An accepted connection without TLS, for [`accept`].
#[must_use]
pub fn plain(tcp: TcpStream) -> Io {
    Either::Left(tcp.compat())
}

impl TokioRuntime {
    #[cfg(feature = "rustls")]
    async fn encrypt(&self, host: &str, tcp: TcpStream) -> Result<Io, OpenError> {
        let config = self.tls.clone().unwrap_or_else(rejoin_pump::tls::client_config);
        tls::connect(config, host, tcp).await.map(Either::Right)
    }

    #[cfg(not(feature = "rustls"))]
    async fn encrypt(&self, _: &str, _: TcpStream) -> Result<Io, OpenError> {
        Err(OpenError::io("wss:// and https:// need the feature `rustls` of rejoin-tokio"))
    }
}

/// Tries every address of the host in turn.
async fn connect_tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
