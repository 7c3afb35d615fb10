//! Servers of channels inside of hyper 1, and so of axum and everything else that is made of it.
//!
//! [`serve`] answers whatever arrives below the path of the socket:
//!
//! ```no_run
//! use axum::{Router, extract::Request, routing::any};
//! use rejoin_tokio::server::{self, Endpoint};
//!
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! let server = server::new(Endpoint::new(())); // and your channels
//! let sockets = any(move |request: Request| rejoin_tokio::hyper::serve(&server, request));
//! let app = Router::new().route("/socket/{*transport}", sockets);
//! axum::serve(tokio::net::TcpListener::bind("127.0.0.1:4000").await?, app).await
//! # }
//! ```
//!
//! How long a client may take for the head of its request, and how many connections there may be
//! besides those that are let in, is hyper's business: axum's own server has no such limits. It leaves
//! `TCP_NODELAY` off, too, without which small messages wait for each other; the example `axum` sets it.

use std::error::Error;
use std::future::Future;

use ::hyper::body::{Body, Bytes};
use ::hyper::upgrade::OnUpgrade;
use ::hyper::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use crate::server::Server;

/// Answers a request to a server: a path that ends in `/websocket` is where WebSockets are, one that
/// ends in `/longpoll` where clients poll, and any other is answered with 404. What is before that is the
/// router's business; [`ServerOptions::path`](crate::server::ServerOptions::path) does not count here.
///
/// A WebSocket needs HTTP/1.1 and a connection that hyper serves with upgrades, as axum does; its
/// client is then served in a task of its own, spawned with [`tokio::spawn`]. Axum's feature `http2`
/// invites browsers to open WebSockets over HTTP/2 where they can, which is answered with 405. Long-poll
/// works over every version. The largest body is the one of [`LongPollConfig`](crate::core::phoenix::LongPollConfig), and a
/// client has 30 seconds for it.
///
/// hyper drops the future when its client hangs up, unless it was told to allow half-closed
/// connections. Nothing is lost by that: who polls again hears what there was to say.
///
/// At the end [`shutdown`](rejoin_pump::server::Server::shutdown) comes first, and the HTTP server goes
/// on meanwhile: those who poll are told by it.
///
/// Without axum:
///
/// ```no_run
/// use hyper::{server::conn::http1, service::service_fn};
/// # async fn serve(server: rejoin_tokio::server::Server, tcp: tokio::net::TcpStream) -> hyper::Result<()> {
/// let service = service_fn(|request| {
///     let answering = rejoin_tokio::hyper::serve(&server, request);
///     async { Ok::<_, std::convert::Infallible>(answering.await) }
/// });
/// let io = hyper_util::rt::TokioIo::new(tcp);
/// http1::Builder::new().serve_connection(io, service).with_upgrades().await
/// # }
/// ```
pub fn serve<B>(server: &Server, request: Request<B>) -> impl Future<Output = Response<Full<Bytes>>> + Send + use<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send,
{
    let server = server.clone();
    async move {
        match request.uri().path().rsplit('/').next() {
            Some("websocket") => upgrade(&server, request).map(|()| Full::default()),
            Some("longpoll") => server.long_poll(request, read).await.map(Full::new),
            _ => bare(StatusCode::NOT_FOUND),
        }
    }
}

/// Lets a client in, whose WebSocket is there once hyper has sent the answer.
fn upgrade<B>(server: &Server, mut request: Request<B>) -> Response<()> {
    let (response, admitted) = match server.upgrade(&request) {
        Ok(admitted) => admitted,
        Err(response) => return response,
    };
    // A host that has taken hyper's part of the request away would leave the client without a server.
    let Some(upgraded) = request.extensions_mut().remove::<OnUpgrade>() else {
        return bare(StatusCode::NOT_IMPLEMENTED);
    };
    let upgraded = async { upgraded.await.ok().map(|io| TokioIo::new(io).compat()) };
    tokio::spawn(server.attend_upgraded(upgraded, admitted));
    response
}

/// A whole body, or what to answer.
async fn read<B>(body: B, limit: usize) -> Result<Bytes, StatusCode>
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}

fn bare<B: Default>(status: StatusCode) -> Response<B> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}
