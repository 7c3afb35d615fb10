//! The queues that one bridge fills, by number: which have something to publish, which are full.

use std::task::{Context, Poll, ready};

use crate::queue::{Lossy, Sink};

/// Names a queue among those of its bridge. Numbers are used again after `remove`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutletId(usize);

pub(crate) struct Outlets<T> {
    sinks: Vec<Option<Sink<T>>>,
    /// Free places in `sinks`.
    vacant: Vec<usize>,
    /// Queues with something to publish.
    dirty: Vec<usize>,
    /// A queue that was full when last looked at.
    full: Option<usize>,
}

impl<T> Default for Outlets<T> {
    fn default() -> Self {
        Self { sinks: Vec::new(), vacant: Vec::new(), dirty: Vec::new(), full: None }
    }
}

impl<T: Lossy> Outlets<T> {
    pub(crate) fn add(&mut self, sink: Sink<T>) -> OutletId {
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.sinks.push(None);
            self.sinks.len() - 1
        });
        self.sinks[place] = Some(sink);
        OutletId(place)
    }

    /// Publishes what is staged and ends the reader's stream after it.
    pub(crate) fn remove(&mut self, OutletId(place): OutletId) {
        if self.sinks.get_mut(place).and_then(Option::take).is_some() {
            self.vacant.push(place);
        }
    }

    /// The hot path; inlined so that a message is moved once, from the machine into its queue.
    #[inline(always)]
    pub(crate) fn deliver(&mut self, OutletId(place): OutletId, item: T) {
        let Some(Some(sink)) = self.sinks.get_mut(place) else { return };
        if sink.deliver(item) {
            self.dirty.push(place);
        }
        if sink.is_full() {
            self.full = Some(place);
        }
    }

    /// Lets the readers see what was delivered.
    pub(crate) fn publish(&mut self) {
        for place in self.dirty.drain(..) {
            if let Some(Some(sink)) = self.sinks.get_mut(place) {
                sink.publish();
            }
        }
    }

    /// Pending while any queue is full that may stop the pump.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(place) = self.full {
            if let Some(Some(sink)) = self.sinks.get_mut(place) {
                ready!(sink.poll_room(cx));
            }
            self.full = self.sinks.iter_mut().position(|sink| sink.as_mut().is_some_and(Sink::is_full));
        }
        Poll::Ready(())
    }

    /// Whether nobody will ever read what is delivered there.
    pub(crate) fn reader_is_gone(&self, OutletId(place): OutletId) -> bool {
        !matches!(self.sinks.get(place), Some(Some(sink)) if !sink.reader_is_gone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Source, queue};
    use futures_util::task::noop_waker_ref;

    struct Item(u32);

    impl Lossy for Item {
        fn is_droppable(&self) -> bool {
            false
        }

        fn lagged(_: u64) -> Self {
            unreachable!("a blocking queue drops nothing")
        }

        fn weight(&self) -> usize {
            1
        }
    }

    fn drain(source: &mut Source<Item>) -> (Vec<u32>, Poll<()>) {
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut items = Vec::new();
        loop {
            match source.poll_next(&mut cx) {
                Poll::Ready(Some(Item(item))) => items.push(item),
                Poll::Ready(None) => return (items, Poll::Ready(())),
                Poll::Pending => return (items, Poll::Pending),
            }
        }
    }

    #[test]
    fn readers_see_what_was_published_and_its_end_after_a_removal() {
        let mut outlets = Outlets::default();
        let (sinks, mut sources): (Vec<_>, Vec<_>) = (0..2).map(|_| queue(4, true)).unzip();
        let ids: Vec<_> = sinks.into_iter().map(|sink| outlets.add(sink)).collect();
        outlets.deliver(ids[0], Item(1));
        outlets.deliver(ids[1], Item(2));
        outlets.deliver(ids[0], Item(3));
        assert_eq!(drain(&mut sources[0]), (vec![], Poll::Pending));
        outlets.publish();
        assert_eq!(drain(&mut sources[0]), (vec![1, 3], Poll::Pending));
        assert_eq!(drain(&mut sources[1]), (vec![2], Poll::Pending));
        outlets.deliver(ids[1], Item(4));
        outlets.remove(ids[1]);
        assert_eq!(drain(&mut sources[1]), (vec![4], Poll::Ready(())));
    }

    #[test]
    fn a_removed_place_is_used_again_once() {
        let mut outlets = Outlets::<Item>::default();
        let add = |outlets: &mut Outlets<Item>| outlets.add(queue(4, true).0);
        let first = add(&mut outlets);
        outlets.remove(first);
        outlets.remove(first);
        assert!(outlets.reader_is_gone(first));
        assert_eq!(add(&mut outlets), first);
        assert_ne!(add(&mut outlets), first);
    }

    #[test]
    fn every_full_queue_stops_the_pump_until_it_is_read_left_or_removed() {
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut outlets = Outlets::default();
        let (sinks, sources): (Vec<_>, Vec<_>) = (0..3).map(|_| queue(1, true)).unzip();
        let ids: Vec<_> = sinks.into_iter().map(|sink| outlets.add(sink)).collect();
        assert!(outlets.poll_ready(&mut cx).is_ready());
        ids.iter().for_each(|&id| outlets.deliver(id, Item(0)));
        assert!(outlets.poll_ready(&mut cx).is_pending());
        let [mut read, left, _removed] = <[_; 3]>::try_from(sources).ok().unwrap();
        assert_eq!(drain(&mut read).0, [] as [u32; 0], "not published");
        outlets.publish();
        assert_eq!(drain(&mut read).0, [0]);
        assert!(outlets.poll_ready(&mut cx).is_pending());
        drop(left);
        assert!(outlets.reader_is_gone(ids[1]) && !outlets.reader_is_gone(ids[2]));
        assert!(outlets.poll_ready(&mut cx).is_pending());
        outlets.remove(ids[2]);
        assert!(outlets.poll_ready(&mut cx).is_ready());
    }
}
