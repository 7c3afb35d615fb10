//! A server alone, under any frames.
#![no_main]

use rejoin_sim::{Scrap, fuzz};

libfuzzer_sys::fuzz_target!(|input: (Vec<Scrap>, bool)| fuzz::server_ops(&input.0, input.1));
