//! Between a client session and its handles: commands in, events out to their readers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_channel::oneshot;
use rejoin_core::phoenix::{
    ChannelId, ChannelState, ConnectionState, Event, JoinError, JoinOptions, Push, PushId, Session, Stats,
};
use rejoin_core::{Payload, Text, Timestamp};

use crate::commands::Commands;
use crate::errors::SubscribeError;
use crate::outlets::{OutletId, Outlets};
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

pub(crate) struct ClientBridge {
    commands: Commands<Command, ChannelId>,
    /// By the slot of the channel's id.
    routes: Vec<Option<Route>>,
    outlets: Outlets<InboxEvent>,
    inboxes: BTreeMap<u64, OutletId>,
    tickets: BTreeMap<PushId, TicketSender>,
}

/// Where the events of a channel go: its own outlet, or one shared with others.
#[derive(Clone, Copy)]
struct Route {
    channel: ChannelId,
    outlet: OutletId,
    owned: bool,
}

impl ClientBridge {
    pub(crate) fn new(commands: Commands<Command, ChannelId>) -> Self {
        Self {
            commands,
            routes: Vec::new(),
            outlets: Outlets::default(),
            inboxes: BTreeMap::new(),
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
                let outlet = self.outlets.add(sink);
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
        let (outlet, owned) = match into {
            Destination::Own(sink) => (self.outlets.add(sink), true),
            Destination::Shared(number) => (*self.inboxes.get(&number).ok_or(SubscribeError::Closed)?, false),
        };
        let joined = session.join(now, topic, options);
        if joined.is_err() && owned {
            self.outlets.remove(outlet);
        }
        let channel = joined.map_err(SubscribeError::Refused)?;
        if self.routes.len() <= channel.slot() {
            self.routes.resize(channel.slot() + 1, None);
        }
        self.routes[channel.slot()] = Some(Route { channel, outlet, owned });
        Ok(channel)
    }

    /// Gives back the places of inboxes that nobody reads and no channel leads to.
    fn forget_inboxes(&mut self) {
        let Self { inboxes, outlets, routes, .. } = self;
        inboxes.retain(|_, &mut outlet| {
            let led_to = || routes.iter().flatten().any(|route| route.outlet == outlet);
            let used = !outlets.reader_is_gone(outlet) || led_to();
            if !used {
                outlets.remove(outlet);
            }
            used
        });
    }

    #[inline(always)]
    fn route_message(&mut self, channel: ChannelId, event: Text, payload: Payload) {
        if let Some(Some(route)) = self.routes.get(channel.slot()) {
            let event = ChannelEvent::Message { event, payload };
            self.outlets.deliver(route.outlet, InboxEvent::Channel { channel, event });
        }
    }

    fn route_to_channel(&mut self, channel: ChannelId, event: ChannelEvent) {
        let Some(Some(route)) = self.routes.get(channel.slot()).copied() else { return };
        debug_assert!(route.channel == channel, "a slot's route changes only after its channel is closed");
        let last = matches!(event, ChannelEvent::Closed { .. });
        self.outlets.deliver(route.outlet, InboxEvent::Channel { channel, event });
        if last {
            self.routes[channel.slot()] = None;
            if route.owned {
                self.outlets.remove(route.outlet);
            }
        }
    }

    fn tell_inboxes(&mut self, event: &ConnectionEvent) {
        for &outlet in self.inboxes.values() {
            self.outlets.deliver(outlet, InboxEvent::Connection(event.clone()));
        }
    }
}

impl Bridge<Session> for ClientBridge {
    fn poll_command(&mut self, cx: &mut Context<'_>, session: &mut Session, now: Timestamp) -> Poll<Option<()>> {
        let leave = |channel| {
            let _ = session.leave(now, channel);
        };
        let Some(command) = ready!(self.commands.poll_next(cx, leave)) else { return Poll::Ready(None) };
        self.carry_out(session, now, command);
        Poll::Ready(Some(()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, session: &Session) -> Poll<()> {
        match session.state() {
            // What it has still to say is bounded, and waits for no reader.
            ConnectionState::Closed => Poll::Ready(()),
            _ => self.outlets.poll_ready(cx),
        }
    }

    fn deliver(&mut self, _: &mut Session, now: Timestamp, event: Event) {
        match event {
            Event::Message { channel, event, payload } => self.route_message(channel, event, payload),
            rare => self.deliver_rare(now, rare),
        }
    }

    fn publish(&mut self) {
        self.outlets.publish();
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
    /// Everything but plain messages.
    fn deliver_rare(&mut self, now: Timestamp, event: Event) {
        let until = |at: Option<Timestamp>| at.map(|at| at.saturating_since(now));
        let connection = match event {
            Event::UserBroadcast { channel, broadcast } => {
                let (event, meta, payload) = broadcast.into_parts();
                return self.route_to_channel(channel, ChannelEvent::UserBroadcast { event, payload, meta });
            }
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
            Event::HeartbeatAnswered { rtt, ok } => ConnectionEvent::HeartbeatAnswered { rtt, ok },
            Event::Malformed { error } => ConnectionEvent::Malformed { error },
            Event::Lagged { missed } => ConnectionEvent::Lagged { missed },
            Event::TransportChanged { transport } => ConnectionEvent::TransportChanged { transport },
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
    use crate::commands::commands;
    use crate::queue::queue;
    use rejoin_core::phoenix::Config;

    #[test]
    fn inboxes_that_nobody_reads_give_their_places_back() {
        let mut bridge = ClientBridge::new(commands(1).2);
        let mut session = Session::new(Config::new("ws://host").unwrap(), Timestamp::ZERO);
        let mut places = Vec::<OutletId>::new();
        for number in 0..100 {
            let (sink, source) = queue(1, true);
            bridge.carry_out(&mut session, Timestamp::ZERO, Command::Inbox { number, sink });
            places.extend(bridge.inboxes.values());
            drop(source);
        }
        assert_eq!(places.len(), 100, "one at a time");
        assert!(places.iter().all(|place| *place == places[0]));
    }
}
