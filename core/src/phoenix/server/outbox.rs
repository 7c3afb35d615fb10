//! What waits for the transport: one order, a bound in bytes, and a rule for who gives way at it.
//!
//! A reader may be stuck for as long as it likes while others keep talking to it, so whatever gives way
//! leaves no trace.

use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, VecDeque};

use super::config::{OutboxOverflow, PLACE_BYTES};
use super::places::{At, Ends, Place, Places};
use super::shared_frame::SharedFrame;
use crate::machine::Frame;
use crate::phoenix::ids::ServerChannelId;
use crate::text::Text;

/// The frames of one socket that the transport has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// What may not give way and came before all that is in a place. Mostly that is everything, and
    /// a queue is the least memory that a burst can touch.
    front: VecDeque<Frame>,
    places: Places<Waiting, 3>,
    order: Ends,
    /// Those that may give way, oldest first: of all channels, and of each that has any.
    droppable: Ends,
    channels: BTreeMap<ServerChannelId, Ends>,
    /// Where the message waits that is the latest of its channel and key.
    latest: BTreeMap<(ServerChannelId, Text), At>,
    bytes: usize,
    droppable_bytes: usize,
    /// What gave way since the last [`Outbox::take_dropped`].
    untold: BTreeMap<ServerChannelId, u64>,
    dropped: u64,
    replaced: u64,
}

/// What may not give way found no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Outbox {
    /// Adds what may never be dropped: a reply, or the end of a channel.
    pub(super) fn push_control(&mut self, bound: usize, frame: Frame) -> Result<(), Full> {
        let waiting = Waiting { frame, channel: None, key: None };
        if !self.make_room(bound, waiting.bytes(), None) {
            return Err(Full);
        }
        if self.order.is_empty() {
            self.bytes += waiting.bytes();
            self.front.push_back(waiting.frame);
        } else {
            self.append(waiting);
        }
        Ok(())
    }

    /// Adds a message of a channel, as its `overflow` says. One that is larger than the whole bound
    /// finds no room and costs no other its place.
    pub(super) fn push_message(
        &mut self,
        bound: usize,
        channel: ServerChannelId,
        overflow: OutboxOverflow,
        SharedFrame { frame, key }: SharedFrame,
    ) -> Result<(), Full> {
        let key = key.filter(|_| overflow == OutboxOverflow::Latest);
        let mut waiting = Waiting { frame, channel: Some(channel), key };
        let bytes = waiting.bytes();
        let has_room = match overflow {
            OutboxOverflow::Close => return self.push_control(bound, waiting.frame),
            OutboxOverflow::DropNewest => self.bytes.saturating_add(bytes) <= bound,
            OutboxOverflow::DropOldest => self.make_room(bound, bytes, Some(channel)),
            OutboxOverflow::Latest => match self.replace(bound, channel, waiting) {
                None => return Ok(()),
                Some(unplaced) => {
                    waiting = unplaced;
                    self.make_room(bound, bytes, Some(channel))
                }
            },
        };
        if has_room {
            self.append(waiting);
        } else {
            self.count_dropped(channel);
        }
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let Some(frame) = self.front.pop_front() else {
            return self.remove(self.order.first).map(|waiting| waiting.frame);
        };
        self.bytes -= frame_bytes(&frame);
        if self.front.is_empty() {
            // What one burst needed must not stay with an idle socket for ever.
            self.front.shrink_to(KEPT);
        }
        Some(frame)
    }

    /// Forgets everything that waits, and says how many frames that were.
    pub(super) fn clear(&mut self) -> u64 {
        let mut count = 0;
        while self.pop().is_some() {
            count += 1;
        }
        count
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_dropped(&self) -> bool {
        !self.untold.is_empty()
    }

    /// What gave way since the last call.
    pub(super) fn take_dropped(&mut self) -> impl Iterator<Item = (ServerChannelId, u64)> + use<> {
        core::mem::take(&mut self.untold).into_iter()
    }

    /// How many messages gave way in all.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many messages had their place taken in all.
    pub(super) const fn replaced(&self) -> u64 {
        self.replaced
    }
}

