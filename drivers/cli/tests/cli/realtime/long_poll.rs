//! Clients that poll: each session a peer behind the server's half of long-poll.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use futures_lite::future::or;
use rejoin_core::http::HttpId;
use rejoin_core::phoenix::{LongPollBody, LongPollCall, LongPollConfig, LongPollPeer, LongPollResponse, RequestHead};
use rejoin_core::{Machine, Timestamp};
use rejoin_sim::supabase::SupabasePeer;
use smol::Timer;

use super::http::{Request, Response};
use super::{Order, Shared, lock};

pub(super) type Sessions = Mutex<BTreeMap<String, Sender<Exchange>>>;

/// One request of a client, which is answered once.
pub(super) struct Exchange {
    call: Call,
    answer: Sender<LongPollResponse>,
}

enum Call {
    Poll,
    Push(LongPollBody, Vec<u8>),
}

impl Shared {
    /// Answers a request when there is something to say.
    pub(super) async fn polled(self: &Arc<Self>, request: Request) -> Response {
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (token, call) = match LongPollCall::of(&RequestHead::new(&request.method, &request.target, headers)) {
            LongPollCall::Poll { token, .. } => (token, Call::Poll),
            LongPollCall::Push { token, body } => (token, Call::Push(body, request.body.clone())),
            LongPollCall::Answered(response) => return response.into(),
            other => unreachable!("nobody knows how to answer {other:?}"),
        };
        let session = token.and_then(|token| lock(&self.sessions).get(token.as_str()).cloned());
        let response = match (session, call) {
            (Some(session), call) => {
                let (answer, answered) = async_channel::bounded(1);
                // The answer of a session that has just ended is none.
                let _ = session.send(Exchange { call, answer }).await;
                answered.recv().await.unwrap_or_else(|_| LongPollResponse::gone())
            }
            (None, Call::Push(..)) => LongPollResponse::gone(),
            (None, Call::Poll) => self.begin(&request).await,
        };
        response.into()
    }

    /// A session for a client that has none.
    async fn begin(self: &Arc<Self>, request: &Request) -> LongPollResponse {
        let config = self.config_now();
        let upgrade = match self.check(&config, &request.target, &request.headers) {
            Ok(upgrade) => upgrade,
            Err(refused) => {
                Timer::after(refused.delay).await;
                return LongPollResponse::forbidden();
            }
        };
        let (conn, peer, orders) = self.peer(config, upgrade);
        // Nobody but the tests could guess it.
        let token = format!("session-{}", conn.get());
        let (sender, exchanges) = async_channel::unbounded();
        lock(&self.sessions).insert(token.clone(), sender);
        let polls = LongPollPeer::new(LongPollConfig::default(), conn, token.as_str(), Timestamp::ZERO);
        let session = Session { polls, peer, began: Instant::now(), held: BTreeMap::new(), exchanges: 0 };
        let response = LongPollResponse::opened(&token);
        let shared = self.clone();
        smol::spawn(async move {
            session.run(&shared, exchanges, orders).await;
            lock(&shared.sessions).remove(&token);
            lock(&shared.peers).remove(&conn);
        })
        .detach();
        response
    }
}

struct Session {
    polls: LongPollPeer,
    peer: SupabasePeer,
    began: Instant,
    /// Who waits for an answer.
    held: BTreeMap<HttpId, Sender<LongPollResponse>>,
    exchanges: u64,
}

enum Next {
    Asked(Exchange),
    Ordered(Order),
    TimePassed,
    Over,
}

impl Session {
    /// Lives until its client is gone and has been told so.
    async fn run(mut self, shared: &Shared, exchanges: Receiver<Exchange>, orders: Pin<Box<Receiver<Order>>>) {
        while !self.polls.is_finished() {
            let deadlines = [self.polls.poll_timeout(), self.peer.poll_timeout()];
            let wait = deadlines.into_iter().flatten().min().map(|at| at.saturating_since(self.now()));
            let next = or(
                async { exchanges.recv().await.map_or(Next::Over, Next::Asked) },
                or(async { orders.recv().await.map_or(Next::Over, Next::Ordered) }, passed(wait)),
            );
            match next.await {
                Next::Asked(exchange) => self.ask(exchange),
                Next::Ordered(order) => {
                    let now = self.now();
                    order(&mut self.peer, now);
                }
                Next::TimePassed => {}
                Next::Over => return,
            }
            self.settle(shared);
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO.saturating_add(self.began.elapsed())
    }

    fn ask(&mut self, Exchange { call, answer }: Exchange) {
        self.exchanges += 1;
        let (id, now) = (HttpId::new(self.exchanges), self.now());
        self.held.insert(id, answer);
        match call {
            Call::Poll => self.polls.poll(now, id),
            Call::Push(kind, body) => self.polls.push(now, id, kind, &body.into()),
        }
    }

    /// Carries everything to where it belongs.
    fn settle(&mut self, shared: &Shared) {
        let now = self.now();
        self.polls.handle_timeout(now);
        self.peer.handle_timeout(now);
        loop {
            if let Some(event) = self.polls.poll_event() {
                self.peer.handle_transport(now, event);
            } else if let Some(action) = self.peer.poll_transport() {
                self.polls.handle_action(now, action);
            } else if let Some(event) = self.peer.poll_event() {
                shared.note(self.polls.conn(), event);
            } else {
                break;
            }
        }
        while let Some((id, response)) = self.polls.poll_response() {
            // Whoever has hung up does not hear it.
            self.held.remove(&id).map(|answer| answer.try_send(response));
        }
    }
}

async fn passed(wait: Option<Duration>) -> Next {
    match wait {
        Some(wait) => drop(Timer::after(wait).await),
        None => std::future::pending().await,
    }
    Next::TimePassed
}
