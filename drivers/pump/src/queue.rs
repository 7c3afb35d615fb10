//! The bounded queue between a pump and one reader, filled and emptied in batches.
//!
//! The pump stages what it delivers and publishes once a turn; the reader takes everything at once
//! and then reads without a lock. Each side keeps its own count, so that room is known without one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;

/// What can be dropped, and how that is said.
pub(crate) trait Lossy: Sized {
    /// Whether a reader that fell behind may miss it.
    fn is_droppable(&self) -> bool;
    /// The item that stands for `missed` dropped ones.
    fn lagged(missed: u64) -> Self;
    /// How much of the capacity it takes: 1, and more for a large one.
    fn weight(&self) -> usize;
}

/// The pump's end.
pub(crate) struct Sink<T> {
    shared: Arc<Shared<T>>,
    staged: VecDeque<T>,
    /// What was delivered so far, by weight, wrapping.
    delivered: usize,
    /// What may still be delivered before the reader's count has to be looked at again.
    credit: usize,
    /// Whether a full queue stops the pump; if not, the oldest are dropped.
    blocks: bool,
    capacity: usize,
}

/// The reader's end.
pub(crate) struct Source<T> {
    shared: Arc<Shared<T>>,
    taken: VecDeque<T>,
    read: usize,
    /// How many items were taken at once.
    batch: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// What was read or dropped so far, by weight, wrapping.
    read: AtomicUsize,
    /// The pump waits for room.
    pump_waits: AtomicBool,
    pump: AtomicWaker,
    reader_gone: AtomicBool,
}

struct State<T> {
    items: VecDeque<T>,
    missed: u64,
    /// Nothing more will come.
    ended: bool,
    reader: Option<Waker>,
}

pub(crate) fn queue<T: Lossy>(capacity: usize, blocks: bool) -> (Sink<T>, Source<T>) {
    let capacity = capacity.max(1);
    let shared = Arc::new(Shared {
        state: Mutex::new(State { items: VecDeque::new(), missed: 0, ended: false, reader: None }),
        read: AtomicUsize::new(0),
        pump_waits: AtomicBool::new(false),
        pump: AtomicWaker::new(),
        reader_gone: AtomicBool::new(false),
    });
    let sink =
        Sink { shared: shared.clone(), staged: VecDeque::new(), delivered: 0, credit: capacity, blocks, capacity };
    (sink, Source { shared, taken: VecDeque::new(), read: 0, batch: 0 })
}

impl<T: Lossy> Sink<T> {
    /// True if nothing was staged before: there is something to publish now.
    #[inline]
    pub(crate) fn deliver(&mut self, item: T) -> bool {
        let first = self.staged.is_empty();
        let weight = item.weight();
        self.staged.push_back(item);
        self.delivered = self.delivered.wrapping_add(weight);
        self.credit = self.credit.saturating_sub(weight);
        first
    }

    /// Whether everything delivered may be read before more is.
    #[inline]
    pub(crate) fn is_full(&mut self) -> bool {
        if self.credit == 0 {
            let unlimited = !self.blocks || self.reader_is_gone();
            self.credit = if unlimited { usize::MAX } else { self.capacity.saturating_sub(self.waiting()) };
        }
        self.credit == 0
    }