#[derive(Debug)]
struct Waiting {
    frame: Frame,
    /// Whose message it is, if it may give way.
    channel: Option<ServerChannelId>,
    key: Option<Text>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        frame_bytes(&self.frame)
    }
}

fn frame_bytes(frame: &Frame) -> usize {
    frame.len().saturating_add(PLACE_BYTES)
}

/// How many frames an empty queue has room for.
const KEPT: usize = 4;

impl Outbox {
    /// Puts a message where the one with the same key waits; gives it back if none does or it would not
    /// fit, in which case that one's place is free.
    fn replace(&mut self, bound: usize, channel: ServerChannelId, waiting: Waiting) -> Option<Waiting> {
        let Some(key) = &waiting.key else { return Some(waiting) };
        let Some(&at) = self.latest.get(&(channel, key.clone())) else { return Some(waiting) };
        self.replaced += 1;
        let Some(before) = self.places.get_mut(at) else { return Some(waiting) };
        let (old, new) = (before.bytes(), waiting.bytes());
        if (self.bytes - old).saturating_add(new) <= bound {
            self.bytes = self.bytes - old + new;
            self.droppable_bytes = self.droppable_bytes - old + new;
            *before = waiting;
            None
        } else {
            self.remove(at);
            Some(waiting)
        }
    }

    /// Whether so many bytes fit after all that may give way has, the channel's own first, which it then
    /// does as far as it must. If they do not, nothing gives way.
    fn make_room(&mut self, bound: usize, bytes: usize, own: Option<ServerChannelId>) -> bool {
        let firm = self.bytes - self.droppable_bytes;
        if firm.saturating_add(bytes) > bound {
            return false;
        }
        while self.bytes + bytes > bound {
            let own = own.and_then(|channel| self.channels.get(&channel));
            let oldest = own.unwrap_or(&self.droppable).first;
            let Some(channel) = self.remove(oldest).and_then(|waiting| waiting.channel) else { return false };
            self.count_dropped(channel);
        }
        true
    }

    fn count_dropped(&mut self, channel: ServerChannelId) {
        self.dropped += 1;
        *self.untold.entry(channel).or_default() += 1;
    }

    fn append(&mut self, waiting: Waiting) {
        let bytes = waiting.bytes();
        let (channel, key) = (waiting.channel, waiting.key.clone());
        let at = self.places.insert(waiting);
        self.bytes += bytes;
        self.places.append(ORDER, &mut self.order, at);
        if let Some(channel) = channel {
            self.droppable_bytes += bytes;
            self.places.append(DROPPABLE, &mut self.droppable, at);
            self.places.append(CHANNEL, self.channels.entry(channel).or_default(), at);
            if let Some(key) = key {
                self.latest.insert((channel, key), at);
            }
        }
    }

    fn remove(&mut self, at: At) -> Option<Waiting> {
        let waiting = self.places.get(at)?;
        let (bytes, channel, key) = (waiting.bytes(), waiting.channel, waiting.key.clone());
        self.bytes -= bytes;
        self.places.unlink(ORDER, &mut self.order, at);
        if let Some(channel) = channel {
            self.droppable_bytes -= bytes;
            self.places.unlink(DROPPABLE, &mut self.droppable, at);
            if let Entry::Occupied(mut ends) = self.channels.entry(channel) {
                self.places.unlink(CHANNEL, ends.get_mut(), at);
                if ends.get().is_empty() {
                    ends.remove();
                }
            }
            if let Some(key) = key {
                self.latest.remove(&(channel, key));
            }
        }
        self.places.remove(at)
    }
}

/// Which list a frame is on.
const ORDER: usize = 0;
const DROPPABLE: usize = 1;
const CHANNEL: usize = 2;

