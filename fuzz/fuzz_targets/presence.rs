//! Any states and diffs: the members are those of a naive presence.
#![no_main]

use rejoin_sim::fuzz;

libfuzzer_sys::fuzz_target!(|messages: Vec<u32>| fuzz::presence(&messages));
