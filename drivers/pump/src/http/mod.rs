//! HTTP over the connections of a runtime: for what a machine asks of a server besides its socket.

mod body;
mod connection;
mod exchange;
mod head;
mod origin;
mod pool;
mod server;

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::future::{Either, select};
use rejoin_core::http::{HttpError, HttpMethod, HttpRequest, HttpResponse};

use crate::runtime::{BoxFuture, Runtime};
use exchange::{Exchange, Failure};
use pool::Pool;

pub(crate) use connection::Connection;
pub(crate) use head::{request_head, target};
pub(crate) use origin::Origin;
pub use server::HttpConnection;
pub(crate) use server::{AskError, Asked, HEAD_BYTES, has_token, response};

/// Whoever carries out HTTP requests, whatever runtime it does that on.
pub trait Http: Send + Sync + 'static {
    /// Sends a request and reads the whole response, whatever its status; redirects are not
    /// followed. Dropping the future gives the request up, whose connection is closed if it has
    /// begun.
    ///
    /// The future fails if there is no response within the request's `timeout`, counted from this
    /// call, and within its `body_limit`.
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, HttpError>>;

    /// The same, and never twice: for a GET whose answer is given only once, as that of a long-poll
    /// is. By default this is [`send`](Http::send), which is right where that never repeats anything.
    fn send_once(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, HttpError>> {
        self.send(request)
    }
}

/// An HTTP/1.1 client. Clones share their connections.
///
/// At most two idle connections an origin and eight altogether are kept for the next request, for
/// 30 seconds. There is no hidden task, so that time and a server that hangs up are noticed when
/// the next request is sent. A GET whose kept connection turns out to be dead is sent once more on
/// a fresh one, except by [`send_once`](Http::send_once); a POST is not, since the server may have
/// acted on it.
///
/// At the level `TRACE` the library underneath logs what it reads and writes, with every
/// credential in it: no logger should show that level of `ureq_proto`.
pub struct HttpClient<R: Runtime> {
    runtime: R,
    pool: Arc<Mutex<Pool<R::Io>>>,
}

impl<R: Runtime> HttpClient<R> {
    /// A client without connections.
    #[must_use]
    pub fn new(runtime: R) -> Self {
        Self { runtime, pool: Arc::default() }
    }

    fn start(&self, request: HttpRequest, once: bool) -> BoxFuture<Result<HttpResponse, HttpError>> {
        let client = self.clone();
        // What is further away than the clock can say is never.
        let deadline = client.runtime.now().checked_add(request.timeout);
        Box::pin(async move {
            let exchange = pin!(client.exchange(request, once));
            let Some(deadline) = deadline else { return exchange.await };
            match select(exchange, pin!(client.runtime.sleep_until(deadline))).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => Err(HttpError::TimedOut),
            }
        })
    }

    async fn exchange(&self, request: HttpRequest, once: bool) -> Result<HttpResponse, HttpError> {
        let uri = request.url.parse().map_err(|_| HttpError::Unreachable("the URL cannot be dialled".into()))?;
        let origin = Origin::of(&uri).map_err(|error| HttpError::Unreachable(error.to_string()))?;

        let kept = poll_fn(|cx| Poll::Ready(self.pool().take(cx, &origin, self.runtime.now()))).await;
        if let Some(connection) = kept {
            match self.exchange_on(connection, Exchange::new(&request, &uri)?, &origin).await {
                // Servers hang up on idle connections at any time.
                Err(Failure::Unanswered(_)) if request.method == HttpMethod::Get && !once => {}
                outcome => return Ok(outcome?),
            }
        }

        let exchange = Exchange::new(&request, &uri)?;
        let dialled = self.runtime.dial(origin.host.clone(), origin.port, origin.secure).await;
        let io = dialled.map_err(|error| HttpError::Unreachable(error.to_string()))?;
        Ok(self.exchange_on(Connection::new(io), exchange, &origin).await?)
    }

    async fn exchange_on(
        &self,
        mut connection: Connection<R::Io>,
        exchange: Exchange,
        origin: &Origin,
    ) -> Result<HttpResponse, Failure> {
        let (response, reusable) = exchange.run(&mut connection, &self.runtime).await?;
        if reusable {
            self.pool().put(origin.clone(), connection, self.runtime.now());
        }
        Ok(response)
    }

    /// Nothing panics while it is held, so a poisoned lock is as good as a sound one.
    fn pool(&self) -> MutexGuard<'_, Pool<R::Io>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime> Http for HttpClient<R> {
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, HttpError>> {
        self.start(request, false)
    }

    fn send_once(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, HttpError>> {
        self.start(request, true)
    }
}

impl<R: Runtime> Clone for HttpClient<R> {
    fn clone(&self) -> Self {
        Self { runtime: self.runtime.clone(), pool: self.pool.clone() }
    }
}

impl<R: Runtime> fmt::Debug for HttpClient<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}