const _: () = assert!(size_of::<Place<Waiting, 3>>() <= PLACE_BYTES, "a place counts for less than it is");

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::slab::Slab;

    fn channel(number: usize) -> ServerChannelId {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..=number).map(|_| slab.insert(())).collect();
        ServerChannelId(keys[number])
    }

    /// The frame number `number`, so large that it counts `bytes` and a place.
    fn frame(number: u16, bytes: usize) -> Frame {
        let mut content = vec![0; bytes.max(2)];
        content[..2].copy_from_slice(&number.to_le_bytes());
        Frame::Binary(content.into())
    }

    fn number(frame: &Frame) -> u16 {
        u16::from_le_bytes([frame.as_bytes()[0], frame.as_bytes()[1]])
    }

    /// The same rules, one list, and no thought of speed.
    #[derive(Default)]
    struct Model {
        waiting: Vec<(u16, usize, Option<usize>, Option<u8>)>,
        dropped: BTreeMap<usize, u64>,
        replaced: u64,
    }

    impl Model {
        fn bytes(&self) -> usize {
            self.waiting.iter().map(|(_, bytes, ..)| bytes).sum()
        }

        fn make_room(&mut self, bound: usize, bytes: usize, own: Option<usize>) -> bool {
            let firm: usize =
                self.waiting.iter().filter(|(_, _, of, _)| of.is_none()).map(|(_, bytes, ..)| bytes).sum();
            while firm + bytes <= bound && self.bytes() + bytes > bound {
                let of_own = self.waiting.iter().position(|(_, _, of, _)| own.is_some() && *of == own);
                let oldest = of_own.or_else(|| self.waiting.iter().position(|(_, _, of, _)| of.is_some())).unwrap();
                let (_, _, of, _) = self.waiting.remove(oldest);
                *self.dropped.entry(of.unwrap()).or_default() += 1;
            }
            firm + bytes <= bound
        }

        /// `false` is full.
        fn push(
            &mut self,
            bound: usize,
            new: (u16, usize),
            of: Option<(usize, OutboxOverflow)>,
            key: Option<u8>,
        ) -> bool {
            let (number, bytes) = new;
            let (of, overflow) = match of {
                None | Some((_, OutboxOverflow::Close)) => {
                    let fits = self.make_room(bound, bytes, None);
                    self.waiting.extend(fits.then_some((number, bytes, None, None)));
                    return fits;
                }
                Some(message) => message,
            };
            let key = key.filter(|_| overflow == OutboxOverflow::Latest);
            let before = self.waiting.iter().position(|(_, _, o, k)| key.is_some() && *o == Some(of) && *k == key);
            if let Some(at) = before {
                self.replaced += 1;
                if self.bytes() - self.waiting[at].1 + bytes <= bound {
                    self.waiting[at] = (number, bytes, Some(of), key);
                    return true;
                }
                self.waiting.remove(at);
            }
            let fits = match overflow {
                OutboxOverflow::DropNewest => self.bytes() + bytes <= bound,
                _ => self.make_room(bound, bytes, Some(of)),
            };
            if fits {
                self.waiting.push((number, bytes, Some(of), key));
            } else {
                *self.dropped.entry(of).or_default() += 1;
            }
            true
        }
    }

    fn overflow() -> impl Strategy<Value = OutboxOverflow> {
        prop_oneof![
            1 => Just(OutboxOverflow::Close),
            3 => Just(OutboxOverflow::DropNewest),
            3 => Just(OutboxOverflow::DropOldest),
            4 => Just(OutboxOverflow::Latest),
        ]
    }

    #[derive(Clone, Debug)]
    enum Op {
        Control(usize),
        Message(usize, OutboxOverflow, usize, Option<u8>),
        Pop,
        Tell,
    }

    fn op() -> impl Strategy<Value = Op> {
        let message = (0usize..3, overflow(), 2usize..600, prop::option::of(0u8..3));
        prop_oneof![
            2 => (2usize..200).prop_map(Op::Control),
            12 => message.prop_map(|(of, overflow, bytes, key)| Op::Message(of, overflow, bytes, key)),
            5 => Just(Op::Pop),
            1 => Just(Op::Tell),
        ]
    }

    proptest! {
        #[test]
        fn an_outbox_keeps_bound_order_and_count_whatever_is_pushed(
            bound in 0usize..4_000,
            ops in prop::collection::vec(op(), 1..300),
        ) {
            let channels = [0, 1, 2].map(channel);
            let (mut outbox, mut model) = (Outbox::default(), Model::default());
            let (mut pushed, mut popped, mut control, mut told) = (0u16, 0u64, Vec::new(), 0);
            for op in ops {
                let taken = match op {
                    Op::Control(bytes) => {
                        let fits = model.push(bound, (pushed, bytes + PLACE_BYTES), None, None);
                        prop_assert_eq!(outbox.push_control(bound, frame(pushed, bytes)).is_ok(), fits);
                        control.extend(fits.then_some(pushed));
                        fits
                    }
                    Op::Message(of, overflow, bytes, key) => {
                        let fits = model.push(bound, (pushed, bytes + PLACE_BYTES), Some((of, overflow)), key);
                        let key = key.map(|key| Text::from(&*alloc::format!("{key}")));
                        let shared = SharedFrame { frame: frame(pushed, bytes), key };
                        prop_assert_eq!(outbox.push_message(bound, channels[of], overflow, shared).is_ok(), fits);
                        fits
                    }
                    Op::Pop => {
                        let expected = (!model.waiting.is_empty()).then(|| model.waiting.remove(0).0);
                        let frame = outbox.pop();
                        prop_assert_eq!(frame.as_ref().map(number), expected);
                        popped += u64::from(frame.is_some());
                        control.retain(|number| Some(*number) != expected);
                        false
                    }
                    Op::Tell => {
                        let dropped: BTreeMap<_, _> = outbox.take_dropped().collect();
                        let expected: BTreeMap<_, _> =
                            core::mem::take(&mut model.dropped).into_iter().map(|(of, n)| (channels[of], n)).collect();
                        prop_assert_eq!(&dropped, &expected);
                        told += dropped.values().sum::<u64>();
                        false
                    }
                };
                pushed += u16::from(taken);
                prop_assert_eq!(outbox.bytes(), model.bytes());
                prop_assert!(outbox.bytes() <= bound);
                prop_assert_eq!(outbox.replaced(), model.replaced);
                prop_assert!(control.iter().all(|c| model.waiting.iter().any(|w| w.0 == *c)), "a reply is gone");
            }
            // What is missing is what was counted.
            told += outbox.take_dropped().map(|(_, count)| count).sum::<u64>();
            prop_assert_eq!(told, outbox.dropped());
            let waited = outbox.clear();
            prop_assert_eq!(u64::from(pushed), popped + waited + outbox.dropped() + outbox.replaced());
            prop_assert!(outbox.bytes() == 0 && outbox.order.is_empty() && outbox.droppable_bytes == 0);
            prop_assert!(outbox.channels.is_empty() && outbox.latest.is_empty());
        }
    }

    #[test]
    fn endless_updates_to_a_stuck_reader_leave_no_trace() {
        for overflow in [OutboxOverflow::DropNewest, OutboxOverflow::DropOldest, OutboxOverflow::Latest] {
            let mut outbox = Outbox::default();
            for n in 0..100_000u32 {
                let shared = SharedFrame::from(frame(n as u16, 50)).with_key(&*alloc::format!("{}", n % 7));
                assert_eq!(outbox.push_message(2_000, channel(0), overflow, shared), Ok(()));
            }
            assert!(outbox.places.capacity() <= 16 && outbox.latest.len() <= 7, "{overflow:?}");
            assert_eq!(outbox.dropped() + outbox.replaced() + outbox.clear(), 100_000);
        }
    }

    #[test]
    fn a_message_larger_than_the_bound_costs_no_other_its_place() {
        let (bound, room) = (2_000, channel(0));
        let mut outbox = Outbox::default();
        outbox.push_message(bound, room, OutboxOverflow::DropOldest, frame(1, 500).into()).unwrap();
        for overflow in [OutboxOverflow::DropNewest, OutboxOverflow::DropOldest, OutboxOverflow::Latest] {
            assert_eq!(outbox.push_message(bound, room, overflow, frame(2, 2_000).into()), Ok(()));
        }
        assert_eq!(outbox.push_message(bound, room, OutboxOverflow::Close, frame(2, 2_000).into()), Err(Full));
        assert_eq!(outbox.push_control(bound, frame(2, 2_000)), Err(Full));
        assert_eq!((outbox.dropped(), outbox.pop().map(|frame| number(&frame)), outbox.pop()), (3, Some(1), None));
    }
}
