//! Random lives of a few handles against a naive model of who hears what.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures_util::task::noop_waker_ref;
use proptest::prelude::*;
use rejoin_core::phoenix::{self, JoinOptions};
use rejoin_core::{Payload, Timestamp};

use super::*;
use crate::queue::{Source, queue};

const TOPICS: usize = 3;
const HANDLES: usize = 6;

#[derive(Clone, Debug)]
enum Op {
    /// Into a stream of its own, or into the inbox.
    Listen(usize, Listen, bool),
    DropListener(usize),
    Subscribe(usize),
    Unsubscribe(usize),
    Abandon(usize),
    RemoveAll,
    Joined(usize),
    Lost(usize),
    /// Database changes flow, or do not.
    Changes(usize, bool),
    /// Who is present is known from now on.
    Present(usize),
    Message(usize, &'static str),
    /// The server ends a channel; the event comes later.
    End(usize),
    /// The oldest event about an end is delivered.
    DeliverEnd,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let event = || prop_oneof![Just("a"), Just("b"), Just("A")];
    let listen = prop_oneof![
        Just(Listen::everything()),
        Just(Listen::status()),
        Just(Listen::presence()),
        event().prop_map(Listen::broadcast),
        Just(Listen::broadcast("*")),
    ];
    let op = prop_oneof![
        2 => (0..HANDLES, listen, any::<bool>()).prop_map(|(handle, listen, own)| Op::Listen(handle, listen, own)),
        1 => (0..HANDLES).prop_map(Op::DropListener),
        4 => (0..HANDLES).prop_map(Op::Subscribe),
        3 => (0..HANDLES).prop_map(Op::Unsubscribe),
        1 => (0..HANDLES).prop_map(Op::Abandon),
        1 => Just(Op::RemoveAll),
        3 => (0..TOPICS).prop_map(Op::Joined),
        1 => (0..TOPICS).prop_map(Op::Lost),
        1 => (0..TOPICS, any::<bool>()).prop_map(|(topic, flow)| Op::Changes(topic, flow)),
        1 => (0..TOPICS).prop_map(Op::Present),
        4 => (0..TOPICS, event()).prop_map(|(topic, event)| Op::Message(topic, event)),
        1 => (0..TOPICS).prop_map(Op::End),
        3 => Just(Op::DeliverEnd),
    ];
    prop::collection::vec(op, 0..60)
}

/// The rooms, with a session that is never connected: its channels end as soon as they are left, and
/// their slots are used again before anybody was told.
struct Bench {
    rooms: Rooms,
    outlets: Outlets<InboxEvent>,
    session: phoenix::Session,
    inbox: (OutletId, Source<InboxEvent>),
    ends: VecDeque<(ChannelId, CloseReason)>,
    model: Model,
    numbers: u64,
}

#[derive(Default)]
struct Model {
    handles: Vec<Handle>,
    /// The channel of a topic that handles are in.
    active: [Option<Standing>; TOPICS],
    leaving: [Option<ChannelId>; TOPICS],
    inbox: Vec<InboxEvent>,
    /// Streams whose handle is gone, with all that they shall have said.
    ended: Vec<(Source<InboxEvent>, Vec<InboxEvent>)>,
}

struct Standing {
    id: ChannelId,
    joined: bool,
    /// What was said last of the flow of changes since the join.
    changes: Option<ChannelEvent>,
    present: bool,
}

impl Standing {
    /// What somebody who comes late has to know.
    fn greeting(&self) -> Vec<ChannelEvent> {
        let mut greeting = Vec::new();
        if self.joined {
            greeting.push(ChannelEvent::Subscribed { again: false });
        }
        greeting.extend(self.changes.clone());
        greeting.extend(self.present());
        greeting
    }

    fn present(&self) -> Option<ChannelEvent> {
        self.present.then(|| ChannelEvent::PresenceState { members: Vec::new() })
    }
}

struct Handle {
    id: HandleId,
    topic: usize,
    state: Membership,
    ears: Vec<(Listen, Destination)>,
}

enum Destination {
    Own(Source<InboxEvent>, Vec<InboxEvent>),
    Inbox,
}

impl Model {
    fn tell_if(&mut self, event: &ChannelEvent, listening: impl Fn(&Handle) -> bool) {
        for handle in self.handles.iter_mut().filter(|handle| listening(handle)) {
            handle.hear(event, &mut self.inbox);
        }
    }

