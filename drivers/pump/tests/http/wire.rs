//! One end of a connection, which says what the test says.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_util::{AsyncRead, AsyncWrite, FutureExt};
use rejoin_pump::Runtime;
use rejoin_pump::memory::{MemoryIo, MemoryListener, MemoryRuntime};

use crate::rig::Rig;

/// One end of a connection.
pub(crate) struct Wire(pub(crate) MemoryIo);

impl Wire {
    /// The server's end for the client that has waited longest, if one is waiting.
    pub(crate) fn accept(listener: &MemoryListener) -> Option<Self> {
        listener.accept_io().now_or_never().flatten().map(Self)
    }

    /// The client's end of a new connection.
    pub(crate) fn dial(runtime: &MemoryRuntime) -> Self {
        Self(runtime.dial("test".into(), 80, false).now_or_never().expect("room for it").expect("somebody listens"))
    }

    /// Says everything, as the peer makes room for it, or as much as it listens to.
    pub(crate) fn say(&mut self, rig: &mut Rig, text: &str) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let Poll::Ready(Ok(written)) = Pin::new(&mut self.0).poll_write(&mut cx, rest) else { break };
            rest = &rest[written..];
            rig.settle();
        }
    }

    /// Everything that has arrived.
    pub(crate) fn heard(&mut self) -> String {
        let mut heard = Vec::new();
        while matches!(self.read(&mut heard), Some(1..)) {}
        String::from_utf8(heard).unwrap()
    }

    /// Whether the peer has closed the connection, after everything that was heard.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.read(&mut Vec::new()) == Some(0)
    }

    pub(crate) fn end_of_speech(&mut self) {
        assert!(Pin::new(&mut self.0).poll_close(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    fn read(&mut self, heard: &mut Vec<u8>) -> Option<usize> {
        let mut chunk = [0; 4096];
        let read = Pin::new(&mut self.0).poll_read(&mut Context::from_waker(Waker::noop()), &mut chunk);
        let Poll::Ready(read) = read else { return None };
        let read = read.unwrap();
        heard.extend_from_slice(&chunk[..read]);
        Some(read)
    }
}
