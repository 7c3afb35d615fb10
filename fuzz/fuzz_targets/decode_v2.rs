//! Text frames of vsn 2.0.0: no panic, and what is read survives writing and reading.
#![no_main]

use rejoin_sim::fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::decode_v2(data));
