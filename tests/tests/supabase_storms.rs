//! Storms over a Supabase session and the scripted Supabase: any operations, many seeds, every
//! promise checked all the time.
//!
//! `SIM_SEED=<n>` plays one seed, `SIM_SEEDS=<n>` so many of them.

use rejoin_sim::supabase_storm::{SupabaseStorm, Treatment};

const SEEDS: u64 = 2_000;

#[test]
fn no_storm_over_a_supabase_session_breaks_a_promise() {
    for seed in seeds(SEEDS) {
        if let Err(what) = SupabaseStorm::of_seed(seed).run(Treatment::PLAIN) {
            panic!("SIM_SEED={seed}: {what}");
        }
    }
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(default),
    }
}
