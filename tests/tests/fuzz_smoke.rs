//! What the fuzz targets call, with random input of fixed seeds: no fuzzer and no nightly needed.

use std::collections::BTreeSet;
use std::fs;

use rejoin_core::phoenix::ServerStats;
use rejoin_sim::{Rng, Scrap, Timed, fuzz};

/// Frames as they are, and as they are after some damage.
fn damaged<T: AsRef<[u8]> + Clone>(rng: &mut Rng, good: &[T]) -> Vec<u8> {
    let mut bytes = rng.pick(good).as_ref().to_vec();
    for _ in 0..rng.below(4) {
        let at = rng.below(bytes.len() as u64) as usize;
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.number() as u8),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 if !bytes.is_empty() => bytes[at] = rng.pick(br#"[]{}",:\null0123 -.eE"#),
            _ => bytes.extend(rng.bytes(4)),
        }
    }
    bytes
}

const V1: [&str; 4] = [
    r#"{"ref":"1","topic":"room","event":"phx_reply","payload":{"status":"ok","response":{}}}"#,
    r#"{"join_ref":"1","ref":2,"topic":"room","event":"e","payload":{"a":[1,"x\"y"]}}"#,
    r#" { "topic" : "r\u00e9" , "event" : "e\n" , "payload" : null , "ref" : null , "more" : 1 } "#,
    r#"{"topic":"t","event":"e","ref":"1","payload":"}"}"#,
];

const V2: [&str; 5] = [
    r#"["1","2","room","phx_reply",{"status":"ok","response":{}}]"#,
    r#"[null,null,"room","e",{"a":[1,"x\"y"]}]"#,
    r#" [ 1 , -2.5e3 , "r\u00e9" , "e\n" , null , "more" ] "#,
    r#"["1",null,"phoenix","heartbeat",[]]"#,
    r#"[null,"7","t","e","]"]"#,
];

const BINARY: [&str; 4] = [
    "\x00\x01\x01\x04\x0112roomedata",
    "\x00\x01\x04\x011roomedata",
    "\x01\x01\x01\x04\x0212roomokdata",
    "\x02\x04\x01roomedata",
];

#[test]
fn damaged_frames_are_read_or_refused_and_what_is_read_survives() {
    let mut rng = Rng::new(1);
    for _ in 0..40_000 {
        fuzz::decode_v1(&damaged(&mut rng, &V1));
        let v2 = damaged(&mut rng, &V2);
        fuzz::decode_v2(&v2);
        fuzz::roundtrip_v1_v2(&v2);
        fuzz::decode_binary(&damaged(&mut rng, &BINARY));
        fuzz::decode_binary(&rng.bytes(40));
    }
}

#[test]
fn sessions_alone_survive_anything() {
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let ops: Vec<_> = (0..rng.below(150)).map(|_| Timed::random(&mut rng)).collect();
        let scraps: Vec<_> = (0..rng.below(40)).map(|_| Scrap::random(&mut rng)).collect();
        fuzz::session_ops(&ops, &scraps);
    }
}

#[test]
fn servers_alone_survive_anything_and_account_for_it() {
    let (mut ends, mut sum) = (BTreeSet::new(), ServerStats::default());
    for seed in 0..3_000 {
        let mut rng = Rng::new(seed);
        // Half of them go on for long, which what is no message mostly prevents.
        let scrap = |rng: &mut Rng| loop {
            let scrap = Scrap::random(rng);
            if seed % 2 == 0 || matches!(scrap, Scrap::Message { .. }) {
                return scrap;
            }
        };
        let steps: Vec<_> = (0..rng.below(200)).map(|_| (scrap(&mut rng), rng.number() as u32)).collect();
        let (end, stats) = fuzz::server_ops(rng.number() as u32, &steps);
        ends.insert(format!("{end:?}").split(' ').next().map(str::to_owned));
        sum.dropped += stats.dropped;
        sum.replaced += stats.replaced;
        sum.limited += stats.limited;
    }
    // It was not all for nothing: every way to end but silence and a giant frame, and something of everything.
    assert_eq!(ends.len(), 8, "{ends:?}");
    assert!(sum.dropped > 500 && sum.replaced > 50 && sum.limited > 500, "{sum:?}");
}

