//! `wss://` on smol, by futures-rustls.

use std::net::TcpStream;
use std::sync::Arc;

use async_io::Async;
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use rejoin_pump::core::OpenError;
use rejoin_pump::tls::rustls::{ClientConfig, ServerConfig};

use crate::{Io, Tcp};

/// An encrypted stream of either side.
pub type Stream = Box<TlsStream<Tcp>>;

/// The client's handshake.
///
/// # Errors
/// If the server's certificate is not trusted or the handshake fails.
pub async fn connect(config: Arc<ClientConfig>, host: &str, tcp: Async<TcpStream>) -> Result<Stream, OpenError> {
    let name = rejoin_pump::tls::server_name(host)?;
    let stream = TlsConnector::from(config).connect(name, tcp.into()).await;
    stream.map(|stream| Box::new(stream.into())).map_err(|error| OpenError::io(format!("TLS: {error}")))
}

/// The server's handshake; pass the stream on to [`accept`](crate::accept).
///
/// # Errors
/// If the handshake fails.
pub async fn accept(config: Arc<ServerConfig>, tcp: Async<TcpStream>) -> std::io::Result<Io> {
    let stream = TlsAcceptor::from(config).accept(tcp.into()).await?;
    Ok(Io::Right(Box::new(stream.into())))
}
