//! Broadcasts over HTTP: the requests that are on their way, and the receipts of whoever sent them.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_channel::oneshot;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rejoin_core::http::{HttpError, HttpId, HttpRequest, HttpResponse};
use rejoin_core::phoenix::PushId;
use rejoin_core::supabase::{HttpBroadcastError, HttpFailure};

use crate::http::Http;
use crate::runtime::BoxFuture;

/// Resolves when a broadcast over HTTP is over, in its place among the events. Dropping it abandons
/// the answer, not the broadcast; the end of the client gives the broadcast up.
#[must_use = "a broadcast whose ticket is dropped is still sent if the client lives long enough, and nobody hears how it ended"]
pub struct HttpTicket(oneshot::Receiver<Result<(), HttpBroadcastFailed>>);

pub(super) type HttpTicketSender = oneshot::Sender<Result<(), HttpBroadcastFailed>>;

/// Why a broadcast over HTTP was not accepted by the server, or why nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpBroadcastFailed {
    /// The session did not send it.
    Refused(HttpBroadcastError),
    /// The server refused it, or there is no answer.
    Failed(HttpFailure),
    /// The pump is gone.
    Closed,
}

impl fmt::Display for HttpBroadcastFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Failed(failure) => failure.fmt(f),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl std::error::Error for HttpBroadcastFailed {}

pub(super) fn http_ticket() -> (HttpTicketSender, HttpTicket) {
    let (sender, receiver) = oneshot::channel();
    (sender, HttpTicket(receiver))
}

impl Future for HttpTicket {
    type Output = Result<(), HttpBroadcastFailed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(cx);
        answer.map(|answer| answer.unwrap_or(Err(HttpBroadcastFailed::Closed)))
    }
}

type Answer = Result<HttpResponse, HttpError>;

/// What the session has asked of HTTP, and who waits for it.
pub(super) struct Requests {
    http: Box<dyn Http>,
    /// As many as the session allows.
    in_flight: FuturesUnordered<BoxFuture<(HttpId, Answer)>>,
    tickets: BTreeMap<PushId, HttpTicketSender>,
}

impl Requests {
    pub(super) fn new(http: Box<dyn Http>) -> Self {
        Self { http, in_flight: FuturesUnordered::new(), tickets: BTreeMap::new() }
    }

    pub(super) fn send(&self, request: HttpRequest) {
        let id = request.id;
        let answer = self.http.send(request);
        self.in_flight.push(Box::pin(async move { (id, answer.await) }));
    }

    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<(HttpId, Answer)> {
        match self.in_flight.poll_next_unpin(cx) {
            Poll::Ready(Some(answer)) => Poll::Ready(answer),
            _ => Poll::Pending,
        }
    }

    pub(super) fn keep_ticket(&mut self, sent: Result<PushId, HttpBroadcastError>, ticket: HttpTicketSender) {
        match sent {
            Ok(id) => drop(self.tickets.insert(id, ticket)),
            // Whoever asked may be gone.
            Err(error) => drop(ticket.send(Err(HttpBroadcastFailed::Refused(error)))),
        }
    }

    pub(super) fn done(&mut self, push: PushId, outcome: Result<(), HttpFailure>) {
        if let Some(ticket) = self.tickets.remove(&push) {
            let _ = ticket.send(outcome.map_err(HttpBroadcastFailed::Failed));
        }
    }
}
