//! The connections of a listener, whatever it listens to.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::select;

use super::handle::Server;
use crate::runtime::Runtime;

/// How long a listener rests when the system has no more sockets.
const EXHAUSTED: Duration = Duration::from_millis(100);

impl<R: Runtime> Server<R> {
    /// Serves every connection that `next` waits for, one task each, until a
    /// [`shutdown`](Self::shutdown) begins. Dropping the future lets nobody in any more; those who are
    /// there stay.
    pub async fn accept_all<Io, F>(&self, mut next: impl FnMut() -> F + Send)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = io::Result<Io>> + Send,
    {
        let listening = async {
            loop {
                match next().await {
                    Ok(io) => self.start(self.accept(io)),
                    // The socket's own trouble, or the system is out of sockets: neither ends the service.
                    Err(_) => self.runtime.sleep_until(self.runtime.now() + EXHAUSTED).await,
                }
            }
        };
        select(pin!(listening), pin!(self.closing())).await;
    }
}
