//! Who is present, as a stream that remembers it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use rejoin_core::Text;
use rejoin_core::phoenix::{Meta, PresenceChange};

use super::channel::Channel;
use super::errors::SubscribeError;
use super::event::{ChannelEvent, Member};
use super::listen::Listen;
use super::listener::Listener;
use super::typed::Typed;

/// Who comes and goes on a channel, and who is there. Made by [`Channel::presence`].
///
/// [`members`](PresenceStream::members) are those after the item that was read last. A stream that
/// begins when the members are known already begins with [`PresenceChange::Sync`] instead of a join for
/// each of them; so it does where changes were dropped before they came here.
///
/// It stops the reading when it is not read, as it would not know the members if it missed a change.
pub struct PresenceStream {
    listener: Listener,
    roster: Roster,
}

impl Channel {
    /// Who is present on the channel, from now on.
    ///
    /// ```
    /// # use rejoin_pump::core::Payload;
    /// # use rejoin_pump::core::phoenix::PresenceChange;
    /// # use rejoin_pump::core::supabase::ChannelConfig;
    /// # use rejoin_pump::supabase::{Client, Typed};
    /// # async fn run(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let room = client.channel("room", ChannelConfig::default().presence("ann"))?;
    /// let mut presence = room.presence().await?;
    /// room.subscribe().await?;
    /// let shown = room.track(Payload::from_json_text(r#"{"away":false}"#)?).await?;
    /// while let Some(heard) = presence.next().await {
    ///     match heard {
    ///         Typed::Message(PresenceChange::Join { key, .. }) => println!("{key} has come"),
    ///         Typed::Message(PresenceChange::Leave { key, current, .. }) if current.is_empty() => {
    ///             println!("{key} has gone");
    ///         }
    ///         Typed::Message(PresenceChange::Sync) => println!("{} are here", presence.len()),
    ///         _ => {}
    ///     }
    /// }
    /// # drop(shown);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the channel's configuration is [without presence](rejoin_core::supabase::ChannelConfig::presence),
    /// or the client is closed.
    pub async fn presence(&self) -> Result<PresenceStream, SubscribeError> {
        if !self.config().presence.enabled {
            return Err(SubscribeError::PresenceNotEnabled);
        }
        let listener = self.listen(Listen::presence()).await?;
        Ok(PresenceStream { listener, roster: Roster::default() })
    }
}

impl PresenceStream {
    /// What happens next; `None` once nothing will any more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Typed<PresenceChange>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Who is present: keys with what each of their connections says about itself, in the byte order of
    /// the keys. While the channel is not joined these are the last known ones; none once it is closed.
    pub fn members(&self) -> impl Iterator<Item = (&str, &[Meta])> {
        self.roster.members.iter().map(|(key, metas)| (key.as_str(), metas.as_slice()))
    }

    /// What the connections of a key say about themselves; `None` if it is not present.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[Meta]> {
        self.roster.members.get(key.as_bytes()).map(Vec::as_slice)
    }

    /// How many keys are present.
    #[must_use]
    pub fn len(&self) -> usize {
        self.roster.members.len()
    }

    /// Whether nobody is known to be present.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roster.members.is_empty()
    }
}

impl Stream for PresenceStream {
    type Item = Typed<PresenceChange>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Typed<PresenceChange>>> {
        let event = ready!(Pin::new(&mut self.listener).poll_next(cx));
        Poll::Ready(event.map(|event| self.roster.hear(event)))
    }
}

/// The members, by what the stream has said so far.
#[derive(Debug, Default)]
struct Roster {
    members: BTreeMap<Text, Vec<Meta>>,
}

impl Roster {
    fn hear(&mut self, event: ChannelEvent) -> Typed<PresenceChange> {
        match event {
            ChannelEvent::Presence(change) => {
                self.apply(&change);
                Typed::Message(*change)
            }
            ChannelEvent::PresenceState { members } => {
                self.members = members.into_iter().map(|Member { key, metas }| (key, metas)).collect();
                Typed::Message(PresenceChange::Sync)
            }
            event => {
                if matches!(event, ChannelEvent::Closed { .. }) {
                    // What comes after the next subscription begins anew.
                    self.members.clear();
                }
                Typed::Channel(event)
            }
        }
    }

