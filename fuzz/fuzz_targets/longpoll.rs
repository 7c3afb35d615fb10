//! The two halves of long-poll, under any answers and any exchanges.
#![no_main]

use rejoin_sim::fuzz;

libfuzzer_sys::fuzz_target!(|choices: Vec<(u8, Vec<u8>)>| fuzz::longpoll(&choices));
