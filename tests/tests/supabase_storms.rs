//! Storms over a Supabase session and the scripted Supabase: any operations, many seeds, every
//! promise checked all the time.
//!
//! `SIM_SEED=<n>` plays one seed, `SIM_SEEDS=<n>` so many of them.

use std::collections::BTreeSet;

use rejoin_sim::supabase_storm::{SupabaseStorm, Transcript, Treatment};
use rejoin_sim::{Climate, Polls};

const SEEDS: u64 = 2_000;
/// For what takes several runs of each.
const SOME: u64 = 150;

#[test]
fn no_lawful_storm_over_a_supabase_session_breaks_a_promise() {
    weather(Climate::Lawful, SEEDS);
}

#[test]
fn no_hostile_storm_over_a_supabase_session_breaks_a_safety_promise() {
    weather(Climate::Hostile, SEEDS);
}

fn weather(climate: Climate, count: u64) {
    for seed in seeds(count) {
        if let Err(what) = SupabaseStorm::of_seed(seed, climate).run(Treatment::PLAIN) {
            panic!("SIM_SEED={seed} ({climate:?}): {what}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_transcript() {
    for (storm, transcript) in storms() {
        assert_eq!(
            SupabaseStorm::of_seed(storm.seed, storm.climate).run(Treatment::PLAIN),
            Ok(transcript),
            "seed {}",
            storm.seed
        );
    }
}

#[test]
fn the_order_in_which_lanes_are_drained_changes_nothing() {
    for (storm, transcript) in storms() {
        for polls in [Polls::EventsFirst, Polls::InTurn] {
            let treated = storm.run(Treatment { polls, ..Treatment::PLAIN });
            assert_eq!(treated.as_ref(), Ok(&transcript), "seed {} {polls:?}", storm.seed);
        }
    }
}

#[test]
fn timeouts_that_nobody_asked_for_and_words_about_past_connections_change_nothing() {
    for (storm, transcript) in storms() {
        let treated = storm.run(Treatment { spurious: true, stale: true, ..Treatment::PLAIN });
        assert_eq!(treated.as_ref(), Ok(&transcript), "seed {}", storm.seed);
    }
}

#[test]
fn storms_bring_about_everything_that_can_be_reported() {
    let seen: BTreeSet<String> = storms().flat_map(|(_, transcript)| transcript.kinds).collect();
    for kind in [
        "Broadcast",
        "ChannelClosed Left",
        "ChannelClosed Refused",
        "ChannelClosed ServerClosed",
        "ChannelClosed SessionClosed",
        "ChannelErrored Closed",
        "ChannelErrored ConnectionLost",
        "ChannelErrored Crashed",
        "ChannelErrored Forgotten",
        "Disconnected Closed",
        "Disconnected ConnectTimeout",
        "Disconnected HeartbeatTimeout",
        "Disconnected Open",
        "Disconnected Requested",
        "FellBackToHttp",
        "Gap",
        "HttpDone Err Http",
        "HttpDone Err NotRealtime",
        "HttpDone Err Refused",
        "HttpDone Ok",
        "PostgresChange",
        "PostgresFailed Refused",
        "PostgresFailed TimedOut",
        "PostgresReady",
        "Presence Join",
        "Presence Leave",
        "Presence Sync",
        "Presence Update",
        "PushDone Dropped",
        "PushDone Error",
        "PushDone Ok",
        "PushDone Sent",
        "PushDone TimedOut",
        "PushDone Unknown",
        "SubscribeFailed BindingMismatch",
        "SubscribeFailed NoToken",
        "SubscribeFailed Refused",
        "SubscribeFailed TimedOut",
        "System",
        "TokenExpired",
        "TokenRefreshed",
        "TokenUnavailable Expired",
        "TokenUnavailable Provider",
        "TokenUnavailable TimedOut",
    ] {
        assert!(seen.iter().any(|seen| seen.starts_with(kind)), "no {kind}");
    }
}

/// Some storms that break no promise, and what came of them.
fn storms() -> impl Iterator<Item = (SupabaseStorm, Transcript)> {
    seeds(SOME).map(|seed| {
        let storm = SupabaseStorm::of_seed(seed, Climate::Lawful);
        let transcript = storm.run(Treatment::PLAIN).unwrap_or_else(|what| panic!("SIM_SEED={seed}: {what}"));
        (storm, transcript)
    })
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(default),
    }
}
