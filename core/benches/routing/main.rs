//! What a message costs from frame to event, beside what it would cost at the very least.
//!
//! A message's cost must not grow with its payload. The floors are measured in the same run, since
//! no two machines agree: `utf8` is the check that a WebSocket library makes, `scan` the least that
//! telling four leading fields takes, `serde` the usual way with the payload left unread.

#![allow(missing_docs, reason = "criterion's macros make public items")]

mod frames;
mod phoenix;
mod supabase;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rejoin_core::Timestamp;

const NOW: Timestamp = Timestamp::ZERO;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(900))
        .sample_size(50)
        .without_plots();
    targets = phoenix::routing, phoenix::lookup, phoenix::refs, supabase::routing
}
criterion_main!(benches);
