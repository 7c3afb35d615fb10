//! A TCP stream that can be closed and knows when there is nothing to read.
//!
//! `Async<TcpStream>` alone takes `poll_close` for a flush, so that its peer would hear of the end only when
//! it is dropped; and it asks the system at every poll, although a pump that was woken to write, as those of
//! a server mostly are, has nothing to read.

use std::io::{self, IoSlice, Read as _};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_io::Async;
use futures_util::io::{AsyncRead, AsyncWrite};

/// A connected TCP stream of async-io.
#[derive(Debug)]
pub struct Tcp {
    io: Async<TcpStream>,
    /// The last read took all there was: the system is asked again when it has said that there is more.
    drained: bool,
}

impl From<Async<TcpStream>> for Tcp {
    fn from(tcp: Async<TcpStream>) -> Self {
        Self { io: tcp, drained: false }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.drained {
                ready!(self.io.poll_readable(cx))?;
                self.drained = false;
            }
            match self.io.get_ref().read(buf) {
                Ok(read) => {
                    self.drained = 0 < read && read < buf.len();
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        Poll::Ready(self.io.get_ref().shutdown(Shutdown::Write))
    }
}
