//! A database change, scanned and parsed: both say the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_sim::fuzz::postgres_change(data));
