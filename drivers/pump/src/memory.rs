//! A runtime without sockets and without waiting: for testing code over the handles.
//!
//! [`MemoryRuntime::dial`](crate::Runtime::dial) gives one end of an in-memory pipe to the pump,
//! whatever the host is called; [`MemoryListener::accept`] gives the other end to the test, which
//! serves it with [`serve`](crate::serve). Time stands still until [`MemoryRuntime::advance`] moves it; the wall
//! clock begins at 1 800 000 000 s after the Unix epoch and moves with it, or alone when
//! [`MemoryRuntime::suspend`] says that the host slept.
//!
//! ```
//! use rejoin_pump::core::phoenix::{Config, JoinOptions, ServerConfig, ServerEvent};
//! use rejoin_pump::core::{ConnId, Payload};
//! use rejoin_pump::{ConnectOptions, connect_with, memory, serve};
//!
//! # futures_lite::future::block_on(async {
//! let (runtime, listener) = memory::network();
//! let config = Config::new("ws://test/socket").unwrap();
//! let (client, pump) = connect_with(config, ConnectOptions::default(), runtime.clone());
//!
//! let server = async {
//!     let accepted = listener.accept().await.unwrap();
//!     let config = ServerConfig::new(accepted.serializer);
//!     let (peer, mut events, pump) = serve(accepted.websocket, ConnId::new(1), config, runtime);
//!     let host = async {
//!         while let Some(event) = events.next().await {
//!             if let ServerEvent::Join { join, .. } = event {
//!                 peer.accept_join(join, Payload::EMPTY).unwrap();
//!             }
//!         }
//!     };
//!     futures_lite::future::zip(pump, host).await
//! };
//! let application = async {
//!     let (channel, mut events) = client.join("room:lobby", JoinOptions::default()).await.unwrap();
//!     assert_eq!(events.joined().await, Ok(Payload::EMPTY));
//!     drop(channel);
//!     client.close().await;
//! };
//! futures_lite::future::zip(futures_lite::future::zip(pump, server), application).await;
//! # });
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use futures_io::{AsyncRead, AsyncWrite};
use rejoin_core::OpenError;

use crate::accept::{AcceptOptions, Accepted, UpgradeRequest};
use crate::runtime::{BoxFuture, Runtime};

/// Bytes that a pipe holds in each direction before its writer waits.
const PIPE_BYTES: usize = 64 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: usize = 16;
/// The wall clock of a new network: 15 January 2027, 08:00 UTC.
const UNIX_TIME: Duration = Duration::from_secs(1_800_000_000);

/// A runtime and the server side of its network. Both may be cloned.
#[must_use]
pub fn network() -> (MemoryRuntime, MemoryListener) {
    let (dialled, accepted) = async_channel::bounded(BACKLOG);
    let (now, unix_time) = (Instant::now(), UNIX_TIME);
    let time = Arc::new(Mutex::new(Time { now, unix_time, sleepers: BTreeMap::new(), last_sleeper: 0 }));
    (MemoryRuntime { dialled, time }, MemoryListener { accepted })
}

/// A [`Runtime`] whose connections are pipes and whose time is told by the test.
#[derive(Clone)]
pub struct MemoryRuntime {
    dialled: Sender<MemoryIo>,
    time: Arc<Mutex<Time>>,
}

struct Time {
    now: Instant,
    unix_time: Duration,
    sleepers: BTreeMap<u64, (Instant, Waker)>,
    last_sleeper: u64,
}

impl MemoryRuntime {
    /// Moves time forward and wakes who has slept long enough.
    pub fn advance(&self, by: Duration) {
        let mut time = lock(&self.time);
        time.now += by;
        time.unix_time += by;
        let now = time.now;
        let mut due = Vec::new();
        time.sleepers.retain(|_, (at, waker)| {
            let is_due = *at <= now;
            due.extend(is_due.then(|| waker.clone()));
            !is_due
        });
        drop(time);
        due.into_iter().for_each(Waker::wake);
    }

    /// Moves the wall clock only, as when a laptop sleeps with its lid closed: timers stand still
    /// and nobody is woken.
    pub fn suspend(&self, by: Duration) {
        lock(&self.time).unix_time += by;
    }
}

impl fmt::Debug for MemoryRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRuntime").finish_non_exhaustive()
    }
}

