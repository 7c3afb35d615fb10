//! Who is in which channel: many handles share one server channel, each with listeners of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_core::Text;
use rejoin_core::phoenix::ChannelId;
use rejoin_core::supabase::{ChannelConfig, CloseReason, PostgresFailure};

use super::event::{ChannelEvent, HandleId, InboxEvent};
use super::listen::Listen;
use crate::outlets::{OutletId, Outlets};

/// One topic, and everybody who has to do with it.
pub(super) struct Room {
    pub(super) topic: Text,
    pub(super) active: Option<Active>,
    /// A channel that is being left and whose end is still to be told.
    leaving: Option<ChannelId>,
    members: Vec<Member>,
}

/// The server channel of a room.
pub(super) struct Active {
    pub(super) id: ChannelId,
    pub(super) config: Arc<ChannelConfig>,
    joined: bool,
    /// Whether database changes flow, as far as the server has said since the join.
    changes: Option<Result<(), PostgresFailure>>,
}

impl Active {
    pub(super) const fn new(id: ChannelId, config: Arc<ChannelConfig>) -> Self {
        Self { id, config, joined: false, changes: None }
    }

    /// What somebody who comes late has to know, `present` among it.
    fn greeting(&self, present: Option<ChannelEvent>) -> impl Iterator<Item = ChannelEvent> + use<> {
        let subscribed = self.joined.then_some(ChannelEvent::Subscribed { again: false });
        let changes = self.changes.clone().map(|changes| match changes {
            Ok(()) => ChannelEvent::PostgresReady { missed_since: None },
            Err(failure) => ChannelEvent::PostgresFailed { failure },
        });
        [subscribed, changes, present].into_iter().flatten()
    }
}

/// A handle.
struct Member {
    handle: HandleId,
    state: Membership,
    ears: Vec<Ear>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Membership {
    Outside,
    Inside,
    /// Unsubscribed, and not told of the end yet.
    Leaving,
}

struct Ear {
    listen: Listen,
    outlet: OutletId,
    /// Whether the outlet is nobody else's.
    owned: bool,
}

/// Names a room while it has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RoomId(usize);

#[derive(Default)]
pub(super) struct Rooms {
    rooms: Vec<Option<Room>>,
    vacant: Vec<usize>,
    by_topic: BTreeMap<Text, RoomId>,
    by_handle: BTreeMap<HandleId, RoomId>,
    /// By the slot of the channel's id, until the channel's end was told.
    routes: Vec<Option<(ChannelId, RoomId)>>,
    /// Channels whose slot went to a newer one before their end was told: the session knows of an end
    /// before its event has been delivered.
    displaced: BTreeMap<ChannelId, RoomId>,
}

impl Rooms {
    /// The room of a topic, with this handle as a member.
    pub(super) fn enter(&mut self, topic: &Text, handle: HandleId) -> RoomId {
        let id = self.by_topic.get(topic).copied().unwrap_or_else(|| self.open(topic.clone()));
        if self.by_handle.insert(handle, id).is_none()
            && let Some(room) = self.get_mut(id)
        {
            room.members.push(Member { handle, state: Membership::Outside, ears: Vec::new() });
        }
        id
    }

    /// The room that a handle is a member of.
    pub(super) fn of(&self, handle: HandleId) -> Option<RoomId> {
        self.by_handle.get(&handle).copied()
    }

    pub(super) fn by_topic(&self, topic: &Text) -> Option<&Room> {
        self.get(*self.by_topic.get(topic)?)
    }

    pub(super) fn get(&self, RoomId(place): RoomId) -> Option<&Room> {
        self.rooms.get(place)?.as_ref()
    }

    fn get_mut(&mut self, RoomId(place): RoomId) -> Option<&mut Room> {
        self.rooms.get_mut(place)?.as_mut()
    }

    /// The room has a server channel from now on. Whoever was leaving the one before has left.
    pub(super) fn activate(&mut self, id: RoomId, active: Active, outlets: &mut Outlets<InboxEvent>) {
        self.leave_at_last(id, outlets);
        self.route(active.id, id);
        if let Some(room) = self.get_mut(id) {
            room.active = Some(active);
        }
    }

    /// The handle wants to be in. One that comes late hears at once that the channel is joined, and
    /// who is `present`.
    pub(super) fn subscribe(
        &mut self,
        id: RoomId,
        handle: HandleId,
        present: Option<ChannelEvent>,
        outlets: &mut Outlets<InboxEvent>,
    ) {
        let Some(room) = self.get_mut(id) else { return };
        let greeting = room.active.as_ref().map(|active| active.greeting(present));
        let Some(member) = room.member(handle) else { return };
        if std::mem::replace(&mut member.state, Membership::Inside) != Membership::Inside {
            for event in greeting.into_iter().flatten() {
                member.tell(&event, outlets);
            }
        }
    }

