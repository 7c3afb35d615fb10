//! One client and the application: every join, push and leave of a connection, in its order.
//!
//! It is the bridge of the connection's pump, so that nothing stands between a message and the channel
//! that hears it, and one task drives them all.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use rejoin_core::auth::Claims;
use rejoin_core::phoenix::{JoinId, ReplyTo, ServerChannelId, ServerConfig, ServerEvent, ServerPushError, Status};
use rejoin_core::{ConnId, Machine as _, Payload, Text, Timestamp};

use super::channel::{Answer, Leave, Refusal};
use super::erased::{AnyChannel, Call, Called, Guest};
use super::history::Ask;
use super::identity::Identity;
use super::report::Report;
use super::rooms::Entry;
use super::shared::Shared;
use super::socket::Seat;
use super::tokens;
use crate::peer::Peer;
use crate::pump::{Bridge, Pump};
use crate::runtime::{BoxFuture, Runtime};
use crate::served::{Ears, Served, ServerPump, served};

/// What the application has not finished, or not begun, before the socket is not read any more.
const UNFINISHED: usize = 256;
/// The same in bytes, unless two messages may have more: one that takes its time may not keep heartbeats
/// from being answered.
const UNFINISHED_BYTES: usize = 32 << 20;

/// One client, until it is gone and the application has heard of it.
pub(super) async fn converse<R: Runtime>(
    server: Arc<Shared>,
    identity: Arc<Identity>,
    config: Arc<ServerConfig>,
    runtime: R,
    connected: impl FnOnce(ConnId, ServerPump<Conversation, R>) -> ServerPump<Conversation, R>,
) {
    let (conn, frame_bytes) = (server.connections.next_conn(), config.frame_bytes);
    let (shared, served) = served(conn, config, server.time.clone());
    let peer = Peer::of(shared);
    let expiry = |claims: Arc<Claims>| tokens::expiry(&claims, server.unix_time(), server.time.now());
    peer.authenticate(identity.claims().and_then(expiry));
    server.connections.enter(&peer);
    let _entered = Entered { shared: &server, conn };
    server.report(Report::Connected { conn });
    let conversation = Conversation::new(server.clone(), peer, identity);
    connected(conn, Pump::new(served, conversation, runtime, server.time.clock, frame_bytes)).await;
}

/// What the application makes of one connection.
pub(super) struct Conversation {
    server: Arc<Shared>,
    peer: Peer,
    ears: Ears,
    identity: Arc<Identity>,
    channels: HashMap<ServerChannelId, Attendee>,
    /// Joins that the application has not decided. Nobody waits for them once the client is gone.
    joining: FuturesUnordered<BoxFuture<Finished>>,
    /// What else it has not finished.
    running: FuturesUnordered<BoxFuture<Finished>>,
    /// The calls that wait in all channels.
    waiting: usize,
    /// The bytes of all that the application has not finished.
    held: usize,
    /// When the client's token expires, once that is soon.
    expires_at: Option<Timestamp>,
}

/// A channel, its place in its topic, and what it is yet to hear.
struct Attendee {
    seat: Arc<Seat>,
    /// `None` while it is busy.
    channel: Option<Box<dyn AnyChannel>>,
    calls: VecDeque<(Call, Option<ReplyTo>)>,
}

enum Finished {
    Join { join: JoinId, seat: Arc<Seat>, ask: Option<Ask>, bytes: usize, verdict: Option<Result<Guest, Refusal>> },
    Call { id: ServerChannelId, reply: Option<ReplyTo>, bytes: usize, called: Called },
    Left { topic: Text, called: Called },
}

impl Finished {
    /// The channel that may have more to hear.
    const fn called(&self) -> Option<ServerChannelId> {
        match self {
            Self::Call { id, .. } => Some(*id),
            Self::Join { .. } | Self::Left { .. } => None,
        }
    }
}

impl Conversation {
    pub(super) fn new(server: Arc<Shared>, peer: Peer, identity: Arc<Identity>) -> Self {
        let ears = peer.ears();
        Self {
            server,
            peer,
            ears,
            identity,
            channels: HashMap::new(),
            joining: FuturesUnordered::new(),
            running: FuturesUnordered::new(),
            waiting: 0,
            held: 0,
            expires_at: None,
        }
    }

