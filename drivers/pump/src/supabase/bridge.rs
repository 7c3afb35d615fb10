//! Between a Supabase session and its handles: commands in, events out, tokens fetched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rejoin_core::phoenix::{ChannelId, ConnectionState, PushError, PushId};
use rejoin_core::supabase::{
    AuthError, ChannelConfig, ChannelState, Event, Request, RequestId, Session, TokenFailure, TrackError,
};
use rejoin_core::{Text, Timestamp};

use super::command::{Command, Destination};
use super::errors::SubscribeError;
use super::event::{ChannelEvent, ChannelInfo, ConnectionEvent, HandleId, InboxEvent, Member};
use super::http::Requests;
use super::listen::Listen;
use super::rooms::{Active, RoomId, Rooms};
use super::time_of_day::TimeOfDay;
use crate::commands::Commands;
use crate::outlets::{OutletId, Outlets};
use crate::pump::Bridge;
use crate::ticket::{PushFailed, TicketSender};
use crate::token_provider::Asking;

pub(super) struct SupabaseBridge {
    commands: Commands<Command, HandleId>,
    pub(super) rooms: Rooms,
    pub(super) outlets: Outlets<InboxEvent>,
    /// Inboxes, and the streams of the connection alone.
    inboxes: BTreeMap<u64, OutletId>,
    /// With the handle that each push is of.
    pub(super) tickets: BTreeMap<PushId, (TicketSender, HandleId)>,
    asking: Option<Asking<RequestId>>,
    pub(super) requests: Requests,
    pub(super) time_of_day: TimeOfDay,
}

impl SupabaseBridge {
    pub(super) fn new(
        commands: Commands<Command, HandleId>,
        asking: Option<Asking<RequestId>>,
        requests: Requests,
    ) -> Self {
        Self {
            commands,
            rooms: Rooms::default(),
            outlets: Outlets::default(),
            inboxes: BTreeMap::new(),
            tickets: BTreeMap::new(),
            asking,
            requests,
            time_of_day: TimeOfDay::default(),
        }
    }

    fn carry_out(&mut self, session: &mut Session, now: Timestamp, command: Command) {
        match command {
            Command::Subscribe { handle, topic, config, answer } => {
                drop(answer.send(self.subscribe(session, now, handle, &topic, config)));
            }
            Command::Unsubscribe { handle } => self.unsubscribe(session, now, handle),
            Command::Listen { handle, topic, listen, to, answer } => {
                drop(answer.send(self.listen(session, handle, &topic, listen, to)));
            }
            Command::Broadcast { handle, broadcast, ticket } => {
                let pushed = self.channel_of(handle).and_then(|channel| session.broadcast(now, channel, broadcast));
                self.keep_ticket(handle, pushed.map_err(PushFailed::Refused), ticket);
            }
            Command::Push { handle, push, ticket } => {
                let pushed = self.channel_of(handle).and_then(|channel| session.push(now, channel, push));
                self.keep_ticket(handle, pushed.map_err(PushFailed::Refused), ticket);
            }
            Command::Track { handle, payload, ticket } => {
                let channel = self.channel_of(handle).map_err(|_| TrackError::UnknownChannel);
                let tracked = channel.and_then(|channel| session.track(now, channel, payload));
                self.keep_ticket(handle, tracked.map_err(PushFailed::Untrackable), ticket);
            }
            Command::Untrack { handle, ticket } => {
                let channel = self.channel_of(handle).map_err(|_| TrackError::UnknownChannel);
                let untracked = channel.and_then(|channel| session.untrack(now, channel));
                self.keep_ticket(handle, untracked.map_err(PushFailed::Untrackable), ticket);
            }
            Command::PresenceState { handle, answer } => {
                let presence = self.channel_of(handle).ok().and_then(|channel| session.presence(channel));
                drop(answer.send(presence.map(|presence| presence.iter().map(Member::new).collect())));
            }
            Command::HttpBroadcast { broadcast, ticket } => {
                self.requests.keep_ticket(session.http_broadcast(now, broadcast), ticket);
            }
            Command::HttpBatch { broadcasts, ticket } => {
                self.requests.keep_ticket(session.http_broadcast_batch(now, &broadcasts), ticket);
            }
            Command::SetChannelAuth { topic, token, answer } => {
                let active = self.rooms.by_topic(&topic).and_then(|room| room.active.as_ref());
                let channel = active.map(|active| active.id).ok_or(AuthError::UnknownChannel);
                // Whoever asked may be gone.
                let _ = answer.send(channel.and_then(|channel| session.set_channel_auth(now, channel, token)));
            }
            Command::ChannelState { handle, answer } => {
                // Whoever hears of an end may read what came before it.
                self.publish();
                let _ = answer.send(self.channel_of(handle).ok().and_then(|channel| session.channel_state(channel)));
            }
            Command::Inbox { number, sink } => {
                self.forget_inboxes();
                let outlet = self.outlets.add(sink);
                self.inboxes.insert(number, outlet);
            }
            Command::Channels(answer) => {
                let info = |(_, topic, state): (_, &Text, _)| ChannelInfo { topic: topic.clone(), state };
                // One that is being left may have a successor of the same topic.
                let subscribed = session.channels().filter(|(_, _, state)| *state != ChannelState::Leaving);
                let mut channels: Vec<_> = subscribed.map(info).collect();
                channels.sort_by(|a, b| a.topic.cmp(&b.topic));
                drop(answer.send(channels));
            }
            Command::RemoveAll => {
                self.rooms.unsubscribe_all();
                session.remove_all(now);
            }
            Command::SetAuth { token, answer } => {
                let _ = answer.send(session.set_auth(now, token));
            }
            Command::ClearAuth => session.clear_auth(now),
            Command::RefreshAuth => session.refresh_auth(now),
            Command::Connect => session.connect(now),
            Command::Disconnect => session.disconnect(now),
            Command::Reconnect => session.reconnect(now),
            Command::Probe => session.probe(now),
            Command::State(answer) => drop(answer.send(session.state())),
            Command::Stats(answer) => drop(answer.send(session.stats())),
            Command::Close => session.close(now),
        }
    }