    /// The handle does not want to be in any more. The channel to leave, if it was the last one.
    pub(super) fn unsubscribe(&mut self, handle: HandleId, outlets: &mut Outlets<InboxEvent>) -> Option<ChannelId> {
        let id = self.of(handle)?;
        let room = self.get_mut(id)?;
        let member = room.member(handle).filter(|member| member.state == Membership::Inside)?;
        member.state = Membership::Leaving;
        if room.members.iter().any(|member| member.state == Membership::Inside) {
            self.leave_at_last(id, outlets);
            return None;
        }
        let active = room.active.take()?;
        room.leaving = Some(active.id);
        Some(active.id)
    }

    /// Nobody wants to be in anywhere any more; all channels are being left.
    pub(super) fn unsubscribe_all(&mut self) {
        for room in self.rooms.iter_mut().flatten() {
            let Some(active) = room.active.take() else { continue };
            room.leaving = Some(active.id);
            for member in room.members.iter_mut().filter(|member| member.state == Membership::Inside) {
                member.state = Membership::Leaving;
            }
        }
    }

    /// Attaches a listener, which hears what it comes too late for.
    pub(super) fn listen(
        &mut self,
        id: RoomId,
        handle: HandleId,
        (listen, outlet, owned): (Listen, OutletId, bool),
        present: Option<ChannelEvent>,
        outlets: &mut Outlets<InboxEvent>,
    ) {
        let Some(room) = self.get_mut(id) else { return };
        let greeting = room.active.as_ref().map(|active| active.greeting(present));
        let Some(member) = room.member(handle) else { return };
        member.forget_deaf_ears(outlets);
        let ear = Ear { listen, outlet, owned };
        if member.state == Membership::Inside {
            for event in greeting.into_iter().flatten().filter(|event| ear.listen.wants(event)) {
                ear.hear(handle, event, outlets);
            }
        }
        member.ears.push(ear);
    }

    /// The last clone of a handle is gone, and its listeners end. The channel to leave, if nobody
    /// else is in.
    pub(super) fn abandon(&mut self, handle: HandleId, outlets: &mut Outlets<InboxEvent>) -> Option<ChannelId> {
        let left = self.unsubscribe(handle, outlets);
        if let Some(id) = self.by_handle.remove(&handle)
            && let Some(room) = self.get_mut(id)
        {
            for mut member in room.members.extract_if(.., |member| member.handle == handle) {
                member.end(&CloseReason::Left, outlets);
                member.ears.iter().filter(|ear| ear.owned).for_each(|ear| outlets.remove(ear.outlet));
            }
            if room.members.is_empty() {
                self.shut(id);
            }
        }
        left
    }

    /// Nothing listens into this outlet any more.
    pub(super) fn forget_outlet(&mut self, outlet: OutletId) {
        for member in self.rooms.iter_mut().flatten().flat_map(|room| &mut room.members) {
            member.ears.retain(|ear| ear.outlet != outlet);
        }
    }

    /// A message reaches everybody inside who listens to it; the last one gets it without a clone.
    #[inline]
    pub(super) fn tell(&self, channel: ChannelId, event: ChannelEvent, outlets: &mut Outlets<InboxEvent>) {
        let Some(room) = self.routed(channel).and_then(|id| self.get(id)).filter(|room| room.is_active(channel)) else {
            return;
        };
        let mut last: Option<(OutletId, HandleId)> = None;
        for member in room.members.iter().filter(|member| member.state == Membership::Inside) {
            for ear in member.ears.iter().filter(|ear| ear.listen.wants(&event)) {
                if let Some((outlet, handle)) = last.replace((ear.outlet, member.handle)) {
                    outlets.deliver(outlet, InboxEvent::Channel { channel: handle, event: event.clone() });
                }
            }
        }
        if let Some((outlet, handle)) = last {
            outlets.deliver(outlet, InboxEvent::Channel { channel: handle, event });
        }
    }

    /// What happened to one handle alone.
    pub(super) fn tell_handle(&self, handle: HandleId, event: &ChannelEvent, outlets: &mut Outlets<InboxEvent>) {
        let room = self.of(handle).and_then(|id| self.get(id));
        if let Some(member) = room.and_then(|room| room.members.iter().find(|member| member.handle == handle)) {
            member.tell(event, outlets);
        }
    }

    /// Messages of any channels were dropped before they came here. Inboxes hear of it otherwise, and
    /// whoever follows the members of a channel is told who is present.
    pub(super) fn lagged(
        &self,
        missed: u64,
        present: impl Fn(ChannelId) -> Option<ChannelEvent>,
        outlets: &mut Outlets<InboxEvent>,
    ) {
        for room in self.rooms.iter().flatten() {
            let present = room.active.as_ref().and_then(|active| present(active.id));
            for member in room.members.iter().filter(|member| member.state == Membership::Inside) {
                for ear in &member.ears {
                    if ear.owned {
                        ear.hear(member.handle, ChannelEvent::Lagged { missed }, outlets);
                    }
                    if let Some(event) = present.as_ref().filter(|event| ear.listen.wants(event)) {
                        ear.hear(member.handle, event.clone(), outlets);
                    }
                }
            }
        }
    }