    fn hear(&mut self, cx: &mut Context<'_>, event: ServerEvent) {
        match event {
            ServerEvent::Join { join, topic, payload } => self.join(cx, join, topic, payload),
            ServerEvent::Push { channel, event, payload, reply } => self.push(cx, channel, event, payload, reply),
            ServerEvent::Left { channel } => self.left(cx, channel),
            ServerEvent::Expiring { expires_at } => self.expiring(cx, expires_at),
            ServerEvent::Dropped { channel, messages } => {
                let seat = self.channels.get(&channel).map(|attendee| &attendee.seat);
                if let Some(seat) = seat {
                    // A diff may have been among them. This may be dropped again, which is told again.
                    seat.repeat_presence_state();
                }
                let topic = seat.map(|seat| seat.topic.clone());
                self.server.report(Report::Dropped { conn: self.peer.conn(), topic, messages });
            }
            ServerEvent::Malformed { error } => {
                self.server.report(Report::Malformed { conn: self.peer.conn(), error });
            }
            ServerEvent::Limited { limit, messages } => {
                self.server.report(Report::Limited { conn: self.peer.conn(), limit, messages });
            }
            ServerEvent::Ended { reason } => {
                self.joining.clear();
                self.server.report(Report::Ended { conn: self.peer.conn(), reason });
            }
            _ => {}
        }
    }

    fn join(&mut self, cx: &mut Context<'_>, join: JoinId, topic: Text, payload: Payload) {
        let Some((route, _)) = self.server.endpoint.route(&topic) else {
            // Who has gone meanwhile needs no answer, here and below.
            let _ = self.peer.refuse_unmatched(join);
            return;
        };
        let seat = Seat::new(topic, self.peer.clone(), self.identity.clone(), self.server.rooms.clone());
        let seat = Arc::new(seat);
        let ask = if self.server.rooms.keeps_history() { Ask::of(&payload) } else { None };
        let bytes = payload.len();
        self.held += bytes;
        let joining = route.join(seat.clone(), payload);
        let joining = joining.map(move |verdict| Finished::Join { join, seat, ask, bytes, verdict });
        let mut joining = joining.boxed();
        match joining.poll_unpin(cx) {
            Poll::Ready(finished) => self.finish(cx, finished),
            Poll::Pending => self.joining.push(joining),
        }
    }

    fn push(&mut self, cx: &mut Context<'_>, id: ServerChannelId, event: Text, payload: Payload, reply: ReplyTo) {
        if event == tokens::ACCESS_TOKEN && self.server.endpoint.verifier.is_some() {
            let (status, response) = match tokens::renew(
                &self.server.endpoint,
                &self.peer,
                &self.identity,
                &payload,
                (self.server.unix_time(), self.server.time.now()),
            ) {
                Ok(()) => {
                    self.expires_at = None;
                    (Status::Ok, Payload::EMPTY)
                }
                Err(reason) => (Status::Error, reason),
            };
            let _ = self.peer.reply(reply, status, response);
            return;
        }
        self.call(cx, id, Call::Event { event, payload }, Some(reply));
    }

