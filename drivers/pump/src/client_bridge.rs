//! Between a client session and its handles: commands in, events out to their readers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_channel::Receiver;
use futures_channel::oneshot;
use futures_util::Stream;
use futures_util::task::AtomicWaker;
use rejoin_core::phoenix::{
    ChannelId, ChannelState, ConnectionState, Event, JoinError, JoinOptions, Push, PushId, Session, Stats,
};
use rejoin_core::{Payload, Text, Timestamp};

use crate::errors::SubscribeError;
use crate::pump::Bridge;
use crate::queue::Sink;
use crate::stream::{ChannelEvent, ConnectionEvent, InboxEvent};
use crate::ticket::{PushFailed, TicketSender};

/// What a handle asks of the pump.
pub(crate) enum Command {
    Join {
        topic: Text,
        options: JoinOptions,
        into: Destination,
        answer: oneshot::Sender<Result<ChannelId, SubscribeError>>,
    },
    Inbox {
        number: u64,
        sink: Sink<InboxEvent>,
    },
    Push {
        channel: ChannelId,
        push: Push,
        ticket: TicketSender,
    },
    SetJoinPayload {
        channel: ChannelId,
        payload: Payload,
        answer: oneshot::Sender<Result<(), JoinError>>,
    },
    ChannelState {
        channel: ChannelId,
        answer: oneshot::Sender<Option<ChannelState>>,
    },
    Leave {
        channel: ChannelId,
    },
    Connect,
    Disconnect,
    Reconnect,
    Probe,
    State(oneshot::Sender<ConnectionState>),
    Stats(oneshot::Sender<Stats>),
    Close,
}

/// Where a channel's events go.
pub(crate) enum Destination {
    Own(Sink<InboxEvent>),
    Shared(u64),
}

/// Channels whose last handle was dropped. A drop cannot wait for room in the command queue; this
/// list is bounded by the number of channels.
#[derive(Default)]
pub(crate) struct Abandoned {
    channels: Mutex<Vec<ChannelId>>,
    pump: AtomicWaker,
}