impl Runtime for MemoryRuntime {
    type Io = MemoryIo;
    type Sleep = MemorySleep;

    fn dial(&self, _: String, _: u16, _: bool) -> BoxFuture<Result<MemoryIo, OpenError>> {
        let dialled = self.dialled.clone();
        Box::pin(async move {
            let (ours, theirs) = pipe();
            dialled.send(theirs).await.map_err(|_| OpenError::io("nobody listens"))?;
            Ok(ours)
        })
    }

    fn sleep_until(&self, deadline: Instant) -> MemorySleep {
        let mut time = lock(&self.time);
        time.last_sleeper += 1;
        MemorySleep { deadline, id: time.last_sleeper, time: self.time.clone() }
    }

    fn now(&self) -> Instant {
        lock(&self.time).now
    }

    fn unix_time(&self) -> Duration {
        lock(&self.time).unix_time
    }
}

/// The server side of a [`network`].
#[derive(Clone)]
pub struct MemoryListener {
    accepted: Receiver<MemoryIo>,
}

impl MemoryListener {
    /// The next WebSocket, of any path; `None` once every runtime of the network is gone. Who asks
    /// for something else, or may not come in by the default
    /// [`UpgradeConfig`](rejoin_core::phoenix::UpgradeConfig), is refused.
    pub async fn accept(&self) -> Option<Accepted<MemoryIo>> {
        loop {
            let request = UpgradeRequest::read(self.accept_io().await?).await;
            let Ok(request) = request else { continue };
            let AcceptOptions { upgrade, frame_bytes, .. } = AcceptOptions::default();
            let decision = upgrade.decide(&request.head());
            if let Ok(accepted) = request.answer_with(decision, frame_bytes).await {
                return Some(accepted);
            }
        }
    }

    /// The next connection, of which nothing was read; `None` once every runtime of the network is
    /// gone.
    pub async fn accept_io(&self) -> Option<MemoryIo> {
        self.accepted.recv().await.ok()
    }
}

impl fmt::Debug for MemoryListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryListener").finish_non_exhaustive()
    }
}

/// Completes when the network's time has reached its deadline.
pub struct MemorySleep {
    deadline: Instant,
    /// A task may have several.
    id: u64,
    time: Arc<Mutex<Time>>,
}

impl Drop for MemorySleep {
    fn drop(&mut self) {
        // A waker may own a task with further sleeps in it: it is dropped after the lock is free.
        let _sleeper = lock(&self.time).sleepers.remove(&self.id);
    }
}

impl Future for MemorySleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut time = lock(&self.time);
        if time.now >= self.deadline {
            return Poll::Ready(());
        }
        time.sleepers.insert(self.id, (self.deadline, cx.waker().clone()));
        Poll::Pending
    }
}

/// One end of an in-memory byte pipe. Dropping it ends the other end's reading.
pub struct MemoryIo {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub(crate) fn pipe() -> (MemoryIo, MemoryIo) {
    let (one, two) = (Arc::<Mutex<Pipe>>::default(), Arc::<Mutex<Pipe>>::default());
    (MemoryIo { incoming: one.clone(), outgoing: two.clone() }, MemoryIo { incoming: two, outgoing: one })
}

impl Pipe {
    /// Tells whom to wake once its lock is free: a waker may drop the task that has the other end.
    fn end(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.ended = true;
        [self.reader.take(), self.writer.take()].into_iter().flatten()
    }
}

impl AsyncRead for MemoryIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.incoming);
        if pipe.bytes.is_empty() && !pipe.ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let read = io::Read::read(&mut pipe.bytes, buf)?;
        let writer = pipe.writer.take();
        drop(pipe);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for MemoryIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.outgoing);
        if pipe.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = PIPE_BYTES - pipe.bytes.len();
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let written = buf.len().min(room);
        pipe.bytes.extend(&buf[..written]);
        let reader = pipe.reader.take();
        drop(pipe);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wakers = lock(&self.outgoing).end();
        wakers.for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryIo {
    fn drop(&mut self) {
        for pipe in [&self.outgoing, &self.incoming] {
            // One after the other: the other end locks them the other way round.
            let wakers = lock(pipe).end();
            wakers.for_each(Waker::wake);
        }
    }
}

/// Nothing panics while one is held, so a poisoned lock is as good as a sound one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
