//! Simulated HTTP: exchanges that take their time, stall, break off and get lost on either way.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::http::{HttpError, HttpId, HttpRequest, HttpResponse};
use rejoin_core::phoenix::LongPollResponse;
use rejoin_core::{ConnId, Timestamp};

use crate::weather::Dial;

/// The exchanges between one client and its servers, each with a number of its own.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) latency_ms: u16,
    /// What happens to requests for a new session.
    pub(super) dial: Dial,
    /// Nothing arrives anywhere.
    pub(super) stalled: bool,
    /// How many answers are lost from now on.
    pub(super) lost_answers: u8,
    exchanges: BTreeMap<u64, Exchange>,
    last: u64,
}

#[derive(Debug)]
struct Exchange {
    conn: ConnId,
    id: HttpId,
    deadline: Timestamp,
    body_limit: usize,
    leg: Leg,
}

#[derive(Debug)]
enum Leg {
    ToServer { at: Timestamp, request: HttpRequest },
    AtServer,
    ToClient { at: Timestamp, result: Result<HttpResponse, HttpError> },
    Lost,
}

/// What arrives somewhere.
#[derive(Debug)]
pub(super) enum Arrival {
    Request {
        number: u64,
        request: HttpRequest,
    },
    Result {
        conn: ConnId,
        id: HttpId,
        result: Result<HttpResponse, HttpError>,
    },
    /// The server learns that nobody waits for its answer.
    HungUp {
        number: u64,
    },
}

impl Http {
    pub(super) fn fair() -> Self {
        Self {
            latency_ms: 20,
            dial: Dial::Accept,
            stalled: false,
            lost_answers: 0,
            exchanges: BTreeMap::new(),
            last: 0,
        }
    }

    /// The client sends a request on behalf of a connection.
    pub(super) fn request(&mut self, now: Timestamp, conn: ConnId, request: HttpRequest) {
        self.last += 1;
        let (id, body_limit) = (request.id, request.body_limit);
        let deadline = now.saturating_add(request.timeout);
        let dial = if request.url.contains("token=") { Dial::Accept } else { self.dial };
        let at = now.saturating_add(self.latency());
        let leg = match dial {
            Dial::Accept => Leg::ToServer { at, request },
            Dial::Slow { ms } => Leg::ToServer { at: at.saturating_add(Duration::from_millis(ms.into())), request },
            Dial::Refuse { status, retry_after_s } => {
                let mut response = HttpResponse::new(status, "");
                response.retry_after = retry_after_s.map(|s| Duration::from_secs(s.into()));
                Leg::ToClient { at: at.saturating_add(self.latency()), result: Ok(response) }
            }
            Dial::Fail => Leg::ToClient { at, result: Err(HttpError::Unreachable("refused".into())) },
            Dial::Silent => Leg::Lost,
        };
        self.exchanges.insert(self.last, Exchange { conn, id, deadline, body_limit, leg });
    }

    /// The server answers.
    pub(super) fn answer(&mut self, now: Timestamp, number: u64, response: &LongPollResponse) {
        let at = now.saturating_add(self.latency());
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        if !matches!(exchange.leg, Leg::AtServer) {
            return;
        }
        if self.lost_answers > 0 {
            self.lost_answers -= 1;
            exchange.leg = Leg::Lost;
            return;
        }
        let limit = exchange.body_limit;
        let fits = response.body.len() <= limit;
        let response = HttpResponse::new(response.status, response.body.clone());
        let result = if fits { Ok(response) } else { Err(HttpError::TooLarge { limit }) };
        exchange.leg = Leg::ToClient { at, result };
    }

    /// The client gives up a connection, and its requests with it.
    pub(super) fn drop_connection(&mut self, conn: ConnId) -> Vec<Arrival> {
        let of_conn = self.exchanges.iter().filter(|(_, exchange)| exchange.conn == conn);
        let numbers: Vec<_> = of_conn.map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| self.hang_up(number)).collect()
    }

    /// All exchanges break off but the oldest few, and both sides are told.
    pub(super) fn cut(&mut self, now: Timestamp, keep: u8) -> Vec<Arrival> {
        let mut hung_up = Vec::new();
        for (number, exchange) in self.exchanges.iter_mut().skip(keep.into()) {
            if matches!(exchange.leg, Leg::AtServer) {
                hung_up.push(Arrival::HungUp { number: *number });
            }
            exchange.leg = Leg::ToClient { at: now, result: Err(HttpError::Broken("cut".into())) };
        }
        hung_up
    }

    /// All exchanges are lost and nobody is told.
    pub(super) fn vanish(&mut self) {
        self.exchanges.values_mut().for_each(|exchange| exchange.leg = Leg::Lost);
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        let arrives = |leg: &Leg| match leg {
            Leg::ToServer { at, .. } | Leg::ToClient { at, .. } if !self.stalled => Some(*at),
            _ => None,
        };
        self.exchanges.values().flat_map(|e| [arrives(&e.leg), Some(e.deadline)]).flatten().min()
    }

    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Arrival> {
        let stalled = self.stalled;
        let due = |exchange: &Exchange| match &exchange.leg {
            Leg::ToServer { at, .. } | Leg::ToClient { at, .. } if *at <= now && !stalled => Some(*at),
            _ => (exchange.deadline <= now).then_some(exchange.deadline),
        };
        let first = self.exchanges.iter().filter_map(|(n, exchange)| Some((due(exchange)?, *n))).min()?.1;
        let exchange = self.exchanges.get_mut(&first)?;
        if exchange.deadline <= now {
            let (conn, id) = (exchange.conn, exchange.id);
            if matches!(exchange.leg, Leg::AtServer) {
                // First the server's side of it; the client's comes next, for it is due all the same.
                exchange.leg = Leg::Lost;
                return Some(Arrival::HungUp { number: first });
            }
            self.exchanges.remove(&first);
            return Some(Arrival::Result { conn, id, result: Err(HttpError::TimedOut) });
        }
        match std::mem::replace(&mut exchange.leg, Leg::AtServer) {
            Leg::ToServer { request, .. } => Some(Arrival::Request { number: first, request }),
            Leg::ToClient { result, .. } => {
                let (conn, id) = (exchange.conn, exchange.id);
                self.exchanges.remove(&first);
                Some(Arrival::Result { conn, id, result })
            }
            Leg::AtServer | Leg::Lost => None,
        }
    }

    /// How many exchanges of a connection are under way, by method: polls and pushes.
    pub(super) fn under_way(&self, conn: ConnId) -> usize {
        self.exchanges.values().filter(|exchange| exchange.conn == conn).count()
    }

    fn hang_up(&mut self, number: u64) -> Option<Arrival> {
        let exchange = self.exchanges.remove(&number)?;
        matches!(exchange.leg, Leg::AtServer).then_some(Arrival::HungUp { number })
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms.into())
    }
}
