//! A client and its servers in any weather: every promise holds, or the storm is printed.
#![no_main]

use rejoin_sim::{Timed, fuzz};

libfuzzer_sys::fuzz_target!(|input: (u64, Vec<Timed>, bool)| fuzz::pair_ops(input.0, &input.1, input.2));
