//! Who is to be woken once a lock is free.
//!
//! A waker belongs to a runtime, which may run what it likes in it, or drop the task that it is to run: whoever
//! calls it under a lock may find itself waiting for that lock.

use std::cell::Cell;
use std::task::Waker;

/// Memory for more is not kept for the next time.
const KEPT: usize = 16 * 1024;

thread_local! {
    /// Memory for whoever wakes next on this thread.
    static SPARE: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

/// Woken when this is dropped.
pub(crate) struct Wakers(Vec<Waker>);

impl Default for Wakers {
    fn default() -> Self {
        // There is none while the thread ends, which may drop connections.
        Self(SPARE.try_with(Cell::take).unwrap_or_default())
    }
}

impl Wakers {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
        if self.0.capacity() <= KEPT {
            let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.0)));
        }
    }
}
