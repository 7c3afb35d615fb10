//! A filter: what can be read can be written, and reads as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_sim::fuzz::postgres_filter(data));