    fn subscribe(
        &mut self,
        session: &mut Session,
        now: Timestamp,
        handle: HandleId,
        topic: &Text,
        config: Arc<ChannelConfig>,
    ) -> Result<(), SubscribeError> {
        let room = self.rooms.enter(topic, handle);
        match self.rooms.get(room).and_then(|room| room.active.as_ref()) {
            Some(active) if active.config != config => return Err(SubscribeError::ConfigDiffers),
            Some(_) => {}
            None => {
                let id = session.subscribe(now, topic, &config)?;
                self.rooms.activate(room, Active::new(id, config), &mut self.outlets);
            }
        }
        let present = self.present(session, room);
        self.rooms.subscribe(room, handle, present, &mut self.outlets);
        Ok(())
    }

    fn unsubscribe(&mut self, session: &mut Session, now: Timestamp, handle: HandleId) {
        if let Some(channel) = self.rooms.unsubscribe(handle, &mut self.outlets) {
            // A channel that is gone has said so.
            let _ = session.unsubscribe(now, channel);
        }
    }

    fn listen(
        &mut self,
        session: &Session,
        handle: HandleId,
        topic: &Text,
        listen: Listen,
        to: Destination,
    ) -> Result<(), SubscribeError> {
        let (outlet, owned) = match to {
            Destination::Own(sink) => (self.outlets.add(sink), true),
            Destination::Inbox(number) => (*self.inboxes.get(&number).ok_or(SubscribeError::Closed)?, false),
        };
        let room = self.rooms.enter(topic, handle);
        let present = self.present(session, room);
        self.rooms.listen(room, handle, (listen, outlet, owned), present, &mut self.outlets);
        Ok(())
    }

    /// Who is present in a room, if that is known.
    fn present(&self, session: &Session, room: RoomId) -> Option<ChannelEvent> {
        ChannelEvent::present(session, self.rooms.get(room)?.active.as_ref()?.id)
    }

    /// The server channel that a handle is subscribed to.
    fn channel_of(&self, handle: HandleId) -> Result<ChannelId, PushError> {
        let room = self.rooms.of(handle).and_then(|room| self.rooms.get(room));
        let active = room.filter(|room| room.has_inside(handle)).and_then(|room| room.active.as_ref());
        active.map(|active| active.id).ok_or(PushError::UnknownChannel)
    }

    fn keep_ticket(&mut self, handle: HandleId, pushed: Result<PushId, PushFailed>, ticket: TicketSender) {
        match pushed {
            Ok(id) => drop(self.tickets.insert(id, (ticket, handle))),
            Err(failed) => ticket.done(Err(failed)),
        }
    }

    /// Gives back the places of inboxes that nobody reads.
    fn forget_inboxes(&mut self) {
        let Self { inboxes, outlets, rooms, .. } = self;
        inboxes.retain(|_, &mut outlet| {
            let read = !outlets.reader_is_gone(outlet);
            if !read {
                rooms.forget_outlet(outlet);
                outlets.remove(outlet);
            }
            read
        });
    }

    pub(super) fn tell_inboxes(&mut self, event: &ConnectionEvent) {
        for outlet in self.inboxes.values() {
            self.outlets.deliver(*outlet, InboxEvent::Connection(event.clone()));
        }
    }
}