    fn expiring(&mut self, cx: &mut Context<'_>, expires_at: Timestamp) {
        self.expires_at = Some(expires_at);
        let mut ids: Vec<_> = self.channels.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.warn(cx, id);
        }
    }

    /// Tells a channel that the client's token expires soon, if it does.
    fn warn(&mut self, cx: &mut Context<'_>, id: ServerChannelId) {
        let Some(expires_at) = self.expires_at else { return };
        let expires_in = expires_at.saturating_since(self.server.time.now());
        self.call(cx, id, Call::Expiring { expires_in }, None);
    }

    fn left(&mut self, cx: &mut Context<'_>, id: ServerChannelId) {
        let Some(attendee) = self.channels.get_mut(&id) else { return };
        attendee.seat.vacate();
        // What it has pushed before it left is heard before that.
        self.call(cx, id, Call::Leave { reason: Leave::Left }, None);
    }

    /// Lets the channel hear it now, or after what it is busy with.
    fn call(&mut self, cx: &mut Context<'_>, id: ServerChannelId, call: Call, reply: Option<ReplyTo>) {
        let Some(attendee) = self.channels.get_mut(&id) else { return };
        self.waiting += 1;
        self.held += call.bytes();
        attendee.calls.push_back((call, reply));
        self.go_on(cx, id);
    }

    /// Lets the channel hear what waits for it, until it is busy.
    fn go_on(&mut self, cx: &mut Context<'_>, id: ServerChannelId) {
        while let Some(calling) = self.next_call(id) {
            self.start(cx, calling);
        }
    }

    fn next_call(&mut self, id: ServerChannelId) -> Option<BoxFuture<Finished>> {
        let attendee = self.channels.get_mut(&id).filter(|attendee| !attendee.calls.is_empty())?;
        let channel = attendee.channel.take()?;
        let (call, reply) = attendee.calls.pop_front()?;
        self.waiting -= 1;
        if let Call::Leave { reason } = call {
            let topic = self.forget(id)?.seat.topic.clone();
            return Some(leave(channel, topic, reason));
        }
        let bytes = call.bytes();
        Some(channel.call(call).map(move |called| Finished::Call { id, reply, bytes, called }).boxed())
    }

    /// Most answers are there at once, and cost no place among the running.
    fn start(&mut self, cx: &mut Context<'_>, mut future: BoxFuture<Finished>) {
        match future.poll_unpin(cx) {
            Poll::Ready(finished) => self.finish(cx, finished),
            Poll::Pending => {
                // The session may be over already, and the pump about to look whether it is needed.
                self.ears.keep_going(true);
                self.running.push(future);
            }
        }
    }

    /// Leaves it to the caller to let the channel go on: calls that wait are heard one after the other, and
    /// not one inside of the other.
    fn finish(&mut self, cx: &mut Context<'_>, finished: Finished) {
        match finished {
            Finished::Join { join, seat, ask, bytes, verdict } => {
                self.held -= bytes;
                match verdict {
                    Some(Ok(guest)) => self.let_in(cx, join, seat, ask, guest),
                    Some(Err(refusal)) => self.refuse_join(join, refusal),
                    None => {
                        self.report_crash(&seat.topic, "it panicked at a join".into());
                        // What Phoenix says of a join that crashed.
                        self.refuse_join(join, Refusal::reason("join crashed"));
                    }
                }
            }
            Finished::Call { id, reply, bytes, called } => {
                self.held -= bytes;
                self.finish_call(cx, id, reply, called);
            }
            Finished::Left { topic, called: Called::Panicked } => {
                self.report_crash(&topic, "it panicked when its client had left".into());
            }
            Finished::Left { .. } => {}
        }
    }

    fn finish_call(&mut self, cx: &mut Context<'_>, id: ServerChannelId, reply: Option<ReplyTo>, called: Called) {
        match called {
            Called::Done { channel, answer } => {
                self.answer(reply, answer);
                if let Some(attendee) = self.channels.get_mut(&id) {
                    attendee.channel = Some(channel);
                }
            }
            Called::Crashed { channel, error } => {
                if let Some(topic) = self.crash(id, error.0.to_string()) {
                    self.start(cx, leave(channel, topic, Leave::Crashed));
                }
            }
            Called::Panicked => _ = self.crash(id, "it panicked".into()),
        }
    }

    fn let_in(&mut self, cx: &mut Context<'_>, join: JoinId, seat: Arc<Seat>, ask: Option<Ask>, guest: Guest) {
        let Guest { channel, response } = guest;
        let overflow = self.server.endpoint.route(&seat.topic).and_then(|(_, options)| options.overflow);
        let entry = Entry { response, overflow, ask };
        let Some((id, member)) = self.server.rooms.enter(&seat.topic, &self.peer, join, entry) else {
            return self.start(cx, leave(channel, seat.topic.clone(), Leave::Left));
        };
        seat.take(id, member);
        self.channels.insert(id, Attendee { seat, channel: Some(channel), calls: VecDeque::new() });
        self.call(cx, id, Call::Joined, None);
        self.warn(cx, id);
    }

    fn refuse_join(&self, join: JoinId, refusal: Refusal) {
        let _ = match refusal {
            Refusal::Response(response) => self.peer.refuse_join(join, response),
            Refusal::Unmatched => self.peer.refuse_unmatched(join),
        };
    }

    fn answer(&self, reply: Option<ReplyTo>, answer: Answer) {
        let Some(reply) = reply else { return };
        let (status, response) = match answer {
            Answer::None => return,
            Answer::Ok(response) => (Status::Ok, response),
            Answer::Error(response) => (Status::Error, response),
            Answer::Other(status, response) => (Status::Other(status), response),
        };
        if let Err(ServerPushError::Encode(error)) = self.peer.reply(reply, status, response) {
            self.server.report(Report::Unanswered { conn: self.peer.conn(), error });
        }
    }

    /// Tells whose topic that was.
    fn crash(&mut self, id: ServerChannelId, error: String) -> Option<Text> {
        let attendee = self.forget(id)?;
        let topic = attendee.seat.topic.clone();
        self.report_crash(&topic, error);
        let _ = self.peer.close_channel(id, true);
        Some(topic)
    }

    fn report_crash(&self, topic: &Text, error: String) {
        self.server.report(Report::Crashed { conn: self.peer.conn(), topic: topic.clone(), error });
    }

    /// Whatever it was yet to hear is nobody's any more.
    fn forget(&mut self, id: ServerChannelId) -> Option<Attendee> {
        let attendee = self.channels.remove(&id)?;
        self.waiting -= attendee.calls.len();
        self.held -= attendee.calls.iter().map(|(call, _)| call.bytes()).sum::<usize>();
        Some(attendee)
    }
}

