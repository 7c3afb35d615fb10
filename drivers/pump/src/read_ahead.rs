//! A small read buffer for quiet connections, a large one while there is much to read.
//!
//! tungstenite's own buffer is allocated for the life of a connection, so it is kept at 8 KiB; but
//! 8 KiB a system call costs more than everything else at full load. This stream reads straight
//! into that buffer until a read fills it, then reads ahead, and gives the memory back after the
//! first read that would have fitted: at the latest with the next heartbeat's answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

/// What is read at once while there is much to read.
const AHEAD: usize = 64 * 1024;
/// A read of less is a quiet one.
const QUIET: usize = 8 * 1024;

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
}

impl<Io> ReadAhead<Io> {
    /// Wraps a connected stream.
    #[must_use]
    pub const fn new(io: Io) -> Self {
        Self { io, buffer: Vec::new(), start: 0, end: 0, busy: false }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for ReadAhead<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.start == this.end {
            if !this.busy {
                this.buffer = Vec::new();
                let read = ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                this.busy = read == buf.len();
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
        Poll::Ready(Ok(read))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for ReadAhead<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_close(cx)
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
