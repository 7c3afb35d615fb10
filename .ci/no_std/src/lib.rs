//! Proof that `rejoin-core` needs no std: a static library with its own allocator and panic handler, which `check` links
//! into a C program. A dependency that reaches for std, at any depth, brings a second panic handler and does not compile.

#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use rejoin_core::phoenix::{Config, Event, JoinOptions, Session};
use rejoin_core::{Frame, Machine, Timestamp, TransportAction, TransportEvent};

/// What `main.c` calls: a client session dials, joins and is let in. The next thing it wants is a
/// heartbeat, whose time in nanoseconds is returned; 0 if the conversation went wrong.
#[unsafe(no_mangle)]
pub extern "C" fn rejoin_probe() -> u64 {
    converse().map_or(0, Timestamp::as_nanos)
}

fn converse() -> Option<Timestamp> {
    let now = Timestamp::ZERO;
    let mut session = Session::new(Config::new("ws://host/socket").ok()?, now);
    session.connect(now);
    session.join(now, "room:lobby", JoinOptions::default()).ok()?;
    let Some(TransportAction::Open(request)) = session.poll_transport() else { return None };
    session.handle_transport(now, TransportEvent::Opened { conn: request.conn });
    let Some(TransportAction::Send { conn, .. }) = session.poll_transport() else { return None };
    let reply = r#"["1","1","room:lobby","phx_reply",{"status":"ok","response":{}}]"#;
    session.handle_transport(now, TransportEvent::Received { conn, frame: Frame::Text(reply.into()) });
    let Some(Event::Connected { .. }) = session.poll_event() else { return None };
    let Some(Event::Joined { .. }) = session.poll_event() else { return None };
    session.poll_timeout()
}

const HEAP_BYTES: usize = 1 << 20;

#[global_allocator]
static HEAP: Bump = Bump { bytes: UnsafeCell::new([0; HEAP_BYTES]), used: AtomicUsize::new(0) };

/// Hands out a static array from front to back and takes nothing back.
struct Bump {
    bytes: UnsafeCell<[u8; HEAP_BYTES]>,
    used: AtomicUsize,
}

// SAFETY: `used` only grows, and atomically, so no two blocks overlap.
unsafe impl Sync for Bump {}

// SAFETY: each block lies inside `bytes`, is aligned as asked, and belongs to one caller for ever.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.bytes.get().cast::<u8>();
        let mut start = 0;
        let claim = |used: usize| {
            let padding = (base.addr() + used).wrapping_neg() & (layout.align() - 1);
            start = used.checked_add(padding)?;
            start.checked_add(layout.size()).filter(|&end| end <= HEAP_BYTES)
        };
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim) {
            Ok(_) => base.wrapping_add(start),
            Err(_) => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    abort()
}

/// The alloc crate comes built to unwind and names this symbol. With panic = "abort" nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

unsafe extern "C" {
    safe fn abort() -> !;
}
