//! Storms: any operations in any weather, many seeds, every promise checked all the time.
//!
//! `SIM_SEED=<n>` plays one seed, `SIM_SEEDS=<n>` so many of them.

use rejoin_sim::{Climate, Storm, write_trace};

const SEEDS: u64 = 6_000;

#[test]
fn no_lawful_storm_breaks_a_promise() {
    weather(Climate::Lawful);
}

#[test]
fn no_hostile_storm_breaks_a_safety_promise() {
    weather(Climate::Hostile);
}

fn weather(climate: Climate) {
    // Panics are caught and reported with their seed.
    for seed in seeds() {
        let storm = Storm::of_seed(seed, climate);
        if let Err(what) = storm.run() {
            let trace = write_trace(&storm);
            panic!("SIM_SEED={seed} ({climate:?}): {what}\ntrace: {trace:?}");
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    }
}
