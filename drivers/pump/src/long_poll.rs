//! The server's long-poll endpoint: which session an HTTP request belongs to, and who serves it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures_channel::oneshot;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::{Either, select};
use rejoin_core::phoenix::{
    Admission, Decision, LongPollBody, LongPollCall, LongPollConfig, LongPollPeer, LongPollResponse, Params,
    RequestHead, ResponseHead, Token, UpgradeConfig,
};
use rejoin_core::wire::Serializer;
use rejoin_core::{ConnId, Timestamp};
use ureq_proto::http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::http::{AskError, Asked, HttpConnection, request_head, target};
use crate::retry_after::unavailable;
use crate::runtime::{Runtime, within};

/// How long a connection may be kept open between two requests.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client may take to say its request, or to hear its answer.
const EXCHANGE: Duration = Duration::from_secs(30);
/// How long a client whose connection is ended may go on speaking.
const LINGER: Duration = Duration::from_secs(2);
/// The most that is read of a request by somebody who was not let in.
const STRANGE_BYTES: usize = 64 * 1024;
/// Exchanges of one session that wait for its pump; a lawful client has two.
const EXCHANGES: usize = 8;

/// Configuration of a [`LongPollHub`]. Start from `default`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LongPollOptions {
    /// The path of the endpoint; default `/socket/longpoll`. Another is answered with 404, and
    /// `/socket/websocket` beside it with what an upgrade needs.
    pub path: String,
    /// Who may begin a session.
    pub upgrade: UpgradeConfig,
    /// Sessions at a time; default 10,000. A client that comes when there are as many is answered
    /// with 503.
    pub sessions: usize,
    /// The configuration of every session.
    pub session: LongPollConfig,
}

impl Default for LongPollOptions {
    fn default() -> Self {
        Self {
            path: "/socket/longpoll".into(),
            upgrade: UpgradeConfig::default(),
            sessions: 10_000,
            session: LongPollConfig::default(),
        }
    }
}

/// The sessions of a long-poll endpoint, by their tokens. Clones are the same hub.
///
/// A server that lets clients in by WebSocket and by long-poll:
///
/// ```
/// use rejoin_pump::core::ConnId;
/// use rejoin_pump::core::phoenix::ServerConfig;
/// use rejoin_pump::{AcceptOptions, Incoming, LongPollHub, LongPollSession, Runtime, serve, serve_long_poll};
///
/// async fn welcome<R: Runtime>(io: R::Io, runtime: R, hub: LongPollHub, conn: impl Fn() -> ConnId) {
///     match Incoming::read(io).await {
///         Ok(Incoming::Upgrade(request)) => {
///             let Ok(accepted) = request.answer(&AcceptOptions::default()).await else { return };
///             let config = ServerConfig::new(accepted.serializer);
///             let (peer, events, pump) = serve(accepted.websocket, conn(), config, runtime);
///             // Spawn the pump, and talk to the client.
///             # drop((peer, events, pump));
///         }
///         Ok(Incoming::Http(connection)) => {
///             let admit = |session: LongPollSession| {
///                 let config = ServerConfig::new(session.serializer());
///                 let (peer, events, pump) = serve_long_poll(session, conn(), config, runtime.clone());
///                 // Spawn both: the connection is still needed for other requests.
///                 # drop((peer, events, pump));
///             };
///             hub.serve(connection, runtime.clone(), admit).await;
///         }
///         // Nothing that could be answered.
///         _ => {}
///     }
/// }
/// ```
///
/// What is logged at the level `TRACE` has every credential in it, as with
/// [`HttpClient`](crate::HttpClient).
#[derive(Clone)]
pub struct LongPollHub {
    shared: Arc<Shared>,
}

struct Shared {
    options: LongPollOptions,
    sessions: Mutex<HashMap<String, Sender<Exchange>>>,
    /// Closed with the hub; nothing is ever sent.
    closing: (Sender<()>, Receiver<()>),
}

/// One request of a client, on its way to the pump of its session.
pub(crate) struct Exchange {
    pub(crate) call: Call,
    pub(crate) answer: oneshot::Sender<LongPollResponse>,
}

pub(crate) enum Call {
    Poll,
    Push { kind: LongPollBody, body: Bytes },
}

impl LongPollHub {
    /// A hub without sessions.
    #[must_use]
    pub fn new(options: LongPollOptions) -> Self {
        let closing = async_channel::bounded(1);
        Self { shared: Arc::new(Shared { options, sessions: Mutex::default(), closing }) }
    }

