//! Both serializers against each other: a message is the same message in either.
#![no_main]

use rejoin_sim::fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::roundtrip_v1_v2(data));
