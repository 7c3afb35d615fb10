//! The one task that owns a machine and its socket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use futures_util::FutureExt as _;
use futures_util::future::Fuse;
use rejoin_core::{
    ConnId, ConnectRequest, Machine, OpenError, Timestamp, TransportAction, TransportEvent, TransportKind,
};

use crate::clock::{Clock, WallClock};
use crate::http::{Http, HttpClient};
use crate::link::{Link, Read, Up, dial_long_poll};
use crate::long_poll::LongPollSession;
use crate::read_ahead::ReadAhead;
use crate::runtime::{BoxFuture, Runtime};
use crate::tap::{Direction, Tap};
use crate::websocket;

/// Messages read before the readers of their events get a turn.
const READS_A_POLL: usize = 128;
/// Bytes read before that: large messages are handed on while they are in the cache, and their
/// memory comes back before the next ones need it.
const BYTES_A_POLL: usize = 32 * 1024;
/// Commands carried out before the socket gets a turn.
const COMMANDS_A_TURN: usize = 64;
/// Turns before the other tasks of the thread get theirs.
const TURNS_A_POLL: usize = 32;

/// Between a machine and the handles of an application.
pub trait Bridge<M: Machine>: Unpin + Send + 'static {
    /// Carries out one command: `Ready(Some)` if there was one, `Ready(None)` once no handle can
    /// send another.
    fn poll_command(&mut self, cx: &mut Context<'_>, machine: &mut M, now: Timestamp) -> Poll<Option<()>>;
    /// Whether events may be delivered. While they may not, nothing is read from the socket.
    fn poll_ready(&mut self, cx: &mut Context<'_>, machine: &M) -> Poll<()>;
    /// Takes an event; its reader may be woken later, by `publish`.
    fn deliver(&mut self, machine: &mut M, now: Timestamp, event: M::Event);
    /// Lets the readers see what was delivered.
    fn publish(&mut self);
    /// Takes a request.
    fn request(&mut self, machine: &mut M, now: Timestamp, request: M::Request);
    /// Drives what answers the requests and hands answers to the machine; true if one was. Called
    /// each turn after `request`, also while the machine is congested and after `hang_up`.
    fn poll_answers(&mut self, cx: &mut Context<'_>, machine: &mut M, now: Timestamp) -> bool {
        let _ = (cx, machine, now);
        false
    }
    /// What the wall clock says: before the first turn, then whenever a second has passed or a timer
    /// has fired, and at least every 30 seconds while the machine has a connection or a deadline.
    ///
    /// `jumped` says that it went more than two seconds further, or less far, than the runtime's
    /// time since the last call: the host was suspended, or somebody set the clock.
    fn wall_clock(&mut self, machine: &mut M, now: Timestamp, since_unix_epoch: Duration, jumped: bool) {
        let _ = (machine, now, since_unix_epoch, jumped);
    }
    /// The last handle is gone.
    fn hang_up(&mut self, machine: &mut M, now: Timestamp);
}

/// Drives one machine over one socket at a time. Resolves when the machine is finished; dropping
/// it drops the socket.
pub struct Pump<M: Machine, B, R: Runtime> {
    machine: M,
    bridge: B,
    runtime: R,
    clock: Clock,
    wall_clock: WallClock,
    link: Link<R::Io>,
    /// Made for the first connection by long-poll.
    http: Option<Arc<dyn Http>>,
    timer: Option<(Timestamp, Pin<Box<R::Sleep>>)>,
    tap: Option<Box<dyn Tap>>,
    frame_bytes: usize,
    hung_up: bool,
}

/// What one poll may still read.
struct Budget {
    reads: usize,
    bytes: usize,
}

impl Budget {
    const fn is_spent(&self) -> bool {
        self.reads == 0 || self.bytes == 0
    }

    const fn spend(&mut self, bytes: usize) {
        self.reads -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl<M: Machine, B, R: Runtime> Pump<M, B, R> {
    /// A pump for a machine that dials by itself. `frame_bytes` bounds what it reads.
    pub fn new(machine: M, bridge: B, runtime: R, clock: Clock, frame_bytes: usize) -> Self {
        Self {
            machine,
            bridge,
            runtime,
            clock,
            wall_clock: WallClock::default(),
            link: Link::Down,
            http: None,
            timer: None,
            tap: None,
            frame_bytes,
            hung_up: false,
        }
    }

    /// The same pump, with a socket that is open already.
    #[must_use]
    pub fn with_socket(mut self, conn: ConnId, websocket: WebSocketStream<ReadAhead<R::Io>>) -> Self {
        self.link = Link::Up(Box::new(Up::websocket(conn, websocket)));
        self
    }

    /// The same pump, with a long-poll session, whose client is let in. The machine must not take a
    /// silent client for a dead one: a client that does not poll is gone, which the connection tells.
    #[must_use]
    pub fn with_long_poll(mut self, conn: ConnId, session: LongPollSession) -> Self {
        let now = self.clock.timestamp(self.runtime.now());
        self.link = Link::Up(Box::new(Up::long_poll_session(session, conn, now)));
        self
    }

    /// The same pump, with somebody looking on.
    #[must_use]
    pub fn with_tap(mut self, tap: Option<Box<dyn Tap>>) -> Self {
        self.tap = tap;
        self
    }
}

impl<M, B, R> Pump<M, B, R>
where
    M: Machine + Unpin,
    B: Bridge<M>,
    R: Runtime,
{
    /// The pump, which is dropped as soon as it resolves: handles and streams learn of the end from
    /// the drop of the bridge, and whoever drives the pump may keep it for longer.
    pub(crate) fn until_finished(self) -> Fuse<Self> {
        self.fuse()
    }
}

impl<M, B, R> Future for Pump<M, B, R>
where
    M: Machine + Unpin,
    B: Bridge<M>,
    R: Runtime,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut budget = Budget { reads: READS_A_POLL, bytes: BYTES_A_POLL };
        for _ in 0..TURNS_A_POLL {
            let now = this.clock.timestamp(this.runtime.now());
            // Before the deadlines: what a machine does about them may depend on the time of day.
            this.look_at_wall_clock(now);
            if this.machine.poll_timeout().is_some_and(|at| at <= now) {
                this.machine.handle_timeout(now);
            }
            // Each step says whether it moved something; only a turn without movement may sleep.
            let mut moved = this.dial(cx, now);
            let mut found_no_room = false;
            moved |= this.read(cx, now, &mut budget, &mut found_no_room);
            moved |= this.carry_out_commands(cx, now);
            moved |= this.transmit(cx, now);
            this.requests(now);
            moved |= this.bridge.poll_answers(cx, &mut this.machine, now);
            let has_room = this.deliver(cx, now, &mut moved).is_ready();
            // Readers that have no room wake the pump when they have, but not one that has made some
            // since the reading stopped for it.
            moved |= has_room && found_no_room;
            if this.machine.is_finished() {
                this.bridge.publish();
                return Poll::Ready(());
            }
            if budget.is_spent() {
                break;
            }
            if !moved && this.sleep(cx).is_pending() {
                this.bridge.publish();
                return Poll::Pending;
            }
        }
        this.bridge.publish();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<M, B, R> Pump<M, B, R>
where
    M: Machine + Unpin,
    B: Bridge<M>,
    R: Runtime,
{
    fn look_at_wall_clock(&mut self, now: Timestamp) {
        if self.timer.take_if(|(at, _)| *at <= now).is_some() {
            self.wall_clock.look_soon();
        }
        if self.wall_clock.is_due(now) {
            let unix_time = self.runtime.unix_time();
            let jumped = self.wall_clock.look(now, unix_time);
            self.bridge.wall_clock(&mut self.machine, now, unix_time, jumped);
        }
    }

    fn dial(&mut self, cx: &mut Context<'_>, now: Timestamp) -> bool {
        let Link::Dialling { conn, attempt } = &mut self.link else { return false };
        let conn = *conn;
        let Poll::Ready(result) = attempt.as_mut().poll(cx) else { return false };
        let event = match result {
            Ok(up) => {
                self.link = Link::Up(Box::new(up));
                if let Some(tap) = &mut self.tap {
                    tap.opened(conn);
                }
                TransportEvent::Opened { conn }
            }
            Err(error) => {
                self.link = Link::Down;
                if let Some(tap) = &mut self.tap {
                    tap.open_failed(conn, &error);
                }
                TransportEvent::OpenFailed { conn, error }
            }
        };
        self.machine.handle_transport(now, event);
        true
    }

    /// Reads while the events of each message find room, and within the budget.
    fn read(&mut self, cx: &mut Context<'_>, now: Timestamp, budget: &mut Budget, found_no_room: &mut bool) -> bool {
        let mut moved = false;
        while !budget.is_spent() {
            // First: a machine whose events have piled up drops the messages that are read on top.
            if self.deliver(cx, now, &mut moved).is_pending() {
                *found_no_room = true;
                break;
            }
            let Link::Up(up) = &mut self.link else { return moved };
            let conn = up.conn;
            let Poll::Ready(read) = up.poll_read(cx, now) else { return moved };
            moved = true;
            match read {
                Read::Frame(frame) => {
                    budget.spend(frame.len());
                    if let Some(tap) = &mut self.tap {
                        tap.frame(conn, Direction::In, &frame);
                    }
                    self.machine.handle_transport(now, TransportEvent::Received { conn, frame });
                }
                Read::Alive => self.machine.handle_transport(now, TransportEvent::Alive { conn }),
                Read::Control => budget.spend(0),
                Read::End { code, reason } => {
                    if let Some(tap) = &mut self.tap {
                        tap.closed(conn, Direction::In, code, &reason);
                    }
                    self.link = Link::Down;
                    self.machine.handle_transport(now, TransportEvent::Closed { conn, code, reason });
                }
            }
        }
        moved
    }

    fn carry_out_commands(&mut self, cx: &mut Context<'_>, now: Timestamp) -> bool {
        let mut moved = false;
        for _ in 0..COMMANDS_A_TURN {
            if self.hung_up || self.machine.is_congested() {
                break;
            }
            match self.bridge.poll_command(cx, &mut self.machine, now) {
                Poll::Ready(Some(())) => moved = true,
                Poll::Ready(None) => {
                    self.hung_up = true;
                    self.bridge.hang_up(&mut self.machine, now);
                    moved = true;
                }
                Poll::Pending => break,
            }
        }
        moved
    }

    /// Hands frames to the socket while it takes them. A stuck socket keeps the rest in the
    /// machine, and is dropped when the machine no longer cares for it.
    fn transmit(&mut self, cx: &mut Context<'_>, now: Timestamp) -> bool {
        let (mut moved, was_congested) = (false, self.machine.is_congested());
        loop {
            if let Link::Up(up) = &mut self.link
                && up.poll_ready(cx, now).is_pending()
            {
                if self.machine.connection() == Some(up.conn) {
                    return moved;
                }
                self.link = Link::Down;
            }
            let Some(action) = self.machine.poll_transport() else { break };
            // A message on a WebSocket makes nothing else possible here; every other action may.
            moved |= !(matches!(action, TransportAction::Send { .. }) && self.link.is_websocket());
            self.act(cx, now, action);
        }
        if let Link::Up(up) = &mut self.link {
            up.poll_flush(cx, now);
        }
        // Then commands may go on.
        moved || (was_congested && !self.machine.is_congested())
    }

    fn act(&mut self, cx: &mut Context<'_>, now: Timestamp, action: TransportAction) {
        match action {
            TransportAction::Open(request) => {
                if let Some(tap) = &mut self.tap {
                    tap.opening(&request);
                }
                if let Link::Up(old) = &mut self.link {
                    // A close frame may be on its way; the old socket is not waited for.
                    old.poll_flush(cx, now);
                }
                let conn = request.conn;
                let attempt = self.attempt(request);
                self.link = Link::Dialling { conn, attempt };
            }
            TransportAction::Send { conn, frame } => {
                if let Link::Up(up) = &mut self.link
                    && up.conn == conn
                {
                    if let Some(tap) = &mut self.tap {
                        tap.frame(conn, Direction::Out, &frame);
                    }
                    up.send(frame);
                }
            }
            TransportAction::Close { conn, code, reason } => {
                if let Link::Up(up) = &mut self.link
                    && up.conn == conn
                {
                    if let Some(tap) = &mut self.tap {
                        tap.closed(conn, Direction::Out, Some(code), &reason);
                    }
                    up.send_close(code, reason);
                }
            }
            TransportAction::Abort { conn } => {
                if self.link.conn() == Some(conn) {
                    self.link = Link::Down;
                }
            }
        }
    }

    fn attempt(&mut self, request: ConnectRequest) -> BoxFuture<Result<Up<R::Io>, OpenError>> {
        match request.transport {
            TransportKind::WebSocket => {
                let (conn, connecting) = (request.conn, websocket::connect(&self.runtime, request, self.frame_bytes));
                Box::pin(async move { Ok(Up::websocket(conn, connecting.await?)) })
            }
            TransportKind::LongPoll => {
                let http = self.http.get_or_insert_with(|| Arc::new(HttpClient::new(self.runtime.clone())));
                Box::pin(dial_long_poll(http.clone(), request, self.frame_bytes))
            }
        }
    }

    fn requests(&mut self, now: Timestamp) {
        while let Some(request) = self.machine.poll_request() {
            self.bridge.request(&mut self.machine, now, request);
        }
    }

    /// Pending if the readers have no room for what there is, or for what could come.
    fn deliver(&mut self, cx: &mut Context<'_>, now: Timestamp, moved: &mut bool) -> Poll<()> {
        loop {
            ready!(self.bridge.poll_ready(cx, &self.machine));
            let Some(event) = self.machine.poll_event() else { return Poll::Ready(()) };
            self.bridge.deliver(&mut self.machine, now, event);
            *moved = true;
        }
    }

    /// Ready when the deadline of the machine or its connection has passed, or a look at the wall clock is
    /// due. A timer that is armed for an earlier time than is wanted now stays: waking once too often is
    /// cheaper than arming anew for each message.
    fn sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = [self.machine.poll_timeout(), self.link.poll_timeout()].into_iter().flatten().min();
        if deadline.is_none() && self.machine.connection().is_none() {
            // Nothing that a suspension could have harmed: sleeps until somebody wants something.
            return Poll::Pending;
        }
        let latest = self.wall_clock.latest();
        let at = deadline.map_or(latest, |at| at.min(latest));
        let armed = self.timer.as_ref().is_some_and(|(armed, _)| *armed <= at);
        if !armed {
            let sleep = self.runtime.sleep_until(self.clock.instant(at));
            self.timer = Some((at, Box::pin(sleep)));
        }
        let Some((_, sleep)) = &mut self.timer else { return Poll::Pending };
        let fired = sleep.as_mut().poll(cx);
        if fired.is_ready() {
            self.timer = None;
            self.wall_clock.look_soon();
        }
        fired
    }
}
