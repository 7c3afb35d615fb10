//! Frames over a WebSocket.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::CloseFrame;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::{Sink, Stream};
use rejoin_core::{Frame, Text};

use super::Read;
use crate::read_ahead::ReadAhead;
use crate::websocket::{close_code_for, to_frame, to_message};

pub(super) struct WebSocketLink<Io> {
    websocket: WebSocketStream<ReadAhead<Io>>,
    /// Messages are written past tungstenite, which masks and copies and keeps memory for them.
    is_server: bool,
    /// Something was written since the last complete flush.
    unflushed: bool,
    /// Some of that by tungstenite: a pong, or a close.
    has_control: bool,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> WebSocketLink<Io> {
    pub(super) fn new(websocket: WebSocketStream<ReadAhead<Io>>) -> Self {
        let is_server = websocket.get_ref().is_server();
        Self { websocket, is_server, unflushed: false, has_control: false }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        self.stream().begin_turn();
        Poll::Ready(match ready!(self.websocket().poll_next(cx)) {
            Some(Ok(Message::Close(frame))) => {
                // The echo is queued; what the kernel does not take at once is not worth waiting for.
                let _ = self.poll_flush_all(cx);
                // 1005 is how WebSocket says that a close frame had no code.
                let (code, reason) =
                    frame.map_or((1005, Text::EMPTY), |frame| (frame.code.into(), Text::from(frame.reason.as_str())));
                Read::End { code: Some(code), reason }
            }
            Some(Ok(message)) => to_frame(message).map_or_else(
                || {
                    // A ping's pong is queued and leaves with the next flush.
                    (self.unflushed, self.has_control) = (true, true);
                    Read::Control
                },
                Read::Frame,
            ),
            Some(Err(error)) => {
                if let Some(code) = close_code_for(&error) {
                    self.send_close(code, &Text::EMPTY);
                    let _ = self.poll_flush_all(cx);
                }
                Read::End { code: None, reason: error.to_string().into() }
            }
            None => Read::End { code: None, reason: Text::EMPTY },
        })
    }

    /// Whether a frame can be handed over; an error shows again when reading.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_server {
            return self.websocket().poll_ready(cx).map(|_| ());
        }
        if self.has_control {
            // First, and as tungstenite does when it reads: a socket remembers one waker, and of two that
            // take turns each would wake the other for ever.
            self.poll_flush(cx);
            return if self.has_control { Poll::Pending } else { Poll::Ready(()) };
        }
        self.stream().poll_room(cx).map(|_| ())
    }

    pub(super) fn send(&mut self, frame: Frame) {
        self.unflushed = true;
        if self.is_server {
            self.stream().gather(&frame);
        } else {
            // An error ends the connection, which reading reports.
            let _ = self.websocket().start_send(to_message(frame));
        }
    }

    pub(super) fn send_close(&mut self, code: u16, reason: &Text) {
        (self.unflushed, self.has_control) = (true, true);
        let frame = CloseFrame { code: code.into(), reason: reason.as_str().into() };
        let _ = self.websocket().start_send(Message::Close(Some(frame)));
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) {
        if !self.unflushed {
            return;
        }
        let flushed = if self.is_server && !self.has_control {
            Pin::new(self.stream()).poll_flush(cx).is_ready()
        } else {
            self.poll_flush_all(cx).is_ready()
        };
        if flushed {
            (self.unflushed, self.has_control) = (false, false);
        }
    }

    /// What tungstenite holds back, and then the stream: after a server's answer to a close, tungstenite
    /// takes the connection for closed and flushes nothing.
    fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An error shows again when reading.
        let _ = ready!(self.websocket().poll_flush(cx));
        if self.is_server { Pin::new(self.stream()).poll_flush(cx).map(|_| ()) } else { Poll::Ready(()) }
    }

    fn websocket(&mut self) -> Pin<&mut WebSocketStream<ReadAhead<Io>>> {
        Pin::new(&mut self.websocket)
    }

    fn stream(&mut self) -> &mut ReadAhead<Io> {
        self.websocket.get_mut()
    }
}