impl Abandoned {
    pub(crate) fn add(&self, channel: ChannelId) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
        self.pump.wake();
    }

    fn take(&self) -> Vec<ChannelId> {
        std::mem::take(&mut *self.channels.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) struct ClientBridge {
    commands: Pin<Box<Receiver<Command>>>,
    abandoned: Arc<Abandoned>,
    /// By the slot of the channel's id.
    routes: Vec<Option<Route>>,
    outlets: Vec<Option<Sink<InboxEvent>>>,
    /// Free places in `outlets`.
    vacant: Vec<usize>,
    inboxes: BTreeMap<u64, usize>,
    /// Outlets with something to publish.
    dirty: Vec<usize>,
    /// An outlet that was full when last looked at.
    full: Option<usize>,
    tickets: BTreeMap<PushId, TicketSender>,
}

/// Where the events of a channel go: its own outlet, or one shared with others.
#[derive(Clone, Copy)]
struct Route {
    channel: ChannelId,
    outlet: usize,
    owned: bool,
}

impl ClientBridge {
    pub(crate) fn new(commands: Receiver<Command>, abandoned: Arc<Abandoned>) -> Self {
        Self {
            commands: Box::pin(commands),
            abandoned,
            routes: Vec::new(),
            outlets: Vec::new(),
            vacant: Vec::new(),
            inboxes: BTreeMap::new(),
            dirty: Vec::new(),
            full: None,
            tickets: BTreeMap::new(),
        }
    }

    fn carry_out(&mut self, session: &mut Session, now: Timestamp, command: Command) {
        match command {
            Command::Join { topic, options, into, answer } => {
                let joined = self.join(session, now, topic, options, into);
                if let Err(Ok(channel)) = answer.send(joined) {
                    // Whoever asked is gone, and so is the handle that would have left.
                    let _ = session.leave(now, channel);
                }
            }
            Command::Inbox { number, sink } => {
                self.forget_inboxes();
                let outlet = self.add_outlet(sink);
                self.inboxes.insert(number, outlet);
            }
            Command::Push { channel, push, ticket } => match session.push(now, channel, push) {
                Ok(id) => drop(self.tickets.insert(id, ticket)),
                Err(error) => ticket.done(Err(PushFailed::Refused(error))),
            },
            Command::SetJoinPayload { channel, payload, answer } => {
                drop(answer.send(session.set_join_payload(channel, payload)));
            }
            // A channel that is gone has said so on its stream.
            Command::Leave { channel } => drop(session.leave(now, channel)),
            Command::ChannelState { channel, answer } => drop(answer.send(session.channel_state(channel))),
            Command::Connect => session.connect(now),
            Command::Disconnect => session.disconnect(now),
            Command::Reconnect => session.reconnect(now),
            Command::Probe => session.probe(now),
            Command::State(answer) => drop(answer.send(session.state())),
            Command::Stats(answer) => drop(answer.send(session.stats())),
            Command::Close => session.close(now),
        }
    }

    fn join(
        &mut self,
        session: &mut Session,
        now: Timestamp,
        topic: Text,
        options: JoinOptions,
        into: Destination,
    ) -> Result<ChannelId, SubscribeError> {
        let inbox = match &into {
            Destination::Shared(number) => Some(*self.inboxes.get(number).ok_or(SubscribeError::Closed)?),
            Destination::Own(_) => None,
        };
        let channel = session.join(now, topic, options).map_err(SubscribeError::Refused)?;
        let outlet = match into {
            Destination::Own(sink) => self.add_outlet(sink),
            Destination::Shared(_) => inbox.unwrap_or_default(),
        };
        if self.routes.len() <= channel.slot() {
            self.routes.resize(channel.slot() + 1, None);
        }
        self.routes[channel.slot()] = Some(Route { channel, outlet, owned: inbox.is_none() });
        Ok(channel)
    }

    /// Gives back the places of inboxes that nobody reads and no channel leads to.
    fn forget_inboxes(&mut self) {
        let Self { inboxes, outlets, vacant, routes, .. } = self;
        inboxes.retain(|_, &mut outlet| {
            let read = outlets[outlet].as_ref().is_some_and(|sink| !sink.reader_is_gone());
            let used = read || routes.iter().flatten().any(|route| route.outlet == outlet);
            if !used {
                outlets[outlet] = None;
                vacant.push(outlet);
            }
            used
        });
    }

    fn add_outlet(&mut self, sink: Sink<InboxEvent>) -> usize {
        let outlet = self.vacant.pop().unwrap_or_else(|| {
            self.outlets.push(None);
            self.outlets.len() - 1
        });
        self.outlets[outlet] = Some(sink);
        outlet
    }

    #[inline(always)]
    fn route_message(&mut self, channel: ChannelId, event: Text, payload: Payload) {
        if let Some(Some(route)) = self.routes.get(channel.slot()) {
            let event = ChannelEvent::Message { event, payload };
            self.deliver_to(route.outlet, InboxEvent::Channel { channel, event });
        }
    }

    fn route_to_channel(&mut self, channel: ChannelId, event: ChannelEvent) {
        let Some(Some(route)) = self.routes.get(channel.slot()).copied() else { return };
        debug_assert!(route.channel == channel, "a slot's route changes only after its channel is closed");
        let last = matches!(event, ChannelEvent::Closed { .. });
        self.deliver_to(route.outlet, InboxEvent::Channel { channel, event });
        if last {
            self.routes[channel.slot()] = None;
            if route.owned {
                // Dropping the sink publishes what is staged and ends the stream.
                self.outlets[route.outlet] = None;
                self.vacant.push(route.outlet);
            }
        }
    }

    /// The hot path; inlined so that a message is moved once, from the machine into its queue.
    #[inline(always)]
    fn deliver_to(&mut self, outlet: usize, event: InboxEvent) {
        let Some(Some(sink)) = self.outlets.get_mut(outlet) else { return };
        if sink.deliver(event) {
            self.dirty.push(outlet);
        }
        if sink.is_full() {
            self.full = Some(outlet);
        }
    }

    fn tell_inboxes(&mut self, event: &ConnectionEvent) {
        let inboxes: Vec<usize> = self.inboxes.values().copied().collect();
        for outlet in inboxes {
            self.deliver_to(outlet, InboxEvent::Connection(event.clone()));
        }
    }
}

impl Bridge<Session> for ClientBridge {
    fn poll_command(&mut self, cx: &mut Context<'_>, session: &mut Session, now: Timestamp) -> Poll<Option<()>> {
        let command = self.commands.as_mut().poll_next(cx);
        if let Poll::Ready(Some(command)) = command {
            self.carry_out(session, now, command);
            return Poll::Ready(Some(()));
        }
        // Only behind everything that the dropped handles had asked for before.
        self.abandoned.pump.register(cx.waker());
        for channel in self.abandoned.take() {
            let _ = session.leave(now, channel);
        }
        command.map(|_| None)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(id) = self.full {
            if let Some(Some(sink)) = self.outlets.get_mut(id) {
                ready!(sink.poll_room(cx));
            }
            self.full = self.outlets.iter_mut().position(|sink| sink.as_mut().is_some_and(Sink::is_full));
        }
        Poll::Ready(())
    }

    fn deliver(&mut self, _: &mut Session, now: Timestamp, event: Event) {
        match event {
            Event::Message { channel, event, payload } => self.route_message(channel, event, payload),
            rare => self.deliver_rare(now, rare),
        }
    }

    fn publish(&mut self) {
        for id in self.dirty.drain(..) {
            if let Some(Some(sink)) = self.outlets.get_mut(id) {
                sink.publish();
            }
        }
    }

    fn request(&mut self, _: &mut Session, _: Timestamp, request: Infallible) {
        match request {}
    }

    fn wall_clock(&mut self, session: &mut Session, now: Timestamp, _: Duration, jumped: bool) {
        if jumped {
            session.probe(now);
        }
    }

    fn hang_up(&mut self, session: &mut Session, now: Timestamp) {
        session.close(now);
    }
}

impl ClientBridge {
    /// Everything but messages.
    fn deliver_rare(&mut self, now: Timestamp, event: Event) {
        let until = |at: Option<Timestamp>| at.map(|at| at.saturating_since(now));
        let connection = match event {
            Event::Joined { channel, response, again } => {
                return self.route_to_channel(channel, ChannelEvent::Joined { response, again });
            }
            Event::JoinFailed { channel, failure, retry_at } => {
                return self.route_to_channel(channel, ChannelEvent::JoinFailed { failure, retry_in: until(retry_at) });
            }
            Event::ChannelErrored { channel, cause, retry_at } => {
                return self.route_to_channel(channel, ChannelEvent::Errored { cause, retry_in: until(retry_at) });
            }
            Event::ChannelClosed { channel, reason } => {
                return self.route_to_channel(channel, ChannelEvent::Closed { reason });
            }
            Event::PushSent { push } => {
                return self.tickets.get(&push).map_or((), TicketSender::sent);
            }
            Event::PushDone { push, outcome } => {
                // Whoever is woken by the outcome may read what came before it.
                self.publish();
                return self.tickets.remove(&push).map_or((), |ticket| ticket.done(Ok(outcome)));
            }
            Event::Connected { .. } => ConnectionEvent::Connected,
            Event::Disconnected { reason, retry_at } => {
                ConnectionEvent::Disconnected { reason, retry_in: until(retry_at) }
            }
            Event::HeartbeatAnswered { rtt } => ConnectionEvent::HeartbeatAnswered { rtt },
            Event::Malformed { error } => ConnectionEvent::Malformed { error },
            Event::Lagged { missed } => ConnectionEvent::Lagged { missed },
            Event::GaveUp { attempts } => ConnectionEvent::GaveUp { attempts },
            Event::Closed => ConnectionEvent::Closed,
            // Messages went their own way; what is new in `Event` has to get a place here.
            _ => return,
        };
        self.tell_inboxes(&connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::queue;
    use rejoin_core::phoenix::Config;

    #[test]
    fn inboxes_that_nobody_reads_give_their_places_back() {
        let (_commands, receiver) = async_channel::bounded(1);
        let mut bridge = ClientBridge::new(receiver, Arc::default());
        let mut session = Session::new(Config::new("ws://host").unwrap(), Timestamp::ZERO);
        for number in 0..100 {
            let (sink, source) = queue(1, true);
            bridge.carry_out(&mut session, Timestamp::ZERO, Command::Inbox { number, sink });
            drop(source);
        }
        assert_eq!((bridge.outlets.len(), bridge.inboxes.len()), (1, 1));
    }
}
