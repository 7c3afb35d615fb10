//! A small read buffer for quiet connections, a large one while there is much to read.
//!
//! tungstenite's own buffer is allocated for the life of a connection, so it is kept at 8 KiB; but
//! 8 KiB a system call costs more than everything else at full load. This stream reads straight
//! into that buffer until a read fills it, then reads ahead, and gives the memory back after the
//! first read that would have fitted: at the latest with the next heartbeat's answer.
//!
//! A server's stream moreover gathers what is written until it is flushed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::Frame;

use crate::gather::Gather;

/// What is read at once while there is much to read.
const AHEAD: usize = 64 * 1024;
/// A read of less is a quiet one.
const QUIET: usize = 8 * 1024;
/// What is read for one message before the other tasks of the thread get their turn: a reader goes on for
/// as long as there are parts of a message, and parts may be empty.
const A_TURN: usize = 256 * 1024;

/// A byte stream that reads ahead under load. Connections of a [`Runtime`](crate::Runtime) are
/// made of these; an idle one holds no buffer.
#[derive(Debug)]
pub struct ReadAhead<Io> {
    io: Io,
    /// Empty while the connection is quiet.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// There was more to read than fits the reader's own buffer.
    busy: bool,
    /// What may still be read in this turn; everything before the first one.
    allowance: usize,
    /// A server's.
    gather: Option<Gather>,
}

impl<Io> ReadAhead<Io> {
    /// Wraps a connected stream.
    #[must_use]
    pub const fn new(io: Io) -> Self {
        Self { io, buffer: Vec::new(), start: 0, end: 0, busy: false, allowance: usize::MAX, gather: None }
    }

    /// Wraps an accepted stream. Its pump writes messages without masks, as a server has to.
    #[must_use]
    pub fn server(io: Io) -> Self {
        Self { gather: Some(Gather::default()), ..Self::new(io) }
    }

    /// Begins to read a message, or goes on with one.
    pub(crate) const fn begin_turn(&mut self) {
        self.allowance = A_TURN;
    }

    pub(crate) const fn is_server(&self) -> bool {
        self.gather.is_some()
    }
}

impl<Io: AsyncWrite + Unpin> ReadAhead<Io> {
    /// Takes a message of a server, behind all that it was given before.
    pub(crate) fn gather(&mut self, frame: &Frame) {
        if let Some(gather) = &mut self.gather {
            gather.frame(frame);
        }
    }

    /// Whether there is room for more.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.gather {
            Some(gather) if gather.is_enough() => gather.poll_drain(Pin::new(&mut self.io), cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ready when everything is with the stream, which may keep it until it is flushed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.gather {
            Some(gather) if !gather.is_empty() => gather.poll_drain(Pin::new(&mut self.io), cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for ReadAhead<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.allowance == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.start == this.end {
            if !this.busy {
                this.buffer = Vec::new();
                let read = ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                this.busy = read == buf.len();
                this.allowance = this.allowance.saturating_sub(read);
                return Poll::Ready(Ok(read));
            }
            if this.buffer.is_empty() {
                this.buffer = vec![0; AHEAD];
            }
            let read = ready!(Pin::new(&mut this.io).poll_read(cx, &mut this.buffer))?;
            (this.start, this.end) = (0, read);
            this.busy = read >= QUIET;
        }
        let read = buf.len().min(this.end - this.start);
        buf[..read].copy_from_slice(&this.buffer[this.start..this.start + read]);
        this.start += read;
        this.allowance = this.allowance.saturating_sub(read);
        Poll::Ready(Ok(read))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for ReadAhead<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_room(cx))?;
        match &mut this.gather {
            Some(gather) => {
                // All of it, so that nothing of a server gets between the parts of a frame.
                gather.raw(buf);
                Poll::Ready(Ok(buf.len()))
            }
            None => Pin::new(&mut this.io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::io::Cursor;
    use futures_util::task::noop_waker_ref;

    #[test]
    fn every_byte_arrives_in_order_whatever_the_readers_room() {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let mut stream = ReadAhead::new(Cursor::new(bytes.clone()));
        let mut cx = Context::from_waker(noop_waker_ref());
        let (mut got, mut room) = (Vec::new(), 1);
        loop {
            let mut buf = vec![0; room];
            let Poll::Ready(Ok(read)) = Pin::new(&mut stream).poll_read(&mut cx, &mut buf) else { panic!("it ends") };
            if read == 0 {
                break;
            }
            got.extend_from_slice(&buf[..read]);
            room = room * 2 % 9_001 + 1;
        }
        assert!(got == bytes);
    }
}
