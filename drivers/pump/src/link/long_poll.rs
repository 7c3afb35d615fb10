//! Frames over HTTP exchanges, of which a [`LongPoll`] decides and an [`Http`] carries out.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use rejoin_core::http::{HttpError, HttpId, HttpResponse};
use rejoin_core::phoenix::LongPoll;
use rejoin_core::{ConnectRequest, Frame, OpenError, TransportEvent};

use super::{Carrier, Read, Up};
use crate::http::Http;
use crate::runtime::BoxFuture;

/// Opens a connection by long-poll. Dropping the future gives the attempt up.
pub(crate) async fn dial<Io>(
    http: Arc<dyn Http>,
    request: ConnectRequest,
    frame_bytes: usize,
) -> Result<Up<Io>, OpenError> {
    let conn = request.conn;
    let mut link = LongPollLink { machine: LongPoll::new(request, frame_bytes), http, exchanges: Vec::new() };
    poll_fn(|cx| link.poll_open(cx)).await?;
    Ok(Up { conn, carrier: Carrier::LongPoll(link) })
}

/// Dropping it gives its exchanges up.
pub(super) struct LongPollLink {
    machine: LongPoll,
    http: Arc<dyn Http>,
    /// The GET and the POST that are under way.
    exchanges: Vec<(HttpId, BoxFuture<Result<HttpResponse, HttpError>>)>,
}

impl LongPollLink {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OpenError>> {
        loop {
            match self.machine.poll_event() {
                Some(TransportEvent::Opened { .. }) => return Poll::Ready(Ok(())),
                Some(TransportEvent::OpenFailed { error, .. }) => return Poll::Ready(Err(error)),
                Some(_) => {}
                None if self.advance(cx) => {}
                None => return Poll::Pending,
            }
        }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        loop {
            match self.machine.poll_event() {
                Some(TransportEvent::Received { frame, .. }) => return Poll::Ready(Read::Frame(frame)),
                Some(TransportEvent::Alive { .. }) => return Poll::Ready(Read::Alive),
                Some(TransportEvent::Closed { code, reason, .. }) => return Poll::Ready(Read::End { code, reason }),
                Some(_) => {}
                None if self.advance(cx) => {}
                None => return Poll::Pending,
            }
        }
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // While there is room nothing is asked for: what is handed over in one go leaves with one POST.
        self.listen_on_the_side(cx);
        if self.machine.is_ready() {
            return Poll::Ready(());
        }
        self.poll_flush(cx);
        Poll::Pending
    }

    pub(super) fn send(&mut self, frame: Frame) {
        self.machine.send(frame);
    }

    /// No code can be told; the server learns of the end from nobody polling it.
    pub(super) fn close(&mut self) {
        self.machine.close();
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) {
        self.ask();
        self.listen_on_the_side(cx);
    }

    /// Asks and listens; true if something came of it.
    fn advance(&mut self, cx: &mut Context<'_>) -> bool {
        self.ask();
        self.listen(cx)
    }

    fn ask(&mut self) {
        while let Some(request) = self.machine.poll_request() {
            // A poll that is repeated would hide that the messages of its first answer are lost.
            self.exchanges.push((request.id, self.http.send_once(request)));
        }
    }

    fn listen(&mut self, cx: &mut Context<'_>) -> bool {
        let under_way = self.exchanges.len();
        self.exchanges.retain_mut(|(id, exchange)| match exchange.as_mut().poll(cx) {
            Poll::Ready(result) => {
                self.machine.handle_response(*id, result);
                false
            }
            Poll::Pending => true,
        });
        self.exchanges.len() < under_way
    }

    /// Listens where nobody looks at what comes of it: the pump is told to read once more.
    fn listen_on_the_side(&mut self, cx: &mut Context<'_>) {
        if self.listen(cx) {
            cx.waker().wake_by_ref();
        }
    }
}
