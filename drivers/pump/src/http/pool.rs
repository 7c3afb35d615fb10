//! Connections that wait for their next request.

use std::task::Context;
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::origin::Origin;

/// Idle connections of one origin: one that is polled, and one for what is said meanwhile.
const AN_ORIGIN: usize = 2;
/// Idle connections altogether.
const ALTOGETHER: usize = 8;
/// How long one waits; servers commonly wait for a minute.
const IDLE: Duration = Duration::from_secs(30);

pub(super) struct Pool<Io> {
    /// The longest idle first.
    idle: Vec<Idle<Io>>,
}

struct Idle<Io> {
    origin: Origin,
    since: Instant,
    connection: Connection<Io>,
}

impl<Io> Default for Pool<Io> {
    fn default() -> Self {
        Self { idle: Vec::new() }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Pool<Io> {
    /// The connection to this origin that was used last, after a look at all of them.
    pub(super) fn take(&mut self, cx: &mut Context<'_>, origin: &Origin, now: Instant) -> Option<Connection<Io>> {
        self.idle.retain_mut(|idle| now.saturating_duration_since(idle.since) < IDLE && !idle.connection.is_over(cx));
        let newest = self.idle.iter().rposition(|idle| idle.origin == *origin)?;
        Some(self.idle.remove(newest).connection)
    }

    /// Keeps a connection, if need be at the cost of the longest idle one.
    pub(super) fn put(&mut self, origin: Origin, connection: Connection<Io>, now: Instant) {
        if self.idle.iter().filter(|idle| idle.origin == origin).count() >= AN_ORIGIN
            && let Some(oldest) = self.idle.iter().position(|idle| idle.origin == origin)
        {
            self.idle.remove(oldest);
        }
        if self.idle.len() >= ALTOGETHER {
            self.idle.remove(0);
        }
        self.idle.push(Idle { origin, since: now, connection });
    }
}
