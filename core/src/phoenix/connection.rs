//! The connection automaton: idle, waiting, connecting, connected, closing, closed.
//!
//! Everything that decides a transition is in this file; what a transition does to channels and
//! pushes is the session's business. Only a local `disconnect` or `close` is final: every remote
//! close, whatever its code, leads to another attempt (specification, section 3.4).

use core::time::Duration;

use crate::machine::ConnId;
use crate::time::Timestamp;

/// What the connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// No connection is wanted.
    Idle,
    /// The next attempt waits for its time.
    Waiting,
    /// An attempt is under way.
    Connecting,
    /// The socket is open.
    Connected,
    /// `close` was called and the peer's close frame is awaited.
    Closing,
    /// Closed for good.
    Closed,
}

#[derive(Debug)]
pub(super) struct Connection {
    link: Link,
    last: u64,
    /// Delays taken since the last proof of life: the next step of the backoff.
    retries: u32,
    /// Attempts since then that opened nothing, or something that died without proof of life.
    failures: u32,
    /// Whether the present connection has proved to be alive.
    proven: bool,
}

#[derive(Clone, Copy, Debug)]
enum Link {
    Idle,
    Waiting {
        retry_at: Timestamp,
    },
    Connecting {
        conn: ConnId,
        deadline: Timestamp,
    },
    Connected {
        conn: ConnId,
    },
    /// Nothing is wanted, and the peer's answer to our close frame is still awaited, so that what
    /// was sent before it is not lost with the socket.
    HangingUp {
        conn: ConnId,
        deadline: Timestamp,
    },
    Closing {
        conn: ConnId,
        deadline: Timestamp,
    },
    Closed,
}

/// What a connection timer that has come due means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Retry,
    ConnectTimeout(ConnId),
    HangUpTimeout(ConnId),
    CloseTimeout(ConnId),
}

impl Connection {
    pub(super) const fn new() -> Self {
        Self { link: Link::Idle, last: 0, retries: 0, failures: 0, proven: false }
    }

    pub(super) const fn state(&self) -> ConnectionState {
        match self.link {
            Link::Idle | Link::HangingUp { .. } => ConnectionState::Idle,
            Link::Waiting { .. } => ConnectionState::Waiting,
            Link::Connecting { .. } => ConnectionState::Connecting,
            Link::Connected { .. } => ConnectionState::Connected,
            Link::Closing { .. } => ConnectionState::Closing,
            Link::Closed => ConnectionState::Closed,
        }
    }

    /// The connection that is spoken for: being opened, open or being closed.
    pub(super) const fn current(&self) -> Option<ConnId> {
        match self.link {
            Link::Connecting { conn, .. } | Link::Connected { conn } | Link::Closing { conn, .. } => Some(conn),
            Link::Idle | Link::Waiting { .. } | Link::HangingUp { .. } | Link::Closed => None,
        }
    }

    /// The connection that nobody wants any more and that is not gone yet.
    pub(super) const fn lingering(&self) -> Option<ConnId> {
        match self.link {
            Link::HangingUp { conn, .. } => Some(conn),
            _ => None,
        }
    }

    /// The connection, if frames can be sent on it.
    pub(super) const fn open(&self) -> Option<ConnId> {
        match self.link {
            Link::Connected { conn } => Some(conn),
            _ => None,
        }
    }

    /// A new attempt with a number of its own.
    pub(super) fn dial(&mut self, now: Timestamp, timeout: Duration) -> ConnId {
        self.last += 1;
        self.proven = false;
        let conn = ConnId::new(self.last);
        self.link = Link::Connecting { conn, deadline: now.saturating_add(timeout) };
        conn
    }

    /// Moves the deadline of the attempt that is under way.
    pub(super) const fn extend_dial(&mut self, until: Timestamp) {
        if let Link::Connecting { deadline, .. } = &mut self.link {
            *deadline = until;
        }
    }

    /// The attempt succeeded; false if it is not the present one.
    pub(super) fn opened(&mut self, conn: ConnId) -> bool {
        let ours = matches!(self.link, Link::Connecting { conn: current, .. } if current == conn);
        if ours {
            self.link = Link::Connected { conn };
        }
        ours
    }

    /// Counts a loss: which step of the backoff follows, and how many failures in a row there were.
    pub(super) const fn count_loss(&mut self) -> (u32, u32) {
        if !self.proven {
            self.failures = self.failures.saturating_add(1);
        }
        let step = self.retries;
        self.retries = self.retries.saturating_add(1);
        (step, self.failures)
    }

    /// The peer has proved to be alive: delays start again at their first step.
    pub(super) const fn proof_of_life(&mut self) {
        self.proven = true;
        self.start_afresh();
    }

    /// The user asked for a connection: earlier failures do not count.
    pub(super) const fn start_afresh(&mut self) {
        (self.retries, self.failures) = (0, 0);
    }

    pub(super) const fn wait(&mut self, retry_at: Timestamp) {
        self.link = Link::Waiting { retry_at };
    }

    pub(super) const fn rest(&mut self) {
        self.link = Link::Idle;
    }

    pub(super) fn hanging_up(&mut self, conn: ConnId, deadline: Timestamp) {
        self.link = Link::HangingUp { conn, deadline };
    }

    pub(super) fn closing(&mut self, conn: ConnId, deadline: Timestamp) {
        self.link = Link::Closing { conn, deadline };
    }

    pub(super) const fn closed(&mut self) {
        self.link = Link::Closed;
    }

    pub(super) const fn due(&self) -> Option<(Timestamp, Due)> {
        match self.link {
            Link::Waiting { retry_at } => Some((retry_at, Due::Retry)),
            Link::Connecting { conn, deadline } => Some((deadline, Due::ConnectTimeout(conn))),
            Link::HangingUp { conn, deadline } => Some((deadline, Due::HangUpTimeout(conn))),
            Link::Closing { conn, deadline } => Some((deadline, Due::CloseTimeout(conn))),
            Link::Idle | Link::Connected { .. } | Link::Closed => None,
        }
    }
}
