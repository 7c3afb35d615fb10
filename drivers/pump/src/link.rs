//! One connection at a time: dialling, open, closing. The pump's hands.

mod long_poll;
mod websocket;

use std::task::{Context, Poll};

use async_tungstenite::WebSocketStream;
use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::{ConnId, Frame, OpenError, Text};

use crate::read_ahead::ReadAhead;
use crate::runtime::BoxFuture;
use long_poll::LongPollLink;
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
}

/// What reading brought.
pub(crate) enum Read {
    Frame(Frame),
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
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Up<Io> {
    pub(crate) const fn websocket(conn: ConnId, websocket: WebSocketStream<ReadAhead<Io>>) -> Self {
        Self { conn, carrier: Carrier::WebSocket(WebSocketLink::new(websocket)) }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.poll_read(cx),
            Carrier::LongPoll(link) => link.poll_read(cx),
        }
    }

    /// Whether a frame can be handed over; an error shows again when reading.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.poll_ready(cx),
            Carrier::LongPoll(link) => link.poll_ready(cx),
        }
    }

    pub(crate) fn send(&mut self, frame: Frame) {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.send(frame),
            Carrier::LongPoll(link) => link.send(frame),
        }
    }

    pub(crate) fn send_close(&mut self, code: u16, reason: &Text) {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.send_close(code, reason),
            Carrier::LongPoll(link) => link.close(),
        }
    }

    /// Lets go of what was handed over.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) {
        match &mut self.carrier {
            Carrier::WebSocket(link) => link.poll_flush(cx),
            Carrier::LongPoll(link) => link.poll_flush(cx),
        }
    }
}
