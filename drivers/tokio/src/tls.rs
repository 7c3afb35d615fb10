//! `wss://` on tokio, by tokio-rustls.

use std::sync::Arc;

use rejoin_pump::core::OpenError;
use rejoin_pump::tls::rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use crate::Io;

/// An encrypted stream of either side.
pub type Stream = Box<Compat<TlsStream<TcpStream>>>;

/// The client's handshake.
///
/// # Errors
/// If the server's certificate is not trusted or the handshake fails.
pub async fn connect(config: Arc<ClientConfig>, host: &str, tcp: TcpStream) -> Result<Stream, OpenError> {
    let name = rejoin_pump::tls::server_name(host)?;
    let stream = TlsConnector::from(config).connect(name, tcp).await;
    let stream = stream.map_err(|error| OpenError::io(format!("TLS: {error}")))?;
    Ok(Box::new(TlsStream::from(stream).compat()))
}

/// The server's handshake; pass the stream on to [`accept`](crate::accept).
///
/// # Errors
/// If the handshake fails.
pub async fn accept(config: Arc<ServerConfig>, tcp: TcpStream) -> std::io::Result<Io> {
    let stream = TlsAcceptor::from(config).accept(tcp).await?;
    Ok(Io::Right(Box::new(TlsStream::from(stream).compat())))
}
