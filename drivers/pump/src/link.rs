//! One connection at a time: dialling, open, closing. The pump's hands.

mod long_poll;
mod long_poll_peer;
mod websocket;

use std::task::{Context, Poll};

use async_tungstenite::WebSocketStream;
use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::{ConnId, Frame, OpenError, Text, Timestamp};

use crate::long_poll::LongPollSession;
use crate::read_ahead::ReadAhead;
use crate::runtime::BoxFuture;
use long_poll::LongPollLink;
use long_poll_peer::LongPollPeerLink;
use websocket::WebSocketLink;

pub(crate) use long_poll::dial as dial_long_poll;

pub(crate) enum Link<Io> {
    Down,
    Dialling { conn: ConnId, attempt: BoxFuture<Result<Up<Io>, OpenError>> },
    Up(Box<Up<Io>>),
}

/// An open connection, whatever carries its frames.
pub(crate) struct Up<Io> {
    pub(crate) conn: ConnId,
    carrier: Carrier<Io>,
}

enum Carrier<Io> {
    WebSocket(WebSocketLink<Io>),
    LongPoll(LongPollLink),
    LongPollPeer(LongPollPeerLink),
}

/// What reading brought.
pub(crate) enum Read {
    Frame(Frame),
    /// Nothing, from a peer that lives.
    Alive,
    /// What is no message, and needs its turn like one.
    Control,
    /// The connection is over; `code` is what the peer gave as a reason.
    End {
        code: Option<u16>,
        reason: Text,
    },
}

impl<Io> Link<Io> {
    pub(crate) const fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Down => None,
            Self::Dialling { conn, .. } => Some(*conn),
            Self::Up(up) => Some(up.conn),
        }
    }

    pub(crate) const fn is_websocket(&self) -> bool {
        matches!(self, Self::Up(up) if matches!(up.carrier, Carrier::WebSocket(_)))
    }

    /// When the connection itself wants to be looked at, whatever the machine waits for.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Up(up) => up.poll_timeout(),
            Self::Down | Self::Dialling { .. } => None,
        }
    }
}

impl<Io> Up<Io> {
    pub(crate) fn long_poll_session(session: LongPollSession, conn: ConnId, now: Timestamp) -> Self {
        let (machine, exchanges, seat) = session.admit(conn, now);
        Self { conn, carrier: Carrier::LongPollPeer(LongPollPeerLink::new(machine, exchanges, seat, now)) }
    }

    /// A client's own exchanges keep their own deadlines, and a WebSocket has none.
    fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.carrier {
            Carrier::WebSocket(_) | Carrier::LongPoll(_) => None,
            Carrier::LongPollPeer(link) => link.poll_timeout(),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Up<Io> {
    pub(crate) fn websocket(conn: ConnId, websocket: WebSocketStream<ReadAhead<Io>>) -> Self {
        Self { conn, carrier: Carrier::WebSocket(WebSocketLink::new(websocket)) }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Poll<Read> {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.poll_read(cx),
            Carrier::LongPoll(link) => link.poll_read(cx),
            Carrier::LongPollPeer(link) => link.poll_read(cx, now),
        }
    }

    /// Whether a frame can be handed over; an error shows again when reading.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Poll<()> {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.poll_ready(cx),
            Carrier::LongPoll(link) => link.poll_ready(cx),
            Carrier::LongPollPeer(link) => link.poll_ready(cx, now),
        }
    }

    pub(crate) fn send(&mut self, frame: Frame) {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.send(frame),
            Carrier::LongPoll(link) => link.send(frame),
            Carrier::LongPollPeer(link) => link.send(self.conn, frame),
        }
    }

    pub(crate) fn send_close(&mut self, code: u16, reason: Text) {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.send_close(code, &reason),
            Carrier::LongPoll(link) => link.close(),
            Carrier::LongPollPeer(link) => link.send_close(self.conn, code, reason),
        }
    }

    /// Lets go of what was handed over.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.poll_flush(cx),
            Carrier::LongPoll(link) => link.poll_flush(cx),
            Carrier::LongPollPeer(link) => link.poll_flush(cx, now),
        }
    }
}
