//! A byte stream that writes and reads at the same time, and keeps what was read too much.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

/// Bytes read at once.
const CHUNK: usize = 8 * 1024;

pub(crate) struct Connection<Io> {
    io: Io,
    /// What was read and not yet consumed.
    pub(crate) incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// How much of `outgoing` the stream has taken.
    sent: usize,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Connection<Io> {
    pub(crate) const fn new(io: Io) -> Self {
        Self { io, incoming: Vec::new(), outgoing: Vec::new(), sent: 0 }
    }

    /// Queues bytes for the next `fill`.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Reads some more, and meanwhile writes: a peer may answer before it has heard everything.
    /// `Ok(0)` is the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| {
            // A peer that hears no more may have said why: what it said is still to be read. The
            // bytes stay where they are, so that the connection does not count as clean.
            let _ = self.poll_send(cx);
            self.poll_receive(cx)
        })
        .await
    }

    /// Forgets what was read first. A connection of which everything is consumed holds no buffer.
    pub(crate) fn consume(&mut self, len: usize) {
        if len == self.incoming.len() {
            self.incoming = Vec::new();
        } else {
            self.incoming.drain(..len);
        }
    }

    /// Reads until there is a whole head, up to and including its empty line, and gives its length.
    /// One of more than `limit` bytes is `InvalidData`.
    pub(crate) async fn read_head(&mut self, limit: usize) -> io::Result<usize> {
        const END: &[u8] = b"\r\n\r\n";
        let mut searched = 0;
        loop {
            let found = self.incoming[searched..].windows(END.len()).position(|window| window == END);
            match found.map(|at| searched + at + END.len()) {
                Some(len) if len <= limit => return Ok(len),
                None if self.incoming.len() < limit => {}
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the request has no end")),
            }
            searched = self.incoming.len().saturating_sub(END.len() - 1);
            if self.fill().await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended"));
            }
        }
    }

    /// Writes what is queued.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx)).await
    }

    /// Writes what is queued, and that there will be no more.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        self.flush().await?;
        poll_fn(|cx| Pin::new(&mut self.io).poll_close(cx)).await
    }

    /// The stream, without what was read and not consumed.
    pub(crate) fn into_io(self) -> Io {
        self.io
    }

    /// Whether nothing is under way in either direction.
    pub(crate) const fn is_clean(&self) -> bool {
        self.outgoing.is_empty() && self.incoming.is_empty()
    }

    /// Whether the peer has hung up, or says something without having been asked.
    pub(crate) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_receive(cx).is_ready()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.outgoing.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.outgoing[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        (self.outgoing, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [0; CHUNK];
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut chunk))?;
        self.incoming.extend_from_slice(&chunk[..read]);
        Poll::Ready(Ok(read))
    }
}