    /// Answers the requests of one connection until it ends. `admit` is called with every session
    /// that may begin on it by [`LongPollOptions::upgrade`], to be served with [`serve_long_poll`](crate::serve_long_poll) in a task of
    /// its own; a session that is dropped instead is answered with Phoenix's 403, or as it is
    /// [refused](LongPollSession::refuse).
    ///
    /// A client has a minute between two requests, and 30 seconds for saying one and for hearing
    /// its answer. What is no request to the endpoint is answered in HTTP.
    pub async fn serve<R: Runtime>(
        &self,
        mut connection: HttpConnection<R::Io>,
        runtime: R,
        mut admit: impl FnMut(LongPollSession),
    ) {
        while within(&runtime, IDLE, self.is_asked(&mut connection)).await == Some(true) {
            let mut is_strange = false;
            let next = connection.next(|request| {
                is_strange = !self.is_known(request);
                self.body_bytes(is_strange)
            });
            let asked = within(&runtime, EXCHANGE, next).await;
            let (response, keep_alive) = match asked.unwrap_or(Err(AskError::Unfit(StatusCode::REQUEST_TIMEOUT))) {
                Ok(Asked { request, keep_alive }) => {
                    let answering = pin!(self.answer(request, &mut admit));
                    match select(answering, pin!(connection.hung_up())).await {
                        Either::Left((response, _)) => (response, keep_alive),
                        Either::Right(_) => return,
                    }
                }
                Err(AskError::Unfit(status)) => (unread(status, is_strange), false),
                Err(AskError::Gone) => return,
            };
            let keep_alive = keep_alive && !self.is_closed();
            match within(&runtime, EXCHANGE, connection.answer(response, keep_alive)).await {
                Some(Ok(())) if keep_alive => {}
                Some(Ok(())) => {
                    // Whether it has heard everything is its own business.
                    let _ = within(&runtime, LINGER, connection.finish()).await;
                    return;
                }
                _ => return,
            }
        }
    }

    /// Begins no further session, and ends every connection after the answer that its client waits
    /// for: who asks for a session is told with 503 to come back. The sessions that there are go
    /// on; end them with [`Peer::close`](crate::Peer::close).
    pub fn close(&self) {
        self.shared.closing.0.close();
    }

    fn is_closed(&self) -> bool {
        self.shared.closing.0.is_closed()
    }

    /// Waits for a request; false if there will be none.
    async fn is_asked<Io>(&self, connection: &mut HttpConnection<Io>) -> bool
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        match select(pin!(connection.is_asked()), pin!(self.shared.closing.1.recv())).await {
            Either::Left((is_asked, _)) => is_asked,
            Either::Right(_) => false,
        }
    }

    async fn answer(&self, request: Request<Bytes>, admit: &mut impl FnMut(LongPollSession)) -> Response<Bytes> {
        let path = request.uri().path();
        if self.is_websocket_path(path) {
            self.not_upgraded(&request_head(&request))
        } else if path == self.shared.options.path {
            self.respond(request, admit).await
        } else {
            bare(&ResponseHead::new(404))
        }
    }

    /// Answers a request whose body is still to be read, whatever its path. Dropping the future is
    /// hanging up.
    pub(crate) async fn read_and_respond<R: Runtime, B, F>(
        &self,
        request: Request<B>,
        read: impl FnOnce(B, usize) -> F,
        runtime: &R,
        mut admit: impl FnMut(LongPollSession),
    ) -> Response<Bytes>
    where
        F: Future<Output = Result<Bytes, StatusCode>>,
    {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, ());
        let mut whole = Bytes::new();
        if request.method() == Method::POST {
            let is_strange = !self.is_known(&request);
            let reading = within(runtime, EXCHANGE, read(body, self.body_bytes(is_strange))).await;
            match reading.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT)) {
                Ok(body) => whole = body,
                Err(status) => return unread(status, is_strange),
            }
        }
        self.respond(request.map(|()| whole), &mut admit).await
    }

    async fn respond(&self, request: Request<Bytes>, admit: &mut impl FnMut(LongPollSession)) -> Response<Bytes> {
        let head = request_head(&request);
        let response = match LongPollCall::of(&head) {
            LongPollCall::Answered(response) => response,
            LongPollCall::Poll { token } => match self.session(token.as_deref()) {
                Some(session) => exchange(&session, Call::Poll).await,
                None => match self.shared.options.upgrade.admit(&head) {
                    Ok(admission) => return self.begin(request, admission, admit).await,
                    Err(response) => response,
                },
            },
            LongPollCall::Push { token, body: kind } => match self.session(token.as_deref()) {
                Some(session) => exchange(&session, Call::Push { kind, body: request.into_body() }).await,
                None => LongPollResponse::gone(),
            },
            _ => return bare(&ResponseHead::new(400)),
        };
        http_response(response)
    }

    /// Whether it belongs to a session, whose client was let in.
    fn is_known(&self, request: &Request<()>) -> bool {
        match LongPollCall::of(&request_head(request)) {
            LongPollCall::Poll { token } | LongPollCall::Push { token, .. } => self.session(token.as_deref()).is_some(),
            _ => false,
        }
    }

    /// The most that is read of the body of a request.
    fn body_bytes(&self, is_strange: bool) -> usize {
        let most = if is_strange { STRANGE_BYTES } else { usize::MAX };
        self.shared.options.session.body_bytes.min(most)
    }

    /// Whether the endpoint's WebSocket is there (specification, section 10.1).
    fn is_websocket_path(&self, path: &str) -> bool {
        let socket = self.shared.options.path.strip_suffix("/longpoll");
        socket.is_some_and(|socket| path.strip_prefix(socket) == Some("/websocket"))
    }

    /// What is wrong with a request for a WebSocket that has come here instead of to
    /// [`UpgradeRequest`](crate::UpgradeRequest).
    fn not_upgraded(&self, request: &RequestHead<'_>) -> Response<Bytes> {
        match self.shared.options.upgrade.decide(request) {
            Decision::Refuse(head) => crate::http::response(head.status, &head.headers, Bytes::new()),
            // On a connection that has carried other requests; no client does that.
            Decision::Accept(_) => bare(&ResponseHead::new(400)),
        }
    }

    /// Answers with the token of a new session, if the host serves one.
    async fn begin(
        &self,
        request: Request<Bytes>,
        admission: Admission,
        admit: &mut impl FnMut(LongPollSession),
    ) -> Response<Bytes> {
        if self.is_closed() {
            return bare(&unavailable());
        }
        let Some(token) = token() else { return bare(&ResponseHead::new(500)) };
        let (sender, exchanges) = async_channel::bounded(EXCHANGES);
        {
            let mut sessions = self.sessions();
            if sessions.len() >= self.shared.options.sessions {
                return bare(&unavailable());
            }
            sessions.insert(token.clone(), sender);
        }
        let seat = Seat { hub: self.clone(), token: token.clone() };
        let (served, is_served) = oneshot::channel();
        let (target, config) = (target(&request).to_owned(), self.shared.options.session.clone());
        let headers = request.into_parts().0.headers;
        admit(LongPollSession { target, headers, admission, config, exchanges, seat, served });
        match is_served.await {
            Ok(Ok(())) => http_response(LongPollResponse::opened(&token)),
            Ok(Err(head)) => bare(&head),
            Err(oneshot::Canceled) => http_response(LongPollResponse::forbidden()),
        }
    }

    fn session(&self, token: Option<&str>) -> Option<Sender<Exchange>> {
        self.sessions().get(token?).cloned()
    }

    /// Nothing panics while it is held, so a poisoned lock is as good as a sound one.
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Sender<Exchange>>> {
        self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many sessions there are.
impl fmt::Debug for LongPollHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongPollHub").field("sessions", &self.sessions().len()).finish_non_exhaustive()
    }
}