    /// Changes may be older than the state that was told before them, so that each says what is, not
    /// what is different.
    fn apply(&mut self, change: &PresenceChange) {
        match change {
            PresenceChange::Join { key, current, joined } => {
                let metas = current.iter().chain(joined).cloned().collect();
                self.members.insert(key.clone(), metas);
            }
            PresenceChange::Update { key, old, new } => {
                let metas = self.members.entry(key.clone()).or_default();
                metas.retain(|meta| meta.phx_ref != old.phx_ref && meta.phx_ref != new.phx_ref);
                metas.push(new.clone());
            }
            PresenceChange::Leave { key, current, .. } if current.is_empty() => {
                self.members.remove(key);
            }
            PresenceChange::Leave { key, current, .. } => {
                self.members.insert(key.clone(), current.clone());
            }
            // It says nothing about anybody, like what a later core may add.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use rejoin_core::Payload;
    use rejoin_core::phoenix::Presence;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        State(Vec<(usize, usize)>),
        /// Joins, of which some replace the ref before theirs, and leaves.
        Diff(Vec<(usize, usize, bool)>, Vec<(usize, usize)>),
        /// The stream reads so many changes.
        Read(usize),
        /// So many changes are lost, and the stream is told who is present, ahead of changes that it
        /// has still to read.
        Lose(usize),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let metas = || prop::collection::vec((0..2_usize, 0..3_usize), 0..3);
        let joins = prop::collection::vec((0..2_usize, 0..3_usize, any::<bool>()), 0..4);
        let op = prop_oneof![
            1 => metas().prop_map(Op::State),
            4 => (joins, metas()).prop_map(|(joins, leaves)| Op::Diff(joins, leaves)),
            2 => (0..6_usize).prop_map(Op::Read),
            2 => (0..4_usize).prop_map(Op::Lose),
        ];
        prop::collection::vec(op, 0..30)
    }

    fn listed(metas: impl IntoIterator<Item = (usize, Value)>) -> Value {
        let mut list = serde_json::Map::new();
        for (key, meta) in metas {
            let presence = list.entry(key.to_string()).or_insert_with(|| json!({ "metas": [] }));
            presence["metas"].as_array_mut().unwrap().push(meta);
        }
        list.into()
    }

    fn plain(metas: Vec<(usize, usize)>) -> Value {
        listed(metas.into_iter().map(|(key, phx_ref)| (key, json!({ "phx_ref": phx_ref.to_string() }))))
    }

    fn sorted<'a>(members: impl Iterator<Item = (&'a str, &'a [Meta])>) -> Vec<(String, Vec<String>)> {
        let member = |(key, metas): (&str, &[Meta])| {
            let mut refs: Vec<_> = metas.iter().map(|meta| meta.phx_ref.to_string()).collect();
            refs.sort();
            (key.to_owned(), refs)
        };
        members.map(member).collect()
    }

    fn members(roster: &Roster) -> impl Iterator<Item = (&str, &[Meta])> {
        roster.members.iter().map(|(key, metas)| (key.as_str(), metas.as_slice()))
    }

    proptest! {
        #[test]
        fn who_has_read_everything_knows_the_members_however_late_and_whatever_was_lost(ops in ops()) {
            let (mut presence, mut roster, mut unread) = (Presence::default(), Roster::default(), VecDeque::new());
            presence.state(1, &Payload::EMPTY).unwrap();
            for op in ops {
                match op {
                    Op::State(metas) => {
                        let state = Payload::json(&plain(metas)).unwrap();
                        unread.extend(presence.state(1, &state).unwrap().changes);
                    }
                    Op::Diff(joins, mut leaves) => {
                        let joins: Vec<_> = joins.into_iter().map(|(key, phx_ref, updates)| {
                            let before = (phx_ref + 2) % 3;
                            leaves.extend(updates.then_some((key, before)));
                            let before = updates.then(|| before.to_string());
                            (key, json!({ "phx_ref": phx_ref.to_string(), "phx_ref_prev": before }))
                        }).collect();
                        let diff = json!({ "joins": listed(joins), "leaves": plain(leaves) });
                        unread.extend(presence.diff(1, &Payload::json(&diff).unwrap()).unwrap().changes);
                    }
                    Op::Read(count) => {
                        for change in unread.drain(..count.min(unread.len())) {
                            roster.hear(ChannelEvent::Presence(Box::new(change)));
                        }
                    }
                    Op::Lose(count) => {
                        unread.drain(..count.min(unread.len()));
                        let members = presence.iter().map(Member::new).collect();
                        roster.hear(ChannelEvent::PresenceState { members });
                    }
                }
                if unread.is_empty() {
                    prop_assert_eq!(sorted(members(&roster)), sorted(presence.iter()));
                }
            }
            for change in unread {
                roster.hear(ChannelEvent::Presence(Box::new(change)));
            }
            prop_assert_eq!(sorted(members(&roster)), sorted(presence.iter()));
        }
    }
}
