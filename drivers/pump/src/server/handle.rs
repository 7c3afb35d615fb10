//! A server: every connection's way from its first byte to its last.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use async_tungstenite::WebSocketStream;
use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::select;
use rejoin_core::hub::Broadcast;
use rejoin_core::phoenix::{Admission, Decision, ResponseHead, Upgrade};
use rejoin_core::{Payload, Text};
use ureq_proto::http::{Request, Response, StatusCode};

use super::admitted::Admitted;
use super::connections::Taken;
use super::conversation::converse;
use super::endpoint::Endpoint;
use super::over::Over;
use super::report::Refused;
use super::shared::{ServerCounts, Shared};
use crate::accept::{Incoming, UpgradeRequest, server_websocket};
use crate::http::{HttpConnection, request_head, response};
use crate::long_poll::{LongPollHub, LongPollOptions, LongPollSession};
use crate::read_ahead::ReadAhead;
use crate::runtime::{BoxFuture, Runtime, within};
use crate::served::ServerPump;

/// A server of channels on the runtime `R`. Clones are the same server.
#[derive(Clone)]
pub struct Server<R> {
    pub(super) shared: Arc<Shared>,
    pub(super) long_polls: LongPollHub,
    pub(super) runtime: R,
    spawn: Arc<dyn Fn(BoxFuture<()>) + Send + Sync>,
}

