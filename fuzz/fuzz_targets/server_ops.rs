//! A server alone, under any frames and a host that does anything.
#![no_main]

use rejoin_sim::{Scrap, fuzz};

libfuzzer_sys::fuzz_target!(|input: (u32, Vec<(Scrap, u32)>)| {
    fuzz::server_ops(input.0, &input.1);
});
