//! What a runtime has to bring: dialling, sleeping, and the time.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::{Either, select};
use rejoin_core::OpenError;

use crate::clock;

/// A future in a box; runtimes make one a connection attempt.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The part of an async runtime that a pump needs. A handle: clones are cheap and mean the same.
pub trait Runtime: Clone + Send + Sync + Unpin + 'static {
    /// A connected byte stream, encrypted or not.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A timer.
    type Sleep: Future<Output = ()> + Send + 'static;

    /// Connects to a host, which is a name or an address without brackets, and if it shall be
    /// `secure` does the TLS handshake. Dropping the future gives the attempt up; whoever dials
    /// bounds it in time.
    fn dial(&self, host: String, port: u16, secure: bool) -> BoxFuture<Result<Self::Io, OpenError>>;

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

/// What the future resolves to, unless that takes longer than `time`.
pub(crate) async fn within<R: Runtime, T>(runtime: &R, time: Duration, future: impl Future<Output = T>) -> Option<T> {
    // What is further away than the clock can say is never.
    let Some(deadline) = runtime.now().checked_add(time) else { return Some(future.await) };
    match select(pin!(future), pin!(runtime.sleep_until(deadline))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}
