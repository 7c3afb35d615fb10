//! Frames over the HTTP exchanges of one client, whose connections belong to a hub.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_channel::Receiver;
use futures_channel::oneshot;
use futures_util::Stream;
use rejoin_core::http::HttpId;
use rejoin_core::phoenix::{LongPollPeer, LongPollResponse};
use rejoin_core::{ConnId, Frame, Text, Timestamp, TransportAction, TransportEvent};

use super::Read;
use crate::long_poll::{Call, Exchange, Seat};

pub(super) struct LongPollPeerLink {
    machine: LongPollPeer,
    exchanges: Pin<Box<Receiver<Exchange>>>,
    /// Whoever waits for an answer: the last GET and what is pushed.
    waiting: Vec<(HttpId, oneshot::Sender<LongPollResponse>)>,
    last_id: u64,
    now: Timestamp,
    /// After it is gone the client is told so.
    _seat: Seat,
}

/// Senders keep what waits in a queue alive, and whoever waits for its answer would wait for ever.
impl Drop for LongPollPeerLink {
    fn drop(&mut self) {
        self.exchanges.close();
        while self.exchanges.try_recv().is_ok() {}
    }
}

impl LongPollPeerLink {
    pub(super) fn new(machine: LongPollPeer, exchanges: Receiver<Exchange>, seat: Seat, now: Timestamp) -> Self {
        Self { machine, exchanges: Box::pin(exchanges), waiting: Vec::new(), last_id: 0, now, _seat: seat }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Poll<Read> {
        self.advance(now);
        loop {
            match self.machine.poll_event() {
                Some(TransportEvent::Received { frame, .. }) => return Poll::Ready(Read::Frame(frame)),
                Some(TransportEvent::Closed { code, reason, .. }) => return Poll::Ready(Read::End { code, reason }),
                Some(_) => {}
                // Only now: a client that pushes faster than its messages are read has to wait.
                None => match self.exchanges.as_mut().poll_next(cx) {
                    Poll::Ready(Some(exchange)) => self.begin(exchange),
                    // The seat keeps the sender.
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Once a response is full, the rest waits in the session until the client polls again.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Poll<()> {
        self.now = now;
        if !self.machine.has_room() {
            self.poll_flush(cx, now);
        }
        if self.machine.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn send(&mut self, conn: ConnId, frame: Frame) {
        self.machine.handle_action(self.now, TransportAction::Send { conn, frame });
    }

    pub(super) fn send_close(&mut self, conn: ConnId, code: u16, reason: Text) {
        self.machine.handle_action(self.now, TransportAction::Close { conn, code, reason });
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.advance(now);
        // A response to somebody who has gone would be lost, and the messages in it.
        self.waiting.retain_mut(|(id, answer)| {
            let is_there = answer.poll_canceled(cx).is_pending();
            if !is_there {
                self.machine.hung_up(*id);
            }
            is_there
        });
        while let Some((id, response)) = self.machine.poll_response() {
            if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
                // Who has gone this very moment polls no more either.
                let _ = self.waiting.swap_remove(at).1.send(response);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.machine.poll_timeout()
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = now;
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
    }

    fn begin(&mut self, Exchange { call, answer }: Exchange) {
        self.last_id += 1;
        let id = HttpId::new(self.last_id);
        self.waiting.push((id, answer));
        match call {
            Call::Poll => self.machine.poll(self.now, id),
            Call::Push { kind, body } => self.machine.push(self.now, id, kind, &body),
        }
    }
}
