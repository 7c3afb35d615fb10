//! What a server's socket is about to be sent: whole WebSocket frames behind each other, in memory that
//! idle connections do not keep.
//!
//! A server does not mask (RFC 6455, section 5.1), so that a frame is a head of at most ten bytes and the
//! message as it is. Written here once, many messages leave with one system call, and a connection that was
//! busy gives the memory to the next one.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::AsyncWrite;
use rejoin_core::Frame;

/// Beyond so many bytes a writer has to wait for the socket.
const ENOUGH: usize = 128 * 1024;
/// Memory that is larger than this is not kept for the next connection.
const KEPT: usize = 256 * 1024;

thread_local! {
    /// Memory for whoever writes next on this thread.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Debug, Default)]
pub(crate) struct Gather {
    bytes: Vec<u8>,
    /// How many of them are on their way.
    sent: usize,
    /// Nobody will take more.
    is_broken: bool,
}

impl Gather {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the socket should take some before there is more.
    pub(crate) fn is_enough(&self) -> bool {
        self.bytes.len() - self.sent >= ENOUGH
    }

    pub(crate) fn frame(&mut self, frame: &Frame) {
        match frame {
            Frame::Binary(message) => self.message(0x82, message),
            Frame::Text(text) => match std::str::from_utf8(text.as_bytes()) {
                Ok(text) => self.message(0x81, text.as_bytes()),
                // Somebody assumed too much; who hears it must not be cut off for that.
                Err(_) => self.message(0x81, String::from_utf8_lossy(text.as_bytes()).as_bytes()),
            },
        }
    }

    fn message(&mut self, opcode: u8, message: &[u8]) {
        if self.is_broken {
            return;
        }
        self.bytes().push(opcode);
        match (u8::try_from(message.len()), u16::try_from(message.len())) {
            (Ok(len @ ..=125), _) => self.bytes.push(len),
            (_, Ok(len)) => {
                self.bytes.push(126);
                self.bytes.extend_from_slice(&len.to_be_bytes());
            }
            _ => {
                self.bytes.push(127);
                self.bytes.extend_from_slice(&(message.len() as u64).to_be_bytes());
            }
        }
        self.bytes.extend_from_slice(message);
    }

    /// Takes what is part of a frame or of no frame at all.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        if !self.is_broken {
            self.bytes().extend_from_slice(bytes);
        }
    }

    /// Ready when everything is with the socket.
    pub(crate) fn poll_drain<Io>(&mut self, mut io: Pin<&mut Io>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        Io: AsyncWrite,
    {
        while self.sent < self.bytes.len() {
            match io.as_mut().poll_write(cx, &self.bytes[self.sent..]) {
                Poll::Pending => {
                    self.forget_sent();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.broken(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(written)) => self.sent += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.broken(error))),
            }
        }
        self.give_back();
        Poll::Ready(Ok(()))
    }

    /// A reader that is always a little behind would never see this empty. By halves, so that a byte is
    /// moved once on average, however slowly the bytes behind it go.
    fn forget_sent(&mut self) {
        if self.sent >= self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// What is said until a reader of the socket has noticed is for nobody.
    fn broken(&mut self, error: io::Error) -> io::Error {
        *self = Self { is_broken: true, ..Self::default() };
        error
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        &mut self.bytes
    }

    fn give_back(&mut self) {
        self.sent = 0;
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() <= KEPT {
            bytes.clear();
            SPARE.set(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::*;
    use crate::memory::pipe;
    use crate::websocket::server_websocket_config;
    use async_tungstenite::WebSocketStream;
    use async_tungstenite::tungstenite::protocol::Role;
    use async_tungstenite::tungstenite::{Bytes, Message};
    use futures_lite::StreamExt as _;
    use futures_lite::future::{block_on, poll_fn, zip};
    use rejoin_core::Text;

    #[test]
    fn messages_of_every_length_are_read_as_they_were_written() {
        let (mut ours, theirs) = pipe();
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000];
        let writing = async {
            let mut gather = Gather::default();
            for len in lengths {
                gather.frame(&Frame::Binary(vec![7; len].into()));
                gather.frame(&Frame::Text("x".repeat(len).into()));
            }
            poll_fn(|cx| gather.poll_drain(Pin::new(&mut ours), cx)).await.unwrap();
            assert!(gather.is_empty() && gather.bytes.capacity() == 0, "nothing is kept");
            drop(ours);
        };
        let reading = async {
            let config = server_websocket_config(1 << 20);
            let mut reader = WebSocketStream::from_raw_socket(theirs, Role::Client, Some(config)).await;
            for len in lengths {
                assert_eq!(reader.next().await.unwrap().unwrap(), Message::Binary(Bytes::from(vec![7; len])));
                assert_eq!(reader.next().await.unwrap().unwrap(), Message::text("x".repeat(len)));
            }
        };
        block_on(zip(writing, reading));
    }

    /// A socket that takes so much each time it is asked, and then has to be waited for.
    struct Trickle(VecDeque<io::Result<usize>>);

    impl AsyncWrite for Trickle {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.0.pop_front().map_or(Poll::Pending, |taken| Poll::Ready(taken.map(|most| most.min(buf.len()))))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Says messages of 1,000 bytes to a socket while there is room, as a pump does.
    fn say_for_ever(mut socket: Trickle, then: impl Fn(&mut Trickle)) -> Gather {
        let (mut gather, mut cx) = (Gather::default(), Context::from_waker(Waker::noop()));
        for _ in 0..10_000 {
            if gather.is_enough() && gather.poll_drain(Pin::new(&mut socket), &mut cx).is_pending() {
                then(&mut socket);
                continue;
            }
            gather.frame(&Frame::Binary(vec![7; 1_000].into()));
        }
        gather
    }

    #[test]
    fn a_reader_that_is_always_a_little_behind_costs_no_more_memory_as_time_goes_by() {
        let gather = say_for_ever(Trickle(VecDeque::new()), |socket| socket.0.push_back(Ok(900)));
        assert!(gather.bytes.capacity() <= 4 * ENOUGH, "{} bytes", gather.bytes.capacity());
    }

    #[test]
    fn what_is_said_to_a_broken_socket_is_not_kept() {
        let reset = || Err(io::ErrorKind::ConnectionReset.into());
        let gather = say_for_ever(Trickle([reset(), reset()].into()), |_| {});
        assert_eq!(gather.bytes.capacity(), 0);
    }

    #[test]
    fn text_that_was_wrongly_assumed_to_be_utf8_is_sent_as_legal_text() {
        let mut gather = Gather::default();
        gather.frame(&Frame::Text(Text::assume_utf8(Bytes::from_static(b"a\xff"))));
        let legal = "a\u{fffd}".as_bytes();
        assert_eq!(gather.bytes, [&[0x81, 4], legal].concat());
    }
}