    /// Pending while full; woken when the reader has made room for half of the capacity.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_full() {
            return Poll::Ready(());
        }
        self.publish();
        self.shared.pump.register(cx.waker());
        self.shared.pump_waits.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.is_full() {
            return Poll::Pending;
        }
        self.shared.pump_waits.store(false, Ordering::SeqCst);
        Poll::Ready(())
    }

    pub(crate) fn publish(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        if self.reader_is_gone() {
            self.staged.clear();
            return;
        }
        let mut state = self.shared.lock();
        if state.items.is_empty() {
            std::mem::swap(&mut state.items, &mut self.staged);
        } else {
            state.items.append(&mut self.staged);
        }
        if !self.blocks {
            let mut weight: usize = state.items.iter().map(Lossy::weight).sum();
            while weight > self.capacity && state.items.len() > 1 {
                let oldest = state.items.iter().position(Lossy::is_droppable).unwrap_or(0);
                weight -= state.items.remove(oldest).map_or(0, |item| item.weight());
                state.missed += 1;
            }
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether nobody will ever read.
    pub(crate) fn reader_is_gone(&self) -> bool {
        self.shared.reader_gone.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> usize {
        self.delivered.wrapping_sub(self.shared.read.load(Ordering::Acquire))
    }
}

impl<T> Drop for Sink<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.items.append(&mut self.staged);
        state.ended = true;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<T: Lossy> Source<T> {
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if self.taken.is_empty() {
            let mut state = self.shared.lock();
            std::mem::swap(&mut state.items, &mut self.taken);
            self.batch = self.taken.len();
            let missed = std::mem::take(&mut state.missed);
            if missed > 0 {
                return Poll::Ready(Some(T::lagged(missed)));
            }
            if self.taken.is_empty() {
                if state.ended {
                    return Poll::Ready(None);
                }
                match &mut state.reader {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                return Poll::Pending;
            }
        }
        let item = self.taken.pop_front();
        self.count_read(item.as_ref().map_or(0, Lossy::weight));
        Poll::Ready(item)
    }

    fn count_read(&mut self, weight: usize) {
        self.read = self.read.wrapping_add(weight);
        self.shared.read.store(self.read, Ordering::Release);
        // Looking for a waiting pump after each item would cost a fence, and waking it would bounce
        // between the two tasks: half a batch and the end of one are often enough.
        if self.taken.is_empty() || self.taken.len() == self.batch / 2 {
            fence(Ordering::SeqCst);
            if self.shared.pump_waits.swap(false, Ordering::SeqCst) {
                self.shared.pump.wake();
            }
        }
    }
}

impl<T> Drop for Source<T> {
    fn drop(&mut self) {
        self.shared.reader_gone.store(true, Ordering::SeqCst);
        self.shared.lock().items.clear();
        self.shared.pump.wake();
    }
}

impl<T> Shared<T> {
    /// Nothing panics while it is held, so a poisoned lock is as good as a sound one.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker_ref;

    #[derive(Debug, PartialEq)]
    enum Item {
        Data(u32),
        Large(usize),
        State,
        Lagged(u64),
    }

    impl Lossy for Item {
        fn is_droppable(&self) -> bool {
            matches!(self, Self::Data(_) | Self::Large(_))
        }

        fn lagged(missed: u64) -> Self {
            Self::Lagged(missed)
        }

        fn weight(&self) -> usize {
            if let Self::Large(weight) = self { *weight } else { 1 }
        }
    }

    fn drain(source: &mut Source<Item>) -> Vec<Item> {
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut items = Vec::new();
        while let Poll::Ready(Some(item)) = source.poll_next(&mut cx) {
            items.push(item);
        }
        items
    }

    #[test]
    fn a_blocking_queue_is_full_at_its_capacity_whoever_holds_the_items() {
        let mut cx = Context::from_waker(noop_waker_ref());
        let (mut sink, mut source) = queue(4, true);
        (0..4).for_each(|n| assert_eq!(sink.deliver(Item::Data(n)), n == 0));
        assert!(sink.poll_room(&mut cx).is_pending());
        assert_eq!(source.poll_next(&mut cx), Poll::Ready(Some(Item::Data(0))));
        assert!(!sink.is_full(), "one was read");
        sink.deliver(Item::Data(4));
        assert!(sink.is_full(), "three are in the reader's hands and one is staged");
        sink.publish();
        assert_eq!(drain(&mut source).len(), 4);
        assert!(sink.poll_room(&mut cx).is_ready());
    }

    #[test]
    fn a_dropping_queue_says_exactly_how_many_it_dropped_and_keeps_state_changes() {
        let (mut sink, mut source) = queue(3, false);
        sink.deliver(Item::State);
        (0..10).for_each(|n| {
            sink.deliver(Item::Data(n));
            sink.publish();
        });
        assert!(!sink.is_full());
        let items = drain(&mut source);
        assert_eq!(items, [Item::Lagged(8), Item::State, Item::Data(8), Item::Data(9)]);
    }

    #[test]
    fn large_items_take_more_of_the_capacity_and_one_always_fits() {
        let (mut sink, mut source) = queue(4, true);
        sink.deliver(Item::Large(100));
        assert!(sink.is_full());
        sink.publish();
        assert_eq!(drain(&mut source), [Item::Large(100)]);
        assert!(!sink.is_full());

        let (mut sink, mut source) = queue(4, false);
        for _ in 0..3 {
            sink.deliver(Item::Large(3));
            sink.publish();
        }
        assert_eq!(drain(&mut source), [Item::Lagged(2), Item::Large(3)]);
    }

    #[test]
    fn the_end_comes_after_everything_delivered() {
        let mut cx = Context::from_waker(noop_waker_ref());
        let (mut sink, mut source) = queue(3, true);
        sink.deliver(Item::Data(1));
        drop(sink);
        assert_eq!(source.poll_next(&mut cx), Poll::Ready(Some(Item::Data(1))));
        assert_eq!(source.poll_next(&mut cx), Poll::Ready(None));
    }

    #[test]
    fn a_reader_that_is_gone_blocks_nobody() {
        let (mut sink, source) = queue(1, true);
        sink.deliver(Item::Data(1));
        assert!(sink.is_full());
        drop(source);
        assert!(!sink.is_full());
    }
}
