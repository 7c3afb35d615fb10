//! What all connections of a server share: its limits, its rooms, and its counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rejoin_core::phoenix::{Admission, EndReason, ResponseHead, ServerConfig};
use rejoin_core::wire::Serializer;

use super::admitted::Admitted;
use super::connections::{Connections, NoRoom};
use super::endpoint::Settings;
use super::identity::Identity;
use super::report::{Refused, Report};
use super::rooms::Rooms;
use super::tokens;
use crate::accept::AcceptOptions;
use crate::retry_after::unavailable;
use crate::runtime::Runtime;
use crate::served::Time;

/// What connections share.
pub(super) struct Shared {
    pub(super) endpoint: Settings,
    pub(super) rooms: Arc<Rooms>,
    pub(super) time: Time,
    pub(super) connections: Connections,
    pub(super) accept: AcceptOptions,
    /// What is random in it.
    pub(super) seed: u64,
    unix_time: Box<dyn Fn() -> Duration + Send + Sync>,
    /// One for the clients of each serializer.
    v1: Arc<ServerConfig>,
    v2: Arc<ServerConfig>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    refused: AtomicU64,
    crashed: AtomicU64,
    dropped: AtomicU64,
    malformed: AtomicU64,
    limited: AtomicU64,
    too_slow: AtomicU64,
}

/// How a server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerCounts {
    /// Clients that are connected.
    pub connections: usize,
    /// Connections that have not said what they want.
    pub handshakes: usize,
    /// Topics that somebody is in.
    pub topics: usize,
    /// Clients in topics; one in two topics counts twice.
    pub members: usize,
    /// Handshakes that gave way to later ones, so far.
    pub handshakes_given_up: u64,
    /// Clients that were refused, so far.
    pub refused: u64,
    /// Channels that crashed, so far.
    pub crashed: u64,
    /// Messages that were dropped because their client reads too slowly, so far.
    pub dropped: u64,
    /// Messages that were not sent because their client's serializer cannot say them, so far: bytes
    /// under vsn 1.0.0, above all.
    pub skipped: u64,
    /// Clients that were cut off because they read too slowly, so far.
    pub too_slow: u64,
    /// Malformed frames, so far.
    pub malformed: u64,
    /// Messages and joins beyond a limit, so far.
    pub limited: u64,
}

impl Shared {
    pub(super) fn new<R: Runtime>(endpoint: Settings, runtime: &R) -> Self {
        let options = &endpoint.options;
        let config = |serializer| {
            let mut config = options.session.clone();
            config.serializer = serializer;
            Arc::new(config)
        };
        let (time, clock) = (Time::of(runtime), runtime.clone());
        let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
        Self {
            rooms: Arc::new(Rooms::new(options.hub.clone(), seed, endpoint.has_latest(), time.clone())),
            time,
            connections: Connections::new(options.connections, options.handshakes),
            accept: AcceptOptions {
                path: format!("{}/websocket", options.path),
                upgrade: options.upgrade.clone(),
                frame_bytes: options.session.frame_bytes,
            },
            seed,
            unix_time: Box::new(move || clock.unix_time()),
            v1: config(Serializer::V1),
            v2: config(Serializer::V2),
            tally: Tally::default(),
            endpoint,
        }
    }

    pub(super) fn config(&self, serializer: Serializer) -> Arc<ServerConfig> {
        if serializer == Serializer::V1 { self.v1.clone() } else { self.v2.clone() }
    }

    pub(super) fn admit(&self, admission: &Admission) -> Result<Admitted, ResponseHead> {
        let place = self.connections.admit().map_err(|no_room| {
            let why = match no_room {
                NoRoom::Full => Refused::Full,
                NoRoom::Closing => Refused::Closing,
            };
            self.refuse(unavailable(), why)
        })?;
        let token = admission.token.as_ref().map(|token| token.expose());
        match tokens::admit(&self.endpoint, token, self.unix_time()) {
            Ok(claims) => {
                let identity = Arc::new(Identity::new(admission.params.clone(), claims));
                Ok(Admitted { serializer: admission.serializer, identity, place })
            }
            Err(why) => Err(self.refuse(ResponseHead::forbidden(), Refused::Token(why))),
        }
    }

    pub(super) fn unix_time(&self) -> Duration {
        (self.unix_time)()
    }

    pub(super) fn refuse(&self, response: ResponseHead, why: Refused) -> ResponseHead {
        self.report(Report::Refused { status: response.status, why });
        response
    }

    pub(super) fn report(&self, report: Report) {
        let (counter, by) = match &report {
            Report::Refused { .. } => (&self.tally.refused, 1),
            Report::Crashed { .. } => (&self.tally.crashed, 1),
            Report::Dropped { messages, .. } => (&self.tally.dropped, *messages),
            Report::Limited { messages, .. } => (&self.tally.limited, *messages),
            Report::Malformed { .. } => (&self.tally.malformed, 1),
            Report::Ended { reason: EndReason::TooSlow, .. } => (&self.tally.too_slow, 1),
            Report::Connected { .. } | Report::Ended { .. } | Report::Unanswered { .. } => return self.tell(&report),
        };
        counter.fetch_add(by, Ordering::Relaxed);
        self.tell(&report);
    }

    fn tell(&self, report: &Report) {
        if let Some(report_to) = &self.endpoint.report_to {
            report_to(report);
        }
    }

    pub(super) fn counts(&self) -> ServerCounts {
        let (connections, handshakes, handshakes_given_up) = self.connections.counts();
        let (topics, members, skipped) = self.rooms.counts();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerCounts {
            connections,
            handshakes,
            topics,
            members,
            handshakes_given_up,
            refused: read(&self.tally.refused),
            crashed: read(&self.tally.crashed),
            dropped: read(&self.tally.dropped),
            skipped,
            malformed: read(&self.tally.malformed),
            limited: read(&self.tally.limited),
            too_slow: read(&self.tally.too_slow),
        }
    }
}
