//! Events on their way to the host: bounded where they may be, and honest about what was dropped.

use alloc::collections::VecDeque;

/// An event that can say how many others were dropped.
pub(crate) trait Lags {
    fn lagged(missed: u64) -> Self;
}

/// What waits to be polled. State changes always find room; messages do up to a bound, and how many
/// did not is said before the next event.
#[derive(Debug)]
pub(crate) struct Events<E> {
    queue: VecDeque<E>,
    bound: usize,
    /// Messages dropped since that was last said.
    missed: u64,
    /// Messages dropped in all.
    lagged: u64,
}

impl<E: Lags> Events<E> {
    pub(crate) const fn new(bound: usize) -> Self {
        Self { queue: VecDeque::new(), bound, missed: 0, lagged: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, event: E) {
        if self.missed > 0 {
            self.queue.push_back(E::lagged(core::mem::take(&mut self.missed)));
        }
        self.queue.push_back(event);
    }

    /// A message or another event that may be dropped when nobody polls.
    #[inline]
    pub(crate) fn push_droppable(&mut self, event: E) {
        if self.queue.len() >= self.bound {
            self.missed += 1;
            self.lagged += 1;
        } else {
            self.push(event);
        }
    }

    #[inline]
    pub(crate) fn poll(&mut self) -> Option<E> {
        if self.queue.is_empty() && self.missed > 0 {
            return Some(E::lagged(core::mem::take(&mut self.missed)));
        }
        self.queue.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there is nothing left to say.
    pub(crate) fn is_over(&self) -> bool {
        self.queue.is_empty() && self.missed == 0
    }

    pub(crate) const fn lagged(&self) -> u64 {
        self.lagged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Event {
        Message(u32),
        State,
        Lagged(u64),
    }

    impl Lags for Event {
        fn lagged(missed: u64) -> Self {
            Self::Lagged(missed)
        }
    }

    #[test]
    fn what_was_dropped_is_said_once_and_before_what_comes_next() {
        let mut events = Events::new(2);
        (0..5).for_each(|n| events.push_droppable(Event::Message(n)));
        events.push(Event::State);
        events.push_droppable(Event::Message(5));
        let polled: [_; 5] = core::array::from_fn(|_| events.poll().unwrap());
        assert_eq!(polled, [Event::Message(0), Event::Message(1), Event::Lagged(3), Event::State, Event::Lagged(1)]);
        assert!(events.poll().is_none() && events.is_over());
        assert_eq!(events.lagged(), 4);
    }
}