#[test]
fn pairs_survive_anything() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let ops: Vec<_> = (0..rng.below(150)).map(|_| Timed::random(&mut rng)).collect();
        fuzz::pair_ops(seed, &ops, seed % 2 == 0);
    }
}

#[test]
fn supabase_sessions_survive_anything() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let choices: Vec<_> = (0..rng.below(100)).map(|_| rng.number() as u32).collect();
        fuzz::supabase_ops(seed, &choices, seed % 2 == 0);
    }
}

#[test]
fn both_halves_of_long_poll_survive_anything() {
    const SAID: [&str; 6] = [
        r#"{"messages":["[]","\u0002abc"],"status":200,"token":"t"}"#,
        r#"{"status":410,"messages":[],"token":"t"}"#,
        r#"["1","1","room","e",{}]"#,
        "[]\nAAH/\n[1,\"\"]",
        "{\"topic\":\"room\"}",
        "",
    ];
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let choice = |rng: &mut Rng| {
            let bytes = if rng.chance(500) { damaged(rng, &SAID[..5]) } else { rng.pick(&SAID).as_bytes().to_vec() };
            (rng.number() as u8, bytes)
        };
        let choices: Vec<_> = (0..rng.below(60)).map(|_| choice(&mut rng)).collect();
        fuzz::longpoll(&choices);
    }
}

#[test]
fn presence_is_the_naive_one_whatever_is_said() {
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        // Of few bits each, or a key would nearly always have something of everything.
        let bits = |rng: &mut Rng| (rng.number() & rng.number() & rng.number()) as u32 & 0x00ff_ffff;
        let message = |rng: &mut Rng| bits(rng) | (rng.below(2) as u32) << 24 | (rng.below(6) as u32 / 5) << 31;
        let messages: Vec<_> = (0..rng.below(40)).map(|_| message(&mut rng)).collect();
        fuzz::presence(&messages);
    }
}

#[test]
fn hubs_survive_any_operations_and_strangers_of_any_name() {
    const STRANGERS: [&str; 4] = [
        r#"{"phx_ref":"x","a":{"phx_ref_prev":1}}"#,
        r#" {"\ud83d\ude00" : "\u0000", "a":1.0e400, "a":[[]]} "#,
        r#""just text""#,
        "{}",
    ];
    for seed in 0..1_000 {
        let mut rng = Rng::new(seed);
        let stranger = damaged(&mut rng, &STRANGERS);
        let ops: Vec<_> = (0..rng.below(60)).map(|_| rng.number() as u32).collect();
        fuzz::hub(&ops, &String::from_utf8_lossy(&stranger));
    }
}

#[test]
fn changes_and_filters_are_read_as_a_parser_reads_them() {
    let (changes, filters) = (corpus("postgres_change"), corpus("postgres_filter"));
    changes.iter().for_each(|change| fuzz::postgres_change(change));
    filters.iter().for_each(|filter| fuzz::postgres_filter(filter));
    let mut rng = Rng::new(2);
    for _ in 0..20_000 {
        fuzz::postgres_change(&damaged(&mut rng, &changes));
        fuzz::postgres_filter(&damaged(&mut rng, &filters));
    }
}

#[test]
fn any_head_is_let_in_or_refused_and_shows_no_credential() {
    let heads = corpus("upgrade");
    heads.iter().for_each(|head| fuzz::upgrade(head));
    let mut rng = Rng::new(3);
    for _ in 0..20_000 {
        fuzz::upgrade(&damaged(&mut rng, &heads));
    }
}

#[test]
fn tokens_are_read_as_a_parser_reads_them() {
    let tokens = corpus("token");
    tokens.iter().for_each(|token| fuzz::token(token));
    let mut rng = Rng::new(3);
    for _ in 0..20_000 {
        fuzz::token(&damaged(&mut rng, &tokens));
    }
}

/// What the fuzzer of a target begins with.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "{folder}");
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}