/// A session that a client asks for, before it is served. Dropping it refuses the client.
pub struct LongPollSession {
    target: String,
    headers: HeaderMap,
    pub(crate) admission: Admission,
    config: LongPollConfig,
    exchanges: Receiver<Exchange>,
    seat: Seat,
    served: oneshot::Sender<Result<(), ResponseHead>>,
}

impl LongPollSession {
    /// Path and query of the first request. The query may carry credentials.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Names, in lower case, and values of the headers of the first request that are text,
    /// credentials included.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// How its client writes messages.
    #[must_use]
    pub const fn serializer(&self) -> Serializer {
        self.admission.serializer
    }

    /// The token of its client, which nobody has verified.
    #[must_use]
    pub const fn token(&self) -> Option<&Token> {
        self.admission.token.as_ref()
    }

    /// The parameters of the first request. They may carry credentials.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.admission.params
    }

    /// Refuses the client with this HTTP response and an empty body, instead of Phoenix's 403.
    pub fn refuse(self, response: ResponseHead) {
        // One that has hung up meanwhile does not care.
        let _ = self.served.send(Err(response));
    }

    /// Lets the client in.
    pub(crate) fn admit(self, conn: ConnId, now: Timestamp) -> (LongPollPeer, Receiver<Exchange>, Seat) {
        let machine = LongPollPeer::new(self.config, conn, self.seat.token.as_str(), now);
        // One that has hung up meanwhile polls no more, which ends the session.
        let _ = self.served.send(Ok(()));
        (machine, self.exchanges, self.seat)
    }
}

/// Without the credentials that it may carry.
impl fmt::Debug for LongPollSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongPollSession").field("admission", &self.admission).finish_non_exhaustive()
    }
}

/// Keeps the token of a session known.
pub(crate) struct Seat {
    hub: LongPollHub,
    token: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.sessions().remove(&self.token);
    }
}

/// What a session answers, or that it is gone, as whoever asks one that has just ended is told.
async fn exchange(session: &Sender<Exchange>, call: Call) -> LongPollResponse {
    let (answer, answered) = oneshot::channel();
    match session.send(Exchange { call, answer }).await {
        Ok(()) => answered.await.unwrap_or_else(|_| LongPollResponse::gone()),
        Err(_) => LongPollResponse::gone(),
    }
}

/// 128 random bits in hexadecimal digits; `None` if the system has none.
fn token() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// What is answered to a request that was not read to its end.
fn unread(status: StatusCode, is_strange: bool) -> Response<Bytes> {
    match status {
        // Whatever it is about, there is no such session.
        StatusCode::PAYLOAD_TOO_LARGE if is_strange => http_response(LongPollResponse::gone()),
        _ => bare(&ResponseHead::new(status.as_u16())),
    }
}

fn http_response(response: LongPollResponse) -> Response<Bytes> {
    crate::http::response(response.status, &response.headers, response.body)
}

fn bare(head: &ResponseHead) -> Response<Bytes> {
    crate::http::response(head.status, &head.headers, Bytes::new())
}
