//! An allocator that counts, for benches that say how much memory something takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The bytes that this thread has allocated and not given back, and how often it has allocated.
pub(crate) fn heap() -> (i64, u64) {
    (LIVE_BYTES.get(), ALLOCATIONS.get())
}

thread_local! {
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

fn count(change: i64) {
    LIVE_BYTES.set(LIVE_BYTES.get() + change);
    ALLOCATIONS.set(ALLOCATIONS.get() + u64::from(change > 0));
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; every call is the system's own")]
// SAFETY: each method passes its arguments on unchanged to `System`, whose contract is the same,
// and counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise about `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise about `at` and `layout`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise about `at`, `layout` and `size`.
        unsafe { System.realloc(at, layout, size) }
    }
}
