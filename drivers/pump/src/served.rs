//! A server's session between its handles, which act on it from any task, and its pump, which sees to
//! what comes of that.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;
use rejoin_core::phoenix::{ServerConfig, ServerEvent, ServerSession};
use rejoin_core::{ConnId, Frame, Machine, Text, Timestamp, TransportAction, TransportEvent};

use crate::clock::Clock;
use crate::pump::Pump;
use crate::runtime::Runtime;

/// A pump of a server's session.
pub(crate) type ServerPump<B, R> = Pump<Served, B, R>;

/// A session, for its handles (of which the first is counted) and for its pump.
pub(crate) fn served(conn: ConnId, config: Arc<ServerConfig>, time: Time) -> (Arc<Shared>, Served) {
    let session = Mutex::new(ServerSession::new(config, conn, time.now()));
    let shared = Arc::new(Shared {
        conn,
        session,
        time,
        stirred: AtomicBool::new(false),
        host_is_busy: AtomicBool::new(false),
        pump: AtomicWaker::new(),
        handles: AtomicUsize::new(1),
        waiting: Mutex::default(),
        has_waiting: AtomicBool::new(false),
    });
    (shared.clone(), Served { shared, frames: VecDeque::new(), is_cut: false })
}

/// What handles and pump have in common.
pub(crate) struct Shared {
    pub(crate) conn: ConnId,
    session: Mutex<ServerSession>,
    pub(crate) time: Time,
    /// Somebody has acted on the session since its pump began to see to everything, or has seen to it.
    stirred: AtomicBool,
    /// Whoever hosts the client is not done with it; the pump goes on for that long.
    host_is_busy: AtomicBool,
    /// Woken when a call has given it something to do.
    pump: AtomicWaker,
    pub(crate) handles: AtomicUsize,
    /// Who waits for room in the outbox.
    waiting: Mutex<Vec<Waker>>,
    has_waiting: AtomicBool,
}

