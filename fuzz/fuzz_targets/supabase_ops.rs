//! A Supabase session and the scripted Supabase in any weather: every promise holds, or the storm is
//! printed.
#![no_main]

use rejoin_sim::fuzz;

libfuzzer_sys::fuzz_target!(|input: (u64, Vec<u32>, bool)| fuzz::supabase_ops(input.0, &input.1, input.2));
