//! A runtime whose streams come from anywhere.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::OpenError;

use crate::runtime::{BoxFuture, Runtime};

/// The runtime of a server, which does not dial.
pub(super) struct Over<R, Io> {
    runtime: R,
    io: PhantomData<fn() -> Io>,
}

impl<R: Clone, Io> Over<R, Io> {
    pub(super) fn new(runtime: &R) -> Self {
        Self { runtime: runtime.clone(), io: PhantomData }
    }
}

impl<R: Clone, Io> Clone for Over<R, Io> {
    fn clone(&self) -> Self {
        Self::new(&self.runtime)
    }
}

impl<R: Runtime, Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> Runtime for Over<R, Io> {
    type Io = Io;
    type Sleep = R::Sleep;

    fn dial(&self, _: String, _: u16, _: bool) -> BoxFuture<Result<Io, OpenError>> {
        Box::pin(async { Err(OpenError::io("a server does not dial")) })
    }

    fn sleep_until(&self, deadline: Instant) -> R::Sleep {
        self.runtime.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        self.runtime.now()
    }

    fn unix_time(&self) -> Duration {
        self.runtime.unix_time()
    }
}
