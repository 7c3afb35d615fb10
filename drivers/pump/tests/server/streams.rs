//! Byte streams that keep to the letter of their contract, and to no more.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_util::io::{AsyncRead, AsyncWrite, BufWriter};
use rejoin_core::Payload;
use rejoin_pump::memory::MemoryIo;

use crate::lab::{Lab, ok};

#[test]
fn a_stream_that_keeps_what_it_is_given_until_it_is_flushed_brings_every_answer() {
    let mut lab = Lab::new();
    let mut socket = lab.socket_over(BufWriter::new);
    socket.join(&mut lab, "room:1");
    for n in 0..3 {
        socket.push(&mut lab, "room:1", "7", "echo", &format!("{n}"));
        assert_eq!(socket.hear(&mut lab), [ok("room:1", "7", &format!("{n}"))]);
    }
}

/// Wakes whoever waited to write when somebody else does, as the sockets of async-io do.
struct OneWriter {
    io: MemoryIo,
    waiting: Option<Waker>,
}

impl AsyncRead for OneWriter {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for OneWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let waited = self.waiting.take().filter(|waker| !waker.will_wake(cx.waker()));
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if written.is_pending() {
            self.waiting = Some(cx.waker().clone());
            waited.into_iter().for_each(Waker::wake);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

#[test]
fn a_client_that_pings_and_does_not_read_keeps_nobody_busy() {
    let mut lab = Lab::new();
    let mut socket = lab.socket_over(|io| OneWriter { io, waiting: None });
    socket.join(&mut lab, "room:1");
    let message = Payload::json(&"x".repeat(10_000)).unwrap();
    for _ in 0..100 {
        lab.server.broadcast("room:1", "news", message.clone());
    }
    lab.rig.settle();
    // Here the rig would see a task spin.
    socket.ping(&mut lab);
    lab.server.broadcast("room:1", "last", Payload::EMPTY);
    lab.rig.settle();
    let heard = socket.hear(&mut lab);
    assert_eq!(heard.iter().filter(|line| line.contains("news")).count(), 100);
    assert!(heard.iter().any(|line| line.contains("last")), "what came after the ping");
    assert_eq!(lab.standing(), [1, 0, 1, 1]);
}