    /// Everybody of this topic and state is outside from now on.
    fn end(&mut self, topic: usize, state: Membership, reason: &CloseReason) {
        let is_meant = |handle: &Handle| handle.topic == topic && handle.state == state;
        self.tell_if(&ChannelEvent::Closed { reason: reason.clone() }, is_meant);
        self.handles.iter_mut().filter(|handle| is_meant(handle)).for_each(|handle| handle.state = Membership::Outside);
    }

    fn greeting(&self, topic: usize) -> Vec<ChannelEvent> {
        self.active[topic].as_ref().map(Standing::greeting).unwrap_or_default()
    }

    fn present(&self, topic: usize) -> Option<ChannelEvent> {
        self.active[topic].as_ref().and_then(Standing::present)
    }

    fn topic_of(&self, channel: ChannelId) -> Option<usize> {
        self.active.iter().position(|active| active.as_ref().is_some_and(|active| active.id == channel))
    }
}

impl Handle {
    fn new(id: u64) -> Self {
        let topic = usize::try_from(id).unwrap() % TOPICS;
        Self { id: HandleId(id), topic, state: Membership::Outside, ears: Vec::new() }
    }

    fn hear(&mut self, event: &ChannelEvent, inbox: &mut Vec<InboxEvent>) {
        for (_, to) in self.ears.iter_mut().filter(|(listen, _)| listen.wants(event)) {
            let event = InboxEvent::Channel { channel: self.id, event: event.clone() };
            match to {
                Destination::Own(_, heard) => heard.push(event),
                Destination::Inbox => inbox.push(event),
            }
        }
    }
}

impl Bench {
    fn new() -> Self {
        let mut outlets = Outlets::default();
        let (sink, source) = queue(1 << 20, true);
        let inbox = (outlets.add(sink), source);
        let session = phoenix::Session::new(phoenix::Config::new("ws://host").unwrap(), Timestamp::ZERO);
        let handles = (0..HANDLES as u64).map(Handle::new).collect();
        let model = Model { handles, ..Model::default() };
        let (rooms, ends, numbers) = (Rooms::default(), VecDeque::new(), HANDLES as u64);
        Self { rooms, outlets, session, inbox, ends, model, numbers }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Listen(handle, listen, own) => self.listen(handle, listen, own),
            Op::DropListener(handle) => {
                self.model.handles[handle].ears.pop_if(|(_, to)| matches!(to, Destination::Own(..)));
            }
            Op::Subscribe(handle) => self.subscribe(handle),
            Op::Unsubscribe(handle) => self.unsubscribe(handle),
            Op::Abandon(handle) => self.abandon(handle),
            Op::RemoveAll => self.remove_all(),
            Op::Joined(topic) => self.set_joined(topic, true),
            Op::Lost(topic) => self.set_joined(topic, false),
            Op::Changes(topic, flow) => self.changes(topic, flow),
            Op::Present(topic) => {
                if let Some(active) = &mut self.model.active[topic] {
                    active.present = true;
                }
            }
            Op::Message(topic, event) => self.message(topic, event),
            Op::End(topic) => {
                if let Some(channel) = self.model.active[topic].as_ref().map(|active| active.id) {
                    self.end_in_session(channel, CloseReason::Refused);
                }
            }
            Op::DeliverEnd => self.deliver_end(),
        }
        self.outlets.publish();
    }

