//! Any operations on a hub: nobody misses anything, and nobody is shown another presence than there is.
#![no_main]

use rejoin_sim::fuzz;

libfuzzer_sys::fuzz_target!(|input: (Vec<u32>, &str)| fuzz::hub(&input.0, input.1));