    /// The server channel is joined, or is no longer.
    pub(super) fn set_joined(&mut self, channel: ChannelId, joined: bool) {
        if let Some(active) = self.active_mut(channel) {
            active.joined = joined;
            active.changes = None;
        }
    }

    /// Database changes flow, or do not.
    pub(super) fn set_changes(&mut self, channel: ChannelId, flow: Result<(), PostgresFailure>) {
        if let Some(active) = self.active_mut(channel) {
            active.changes = Some(flow);
        }
    }

    /// The server channel is gone for good.
    pub(super) fn closed(&mut self, channel: ChannelId, reason: &CloseReason, outlets: &mut Outlets<InboxEvent>) {
        let Some(room) = self.unroute(channel).and_then(|id| self.get_mut(id)) else { return };
        if room.is_active(channel) {
            room.active = None;
            room.end(Membership::Inside, reason, outlets);
        } else {
            room.leaving = None;
            room.end(Membership::Leaving, reason, outlets);
        }
    }

    /// Who has unsubscribed hears of the end now, whatever the server has still to say about it.
    fn leave_at_last(&mut self, id: RoomId, outlets: &mut Outlets<InboxEvent>) {
        let Some(room) = self.get_mut(id) else { return };
        room.end(Membership::Leaving, &CloseReason::Left, outlets);
        if let Some(channel) = room.leaving.take() {
            self.unroute(channel);
        }
    }

    fn route(&mut self, channel: ChannelId, room: RoomId) {
        let slot = channel.slot();
        if self.routes.len() <= slot {
            self.routes.resize(slot + 1, None);
        }
        self.displaced.extend(self.routes[slot].replace((channel, room)));
    }

    #[inline]
    fn routed(&self, channel: ChannelId) -> Option<RoomId> {
        match self.routes.get(channel.slot()) {
            Some(Some((routed, room))) if *routed == channel => Some(*room),
            _ => self.displaced.get(&channel).copied(),
        }
    }

    fn active_mut(&mut self, channel: ChannelId) -> Option<&mut Active> {
        let room = self.routed(channel).and_then(|id| self.get_mut(id))?;
        room.active.as_mut().filter(|active| active.id == channel)
    }

    fn unroute(&mut self, channel: ChannelId) -> Option<RoomId> {
        let route = self.routes.get_mut(channel.slot())?;
        match route.take_if(|(routed, _)| *routed == channel) {
            Some((_, room)) => Some(room),
            None => self.displaced.remove(&channel),
        }
    }

    fn open(&mut self, topic: Text) -> RoomId {
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.rooms.push(None);
            self.rooms.len() - 1
        });
        let room = Room { topic: topic.clone(), active: None, leaving: None, members: Vec::new() };
        self.rooms[place] = Some(room);
        self.by_topic.insert(topic, RoomId(place));
        RoomId(place)
    }

    fn shut(&mut self, RoomId(place): RoomId) {
        let Some(room) = self.rooms[place].take() else { return };
        self.by_topic.remove(&room.topic);
        self.vacant.push(place);
        if let Some(channel) = room.leaving {
            self.unroute(channel);
        }
    }
}

impl Room {
    fn is_active(&self, channel: ChannelId) -> bool {
        self.active.as_ref().is_some_and(|active| active.id == channel)
    }

    /// Whether this handle is subscribed.
    pub(super) fn has_inside(&self, handle: HandleId) -> bool {
        self.members.iter().any(|member| member.handle == handle && member.state == Membership::Inside)
    }

    fn member(&mut self, handle: HandleId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.handle == handle)
    }

    fn end(&mut self, who: Membership, reason: &CloseReason, outlets: &mut Outlets<InboxEvent>) {
        for member in self.members.iter_mut().filter(|member| member.state == who) {
            member.end(reason, outlets);
            member.forget_deaf_ears(outlets);
        }
    }
}

impl Member {
    /// Is outside from now on, and hears why if that is news.
    fn end(&mut self, reason: &CloseReason, outlets: &mut Outlets<InboxEvent>) {
        if std::mem::replace(&mut self.state, Membership::Outside) != Membership::Outside {
            self.tell(&ChannelEvent::Closed { reason: reason.clone() }, outlets);
        }
    }

    fn tell(&self, event: &ChannelEvent, outlets: &mut Outlets<InboxEvent>) {
        for ear in self.ears.iter().filter(|ear| ear.listen.wants(event)) {
            ear.hear(self.handle, event.clone(), outlets);
        }
    }

    /// Drops the listeners that nobody reads.
    fn forget_deaf_ears(&mut self, outlets: &mut Outlets<InboxEvent>) {
        self.ears.retain(|ear| {
            let deaf = outlets.reader_is_gone(ear.outlet);
            if deaf && ear.owned {
                outlets.remove(ear.outlet);
            }
            !deaf
        });
    }
}

impl Ear {
    fn hear(&self, handle: HandleId, event: ChannelEvent, outlets: &mut Outlets<InboxEvent>) {
        outlets.deliver(self.outlet, InboxEvent::Channel { channel: handle, event });
    }
}

#[cfg(test)]
mod tests;