    fn listen(&mut self, handle: usize, listen: Listen, own: bool) {
        let at = self.model.handles[handle].topic;
        let topic = topic(at);
        let (outlet, to) = if own {
            let (sink, source) = queue(1 << 20, true);
            (self.outlets.add(sink), Destination::Own(source, Vec::new()))
        } else {
            (self.inbox.0, Destination::Inbox)
        };
        let room = self.rooms.enter(&topic, self.model.handles[handle].id);
        let id = self.model.handles[handle].id;
        self.rooms.listen(room, id, (listen.clone(), outlet, own), self.model.present(at), &mut self.outlets);
        let greeting = self.model.greeting(at);
        let Model { handles, inbox, .. } = &mut self.model;
        let handle = &mut handles[handle];
        let mut others = std::mem::replace(&mut handle.ears, vec![(listen, to)]);
        if handle.state == Membership::Inside {
            greeting.iter().for_each(|event| handle.hear(event, inbox));
        }
        others.append(&mut handle.ears);
        handle.ears = others;
    }

    fn subscribe(&mut self, handle: usize) {
        let (id, at) = (self.model.handles[handle].id, self.model.handles[handle].topic);
        let room = self.rooms.enter(&topic(at), id);
        if self.model.active[at].is_none() {
            let channel = self.session.join(Timestamp::ZERO, topic(at), JoinOptions::default()).unwrap();
            let active = Active::new(channel, Arc::default());
            self.rooms.activate(room, active, &mut self.outlets);
            self.model.end(at, Membership::Leaving, &CloseReason::Left);
            let active = Standing { id: channel, joined: false, changes: None, present: false };
            (self.model.active[at], self.model.leaving[at]) = (Some(active), None);
        }
        self.rooms.subscribe(room, id, self.model.present(at), &mut self.outlets);
        let greeting = self.model.greeting(at);
        let handle = &mut self.model.handles[handle];
        if std::mem::replace(&mut handle.state, Membership::Inside) == Membership::Outside {
            greeting.iter().for_each(|event| handle.hear(event, &mut self.model.inbox));
        }
    }

    fn unsubscribe(&mut self, handle: usize) {
        let left = self.rooms.unsubscribe(self.model.handles[handle].id, &mut self.outlets);
        assert_eq!(left, self.model_unsubscribe(handle));
        if let Some(channel) = left {
            self.end_in_session(channel, CloseReason::Left);
        }
    }

    /// The channel that is left.
    fn model_unsubscribe(&mut self, handle: usize) -> Option<ChannelId> {
        let topic = self.model.handles[handle].topic;
        if self.model.handles[handle].state != Membership::Inside {
            return None;
        }
        self.model.handles[handle].state = Membership::Leaving;
        let is_inside = |handle: &Handle| handle.topic == topic && handle.state == Membership::Inside;
        if self.model.handles.iter().any(is_inside) {
            self.model.end(topic, Membership::Leaving, &CloseReason::Left);
            return None;
        }
        let channel = self.model.active[topic].take()?.id;
        self.model.leaving[topic] = Some(channel);
        Some(channel)
    }

    fn abandon(&mut self, handle: usize) {
        let left = self.rooms.abandon(self.model.handles[handle].id, &mut self.outlets);
        let was = self.model.handles[handle].state;
        let expected = if was == Membership::Inside { self.model_unsubscribe(handle) } else { None };
        assert_eq!(left, expected);
        if let Some(channel) = left {
            self.end_in_session(channel, CloseReason::Left);
        }
        if self.model.handles[handle].state != Membership::Outside {
            let closed = ChannelEvent::Closed { reason: CloseReason::Left };
            self.model.handles[handle].hear(&closed, &mut self.model.inbox);
        }
        let gone = std::mem::replace(&mut self.model.handles[handle], Handle::new(self.numbers));
        self.numbers += 1;
        let own = |(_, to)| if let Destination::Own(source, heard) = to { Some((source, heard)) } else { None };
        self.model.ended.extend(gone.ears.into_iter().filter_map(own));
    }

    fn remove_all(&mut self) {
        self.rooms.unsubscribe_all();
        for topic in 0..TOPICS {
            let Some(Standing { id: channel, .. }) = self.model.active[topic].take() else { continue };
            self.model.leaving[topic] = Some(channel);
            let inside = |handle: &&mut Handle| handle.topic == topic && handle.state == Membership::Inside;
            self.model.handles.iter_mut().filter(inside).for_each(|handle| handle.state = Membership::Leaving);
            self.end_in_session(channel, CloseReason::Left);
        }
    }