/// The last that a channel hears.
fn leave(channel: Box<dyn AnyChannel>, topic: Text, reason: Leave) -> BoxFuture<Finished> {
    channel.call(Call::Leave { reason }).map(move |called| Finished::Left { topic, called }).boxed()
}

/// A connection that is dropped leaves no member behind, even where the application keeps a socket.
impl Drop for Attendee {
    fn drop(&mut self) {
        self.seat.vacate();
    }
}

impl Bridge<Served> for Conversation {
    fn poll_command(&mut self, _: &mut Context<'_>, _: &mut Served, _: Timestamp) -> Poll<Option<()>> {
        self.ears.poll_command()
    }

    /// Whatever waits in one channel waits behind that channel's own; when there is much of it, the
    /// client has to wait.
    fn poll_ready(&mut self, cx: &mut Context<'_>, session: &Served) -> Poll<()> {
        self.ears.open(cx);
        let unfinished = self.waiting + self.joining.len() + self.running.len();
        let most = UNFINISHED_BYTES.max(self.server.endpoint.options.session.frame_bytes.saturating_mul(2));
        let has_room = unfinished < UNFINISHED && self.held < most;
        // The end is heard at once: some of that is nobody's any more.
        if has_room || session.connection().is_none() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn deliver(&mut self, _: &mut Served, _: Timestamp, event: ServerEvent) {
        // It is there from the first poll on.
        let waker = self.ears.waker().unwrap_or(Waker::noop()).clone();
        self.hear(&mut Context::from_waker(&waker), event);
    }

    fn publish(&mut self) {
        self.ears.close();
    }

    fn request(&mut self, _: &mut Served, _: Timestamp, request: Infallible) {
        match request {}
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>, _: &mut Served, _: Timestamp) -> bool {
        self.ears.make_room();
        let mut moved = false;
        loop {
            let finished = match self.joining.poll_next_unpin(cx) {
                Poll::Ready(Some(finished)) => finished,
                _ => match self.running.poll_next_unpin(cx) {
                    Poll::Ready(Some(finished)) => finished,
                    _ => break,
                },
            };
            let called = finished.called();
            self.finish(cx, finished);
            if let Some(id) = called {
                self.go_on(cx, id);
            }
            moved = true;
        }
        self.ears.keep_going(!self.running.is_empty());
        moved
    }

    fn hang_up(&mut self, session: &mut Served, now: Timestamp) {
        session.hang_up(now);
    }
}

/// A connection that is dropped is connected no more.
struct Entered<'a> {
    shared: &'a Shared,
    conn: ConnId,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.shared.connections.leave(self.conn);
    }
}
