//! The head of a request: it is let in or refused, and shows nobody its credentials.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_sim::fuzz::upgrade(data));