    fn set_joined(&mut self, topic: usize, joined: bool) {
        let Some(active) = &mut self.model.active[topic] else { return };
        (active.joined, active.changes) = (joined, None);
        self.rooms.set_joined(active.id, joined);
    }

    fn changes(&mut self, topic: usize, flow: bool) {
        let Some(active) = self.model.active[topic].as_mut().filter(|active| active.joined) else { return };
        let failure = PostgresFailure::TimedOut;
        let flow = if flow { Ok(()) } else { Err(failure.clone()) };
        let event = match &flow {
            Ok(()) => ChannelEvent::PostgresReady { missed_since: None },
            Err(_) => ChannelEvent::PostgresFailed { failure },
        };
        active.changes = Some(event.clone());
        self.rooms.set_changes(active.id, flow);
        self.tell(topic, event);
    }

    fn message(&mut self, topic: usize, event: &'static str) {
        self.tell(topic, ChannelEvent::Broadcast { event: event.into(), payload: Payload::EMPTY, meta: None });
    }

    fn tell(&mut self, topic: usize, event: ChannelEvent) {
        let Some(channel) = self.model.active[topic].as_ref().map(|active| active.id) else { return };
        self.rooms.tell(channel, event.clone(), &mut self.outlets);
        self.model.tell_if(&event, |handle| handle.topic == topic && handle.state == Membership::Inside);
    }

    fn end_in_session(&mut self, channel: ChannelId, reason: CloseReason) {
        // One that the server has ended can be left once more.
        if self.session.leave(Timestamp::ZERO, channel).is_ok() {
            self.ends.push_back((channel, reason));
        }
    }

    fn deliver_end(&mut self) {
        let Some((channel, reason)) = self.ends.pop_front() else { return };
        self.rooms.closed(channel, &reason, &mut self.outlets);
        if let Some(topic) = self.model.topic_of(channel) {
            self.model.active[topic] = None;
            self.model.end(topic, Membership::Inside, &reason);
        } else if let Some(topic) = self.model.leaving.iter().position(|leaving| *leaving == Some(channel)) {
            self.model.leaving[topic] = None;
            self.model.end(topic, Membership::Leaving, &reason);
        }
    }
}

fn topic(n: usize) -> Text {
    ["one", "two", "three"][n].into()
}

fn said(source: &mut Source<InboxEvent>) -> (Vec<InboxEvent>, bool) {
    let mut cx = Context::from_waker(noop_waker_ref());
    let mut said = Vec::new();
    loop {
        match source.poll_next(&mut cx) {
            Poll::Ready(Some(event)) => said.push(event),
            Poll::Ready(None) => return (said, true),
            Poll::Pending => return (said, false),
        }
    }
}

/// Which handle of a room hears first means nothing.
fn by_handle(mut said: Vec<InboxEvent>) -> Vec<InboxEvent> {
    said.sort_by_key(|event| if let InboxEvent::Channel { channel, .. } = event { Some(*channel) } else { None });
    said
}

proptest! {
    #[test]
    fn every_listener_hears_what_its_handle_lives_through_and_nothing_else(ops in ops()) {
        let mut bench = Bench::new();
        for op in ops {
            bench.run(op);
        }
        for handle in &mut bench.model.handles {
            for (_, to) in &mut handle.ears {
                if let Destination::Own(source, expected) = to {
                    prop_assert_eq!(said(source), (std::mem::take(expected), false));
                }
            }
        }
        (0..HANDLES).for_each(|handle| bench.run(Op::Abandon(handle)));
        (0..bench.ends.len()).for_each(|_| bench.run(Op::DeliverEnd));
        for (source, expected) in &mut bench.model.ended {
            prop_assert_eq!(said(source), (std::mem::take(expected), true));
        }
        prop_assert_eq!(by_handle(said(&mut bench.inbox.1).0), by_handle(bench.model.inbox));

        let Rooms { rooms, vacant, by_topic, by_handle, routes, displaced } = &bench.rooms;
        prop_assert_eq!(vacant.len(), rooms.len());
        prop_assert!(by_topic.is_empty() && by_handle.is_empty() && displaced.is_empty());
        prop_assert!(routes.iter().all(Option::is_none));
    }
}