impl Shared {
    /// Nothing panics while it is held, so a poisoned lock is as good as a sound one.
    pub(crate) fn session(&self) -> MutexGuard<'_, ServerSession> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut ServerSession) -> T) -> T {
        let (done, waker) = self.act_quietly(act);
        if let Some(waker) = waker {
            waker.wake();
        }
        done
    }

    /// Leaves it to the caller to wake the pump, for callers that hold a lock: a waker may run whatever its
    /// runtime likes, and drop another connection.
    pub(crate) fn act_quietly<T>(&self, act: impl FnOnce(&mut ServerSession) -> T) -> (T, Option<Waker>) {
        let mut session = self.session();
        let done = act(&mut session);
        // Mostly it is: the first of many messages has woken the pump.
        let stirs = !self.stirred.load(Ordering::SeqCst);
        if stirs {
            self.stirred.store(true, Ordering::SeqCst);
        }
        drop(session);
        (done, if stirs { self.pump.take() } else { None })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_waiting(&self) {
        let mut waiting = self.waiting();
        self.has_waiting.store(false, Ordering::Relaxed);
        let wakers = std::mem::take(&mut *waiting);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Together: room that is made between the look and the entry would wake nobody.
        let mut waiting = self.waiting();
        self.has_waiting.store(true, Ordering::Relaxed);
        if !self.session().is_congested() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

pub(crate) const fn gone(conn: ConnId) -> TransportEvent {
    TransportEvent::Closed { conn, code: None, reason: Text::EMPTY }
}

/// The session as its pump sees it. It takes no commands from the pump, so that it never has to
/// hold any back.
pub(crate) struct Served {
    shared: Arc<Shared>,
    /// Taken from the session under one lock, and about to be sent.
    frames: VecDeque<Frame>,
    /// The pump was told to drop what is left of the connection.
    is_cut: bool,
}

/// What is taken at once: as much as a socket mostly takes at once.
const TAKEN_BYTES: usize = 32 * 1024;

/// A pump that is dropped drops the socket.
impl Drop for Served {
    fn drop(&mut self) {
        let now = self.shared.time.now();
        self.shared.session().handle_transport(now, gone(self.shared.conn));
        self.shared.wake_waiting();
    }
}

impl Served {
    pub(crate) fn hang_up(&self, now: Timestamp) {
        self.shared.session().close(now, 1000, Text::EMPTY);
    }
}

impl Machine for Served {
    type Event = ServerEvent;
    type Request = Infallible;

    fn handle_transport(&mut self, now: Timestamp, event: TransportEvent) {
        self.shared.session().handle_transport(now, event);
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.shared.session().handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.shared.session().poll_timeout()
    }

    fn poll_transport(&mut self) -> Option<TransportAction> {
        if self.frames.is_empty() {
            let mut session = self.shared.session();
            session.take_frames(TAKEN_BYTES, &mut self.frames);
            if self.frames.is_empty() {
                // An idle connection keeps nothing.
                self.frames = VecDeque::new();
                let action = session.poll_transport();
                if action.is_some() {
                    return action;
                }
                self.shared.stirred.store(false, Ordering::SeqCst);
                // The pump may have to go on for its host; the connection does not.
                let is_over = session.connection().is_none() && !std::mem::replace(&mut self.is_cut, true);
                return is_over.then_some(TransportAction::Abort { conn: self.shared.conn });
            }
        }
        let conn = self.shared.conn;
        self.frames.pop_front().map(|frame| TransportAction::Send { conn, frame })
    }

    fn poll_request(&mut self) -> Option<Infallible> {
        None
    }

    fn poll_event(&mut self) -> Option<ServerEvent> {
        self.shared.session().poll_event()
    }

    fn connection(&self) -> Option<ConnId> {
        self.shared.session().connection()
    }

    fn is_finished(&self) -> bool {
        !self.shared.host_is_busy.load(Ordering::Relaxed) && self.shared.session().is_finished()
    }
}

/// How a pump's bridge hears of what handles do.
///
/// While the pump runs nobody wakes it, and before it sleeps it looks whether somebody has tried.
pub(crate) struct Ears {
    shared: Arc<Shared>,
    waker: Option<Waker>,
    awake: bool,
}

impl Ears {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, waker: None, awake: false }
    }

    /// Before anything else of a poll.
    pub(crate) fn open(&mut self, cx: &Context<'_>) {
        if self.awake {
            return;
        }
        self.awake = true;
        self.shared.pump.take();
        self.shared.stirred.store(false, Ordering::SeqCst);
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// At the end of a poll.
    pub(crate) fn close(&mut self) {
        self.awake = false;
        let Some(waker) = &self.waker else { return };
        self.shared.pump.register(waker);
        if self.shared.stirred.load(Ordering::SeqCst) {
            self.shared.pump.wake();
        }
    }

    /// The waker of the pump.
    pub(crate) fn waker(&self) -> Option<&Waker> {
        self.waker.as_ref()
    }

    /// Says whether the pump has to go on after the end of the session.
    pub(crate) fn keep_going(&self, host_is_busy: bool) {
        self.shared.host_is_busy.store(host_is_busy, Ordering::Relaxed);
    }

    /// There is no command: handles act on the session themselves.
    pub(crate) fn poll_command(&self) -> Poll<Option<()>> {
        if self.shared.handles.load(Ordering::Acquire) == 0 { Poll::Ready(None) } else { Poll::Pending }
    }

    /// After a transmission: whoever waits for room may have it.
    pub(crate) fn make_room(&self) {
        if self.shared.has_waiting.load(Ordering::Relaxed) && !self.shared.session().is_congested() {
            self.shared.wake_waiting();
        }
    }
}

/// The time of many sockets.
#[derive(Clone)]
pub(crate) struct Time {
    pub(crate) clock: Clock,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Time {
    pub(crate) fn of<R: Runtime>(runtime: &R) -> Self {
        let (clock, runtime) = (Clock::new(runtime.now()), runtime.clone());
        Self { clock, now: Arc::new(move || clock.timestamp(runtime.now())) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }
}
