//! A token and its claims: read strictly, and never otherwise than a parser reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rejoin_sim::fuzz::token(data));
