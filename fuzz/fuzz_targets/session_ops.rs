//! A client alone, under any commands, transport events and frames.
#![no_main]

use rejoin_sim::{Scrap, Timed, fuzz};

libfuzzer_sys::fuzz_target!(|input: (Vec<Timed>, Vec<Scrap>)| fuzz::session_ops(&input.0, &input.1));