impl Bridge<Session> for SupabaseBridge {
    fn poll_command(&mut self, cx: &mut Context<'_>, session: &mut Session, now: Timestamp) -> Poll<Option<()>> {
        let mut abandoned = Vec::new();
        let command = self.commands.poll_next(cx, |handle| abandoned.push(handle));
        for handle in abandoned {
            if let Some(channel) = self.rooms.abandon(handle, &mut self.outlets) {
                let _ = session.unsubscribe(now, channel);
            }
        }
        command.map(|command| command.map(|command| self.carry_out(session, now, command)))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, session: &Session) -> Poll<()> {
        match session.state() {
            // What it has still to say is bounded, and waits for no reader.
            ConnectionState::Closed => Poll::Ready(()),
            _ => self.outlets.poll_ready(cx),
        }
    }

    fn deliver(&mut self, session: &mut Session, now: Timestamp, event: Event) {
        match event {
            Event::Broadcast { channel, event, payload, meta } => {
                self.rooms.tell(channel, ChannelEvent::Broadcast { event, payload, meta }, &mut self.outlets);
            }
            Event::Message { channel, event, payload } => {
                self.rooms.tell(channel, ChannelEvent::Message { event, payload }, &mut self.outlets);
            }
            Event::PostgresChange { channel, bindings, change } => {
                self.rooms.tell(channel, ChannelEvent::PostgresChange { bindings, change }, &mut self.outlets);
            }
            rare => self.deliver_rare(session, now, rare),
        }
    }

    fn publish(&mut self) {
        self.outlets.publish();
    }

    fn request(&mut self, session: &mut Session, now: Timestamp, request: Request) {
        match (request, &mut self.asking) {
            (Request::Http(request), _) => self.requests.send(request),
            (Request::Token { id, .. }, Some(asking)) => asking.ask(id),
            // Without a provider the session does not ask.
            (Request::Token { id, .. }, None) => {
                session.handle_token(now, id, Err(TokenFailure::Provider("there is no provider".into())));
            }
            // What a later core asks for waits for its own deadline.
            _ => {}
        }
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>, session: &mut Session, now: Timestamp) -> bool {
        let mut answered = false;
        if let Some(Poll::Ready((id, answer))) = self.asking.as_mut().map(|asking| asking.poll(cx)) {
            session.handle_token(now, id, answer.map_err(|error| TokenFailure::Provider(error.to_string().into())));
            answered = true;
        }
        while let Poll::Ready((id, answer)) = self.requests.poll_answer(cx) {
            session.handle_http(now, id, answer);
            answered = true;
        }
        answered
    }

    fn wall_clock(&mut self, session: &mut Session, now: Timestamp, since_unix_epoch: Duration, jumped: bool) {
        self.time_of_day.look(now, since_unix_epoch, jumped);
        session.set_wall_clock(now, since_unix_epoch);
        if jumped {
            session.probe(now);
        }
    }

    fn hang_up(&mut self, session: &mut Session, now: Timestamp) {
        session.close(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HttpClient;
    use crate::commands::commands;
    use crate::queue::queue;
    use futures_channel::oneshot;
    use futures_util::task::noop_waker_ref;
    use rejoin_core::supabase::{Broadcast, Config};
    use rejoin_core::{Machine, Payload};

    #[test]
    fn short_lives_give_their_places_back() {
        let now = Timestamp::ZERO;
        let (_sender, abandoned, commands) = commands(1);
        let http = HttpClient::new(crate::memory::network().0);
        let mut bridge = SupabaseBridge::new(commands, None, Requests::new(Box::new(http)));
        let mut session = Session::new(Config::new("ws://host", "key").unwrap(), now);
        let topic = Text::from_static("realtime:room");
        let place_of_next = |bridge: &mut SupabaseBridge| {
            let place = bridge.outlets.add(queue(1, true).0);
            bridge.outlets.remove(place);
            place
        };
        let first = place_of_next(&mut bridge);
        for number in 0..10_000 {
            let handle = HandleId(number);
            let (sink, source) = queue(4, true);
            let mut run = |command| bridge.carry_out(&mut session, now, command);
            let (listen, to, answer) = (Listen::everything(), Destination::Own(sink), oneshot::channel().0);
            run(Command::Listen { handle, topic: topic.clone(), listen, to, answer });
            let (config, answer) = (Arc::default(), oneshot::channel().0);
            run(Command::Subscribe { handle, topic: topic.clone(), config, answer });
            let (broadcast, ticket) = (Broadcast::new("e", Payload::EMPTY), crate::ticket::ticket().0);
            run(Command::Broadcast { handle, broadcast, ticket });
            if number % 2 == 0 {
                drop(source);
                run(Command::Unsubscribe { handle });
            }
            abandoned.add(handle);
            let mut cx = Context::from_waker(noop_waker_ref());
            assert!(bridge.poll_command(&mut cx, &mut session, now).is_pending());
            while let Some(event) = session.poll_event() {
                bridge.deliver(&mut session, now, event);
            }
            assert_eq!(place_of_next(&mut bridge), first);
            assert!(bridge.tickets.is_empty() && bridge.rooms.of(handle).is_none());
        }
        assert!(bridge.rooms.by_topic(&topic).is_none());
    }
}