impl<R: Runtime> Server<R> {
    /// A server for an endpoint. `spawn` runs a future in the background: the connections of
    /// [`accept_all`](Self::accept_all), and the sessions of clients that come by long-poll, which belong
    /// to no connection.
    #[must_use]
    pub fn new<A: Send + Sync + 'static>(
        endpoint: Endpoint<A>,
        runtime: R,
        spawn: impl Fn(BoxFuture<()>) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared::new(endpoint.into_settings(), &runtime);
        let options = &shared.endpoint.options;
        let long_polls = LongPollHub::new(LongPollOptions {
            path: format!("{}/longpoll", options.path),
            upgrade: options.upgrade.clone(),
            // They are counted with everybody else.
            sessions: usize::MAX,
            session: options.long_poll.clone(),
        });
        Self { shared: Arc::new(shared), long_polls, runtime, spawn: Arc::new(spawn) }
    }

    /// Serves one connection over any byte stream, from the first byte of its request on: a
    /// WebSocket until it ends, or the requests of clients that poll. To be spawned, one task a
    /// connection.
    pub fn accept<Io>(&self, io: Io) -> impl Future<Output = ()> + Send + use<R, Io>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = self.clone();
        async move {
            let Some(present) = server.shared.connections.arrive() else { return };
            // Boxed, so that a connection that lives for hours keeps nothing of its first second.
            if let Some(serving) = Box::pin(server.welcome(io)).await {
                drop(server);
                serving.await;
            }
            drop(present);
        }
    }

    /// Decides about a request for a WebSocket that another HTTP library has read, whatever its path,
    /// and counts its client. Who is let in is answered with 101 and served by
    /// [`attend_upgraded`](Self::attend_upgraded).
    ///
    /// # Errors
    /// With what to answer to a client that is not let in.
    pub fn upgrade<B>(&self, request: &Request<B>) -> Result<(Response<()>, Admitted), Response<()>> {
        let http = |head: &ResponseHead| response(head.status, &head.headers, ());
        match self.consider(self.shared.accept.upgrade.decide(&request_head(request))) {
            Ok((upgrade, admitted)) => Ok((http(&upgrade.response), admitted)),
            Err(head) => Err(http(&head)),
        }
    }

    /// Serves a client that [`upgrade`](Self::upgrade) has let in, over the stream that its connection
    /// becomes once the answer is sent; `None` if that fails. To be spawned.
    ///
    /// The stream is waited for as long as [`ServerOptions::handshake_timeout`](super::ServerOptions::handshake_timeout) says.
    pub fn attend_upgraded<Io, U>(
        &self,
        upgraded: U,
        admitted: Admitted,
    ) -> impl Future<Output = ()> + Send + use<R, Io, U>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        U: Future<Output = Option<Io>> + Send,
    {
        let server = self.clone();
        // Boxed, so that a connection that lives for hours keeps nothing of its first second.
        let opening = Box::pin(async move {
            let time = server.shared.endpoint.options.handshake_timeout;
            let upgrading = within(&server.runtime, time, upgraded);
            let io = server.shared.connections.handshake(upgrading).await???;
            let websocket = server_websocket(ReadAhead::server(io), server.shared.accept.frame_bytes).await;
            Some(server.attend(websocket, admitted))
        });
        async move {
            if let Some(attending) = opening.await {
                attending.await;
            }
        }
    }

    /// Answers a request of a client that polls, which another HTTP library has read the head of,
    /// whatever its path. `read` is given its body and the most bytes that this may have, if the body
    /// counts; it gives the body, or the status to answer, which is 413 for one that has more. After
    /// 30 seconds it is dropped, and 408 answered.
    ///
    /// A client that hangs up is shown by dropping the future: what there was to say is said when it
    /// polls again.
    pub async fn long_poll<B, F>(&self, request: Request<B>, read: impl FnOnce(B, usize) -> F) -> Response<Bytes>
    where
        F: Future<Output = Result<Bytes, StatusCode>>,
    {
        self.long_polls.read_and_respond(request, read, &self.runtime, |session| self.begin(session)).await
    }

    /// Decides about a client by what is known of it from a request of any other kind, and counts it.
    /// Who is let in is served by [`attend`](Self::attend).
    ///
    /// # Errors
    /// With what to answer.
    pub fn admit(&self, admission: &Admission) -> Result<Admitted, ResponseHead> {
        self.shared.admit(admission)
    }

    /// Serves a client over a WebSocket that it was let in to. To be spawned.
    pub fn attend<Io>(
        &self,
        websocket: WebSocketStream<ReadAhead<Io>>,
        admitted: Admitted,
    ) -> impl Future<Output = ()> + Send + use<R, Io>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Admitted { serializer, identity, place } = admitted;
        let (config, runtime) = (self.shared.config(serializer), Over::<R, Io>::new(&self.runtime));
        let connected = |conn, pump: ServerPump<_, _>| pump.with_socket(conn, websocket);
        let conversing = converse(self.shared.clone(), identity, config, runtime, connected);
        async move {
            conversing.await;
            drop(place);
        }
    }

    /// Sends a message to everybody in a topic. Tells how many that are.
    pub fn broadcast(&self, topic: impl Into<Text>, event: impl Into<Text>, payload: Payload) -> usize {
        self.shared.rooms.broadcast(&topic.into(), Broadcast::new(event, payload))
    }

    /// Who is present in a topic, as `presence_state` says it.
    #[must_use]
    pub fn presence_state(&self, topic: impl Into<Text>) -> Payload {
        self.shared.rooms.presence_state(&topic.into())
    }

    /// Waits until a shutdown begins.
    pub async fn closing(&self) {
        self.shared.connections.closing().await;
    }

    /// How it stands.
    #[must_use]
    pub fn counts(&self) -> ServerCounts {
        self.shared.counts()
    }

    /// Drops every connection without a word, as a network does that fails. For tests.
    pub fn abort_all(&self) {
        self.shared.connections.abort_all();
    }

    /// Runs a future in the background.
    pub(super) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        (self.spawn)(Box::pin(task));
    }

    async fn welcome<Io>(&self, io: Io) -> Option<BoxFuture<()>>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let time = self.shared.endpoint.options.handshake_timeout;
        let handshake = within(&self.runtime, time, async {
            match Incoming::read(io).await.ok()? {
                Incoming::Upgrade(request) => self.open_socket(request).await,
                Incoming::Http(connection) => {
                    let place = self.shared.connections.listen_to()?;
                    Some(self.clone().answer(connection, place))
                }
            }
        });
        self.shared.connections.handshake(handshake).await??
    }

    async fn open_socket<Io>(&self, request: UpgradeRequest<Io>) -> Option<BoxFuture<()>>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let frame_bytes = self.shared.accept.frame_bytes;
        match self.consider(request.decide(&self.shared.accept)) {
            Ok((upgrade, admitted)) => {
                let accepted = request.answer_with(Decision::Accept(upgrade), frame_bytes).await.ok()?;
                Some(Box::pin(self.attend(accepted.websocket, admitted)))
            }
            Err(response) => {
                // Whether it hears that is its own business.
                let _ = request.answer_with(Decision::Refuse(response), frame_bytes).await;
                None
            }
        }
    }

    /// Lets a client in whose request is good, or not.
    fn consider(&self, decision: Decision) -> Result<(Upgrade, Admitted), ResponseHead> {
        match decision {
            Decision::Accept(upgrade) => self.admit(&upgrade.admission).map(|admitted| (upgrade, admitted)),
            Decision::Refuse(response) => Err(self.shared.refuse(response, Refused::Request)),
        }
    }

    /// Answers requests, of which some may begin a session.
    fn answer<Io>(self, connection: HttpConnection<Io>, place: Taken) -> BoxFuture<()>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = Over::new(&self.runtime);
        Box::pin(async move {
            let serving = self.long_polls.serve(connection, runtime, |session| self.begin(session));
            select(pin!(serving), pin!(self.shared.connections.over())).await;
            drop(place);
        })
    }

    /// Lets a client in that polls, or not.
    fn begin(&self, session: LongPollSession) {
        let Admitted { serializer, identity, place } = match self.admit(&session.admission) {
            Ok(admitted) => admitted,
            // Said as Phoenix does, by the drop of the session.
            Err(response) if response.status == 403 => return,
            Err(response) => return session.refuse(response),
        };
        let mut config = self.shared.endpoint.options.session.clone();
        (config.serializer, config.idle_timeout) = (serializer, None);
        let connected = |conn, pump: ServerPump<_, _>| pump.with_long_poll(conn, session);
        let conversing = converse(self.shared.clone(), identity, config.into(), self.runtime.clone(), connected);
        self.start(async move {
            conversing.await;
            drop(place);
        });
    }
}

/// How many are connected.
impl<R> fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("counts", &self.shared.counts()).finish_non_exhaustive()
    }
}
