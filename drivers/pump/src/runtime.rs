//! What a runtime has to bring: connecting, sleeping, and the time.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use async_tungstenite::WebSocketStream;
use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::{ConnectRequest, OpenError};

use crate::clock;
use crate::read_ahead::ReadAhead;

/// A future in a box; runtimes make one a connection attempt.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The part of an async runtime that a pump needs.
pub trait Runtime: Send + Sync + Unpin + 'static {
    /// A connected byte stream, encrypted or not.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A timer.
    type Sleep: Future<Output = ()> + Send + 'static;

    /// Connects and upgrades. Dropping the future gives the attempt up; the machine's own timeout
    /// bounds it. `frame_bytes` is the largest message to accept.
    fn connect(
        &self,
        request: ConnectRequest,
        frame_bytes: usize,
    ) -> BoxFuture<Result<WebSocketStream<ReadAhead<Self::Io>>, OpenError>>;

    /// Completes at `deadline`.
    fn sleep_until(&self, deadline: Instant) -> Self::Sleep;

    /// The time on the axis of `sleep_until`.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// The wall clock: the time since the Unix epoch, zero if the clock stands before that. Unlike
    /// [`now`](Runtime::now) it may jump, and goes on while the host is suspended.
    fn unix_time(&self) -> Duration {
        clock::unix_time()
    }
}
