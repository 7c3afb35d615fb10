//! A Supabase session is a function of what it is told: the same seed gives the same run, and the
//! order in which its lanes are drained changes nothing.

use std::time::Duration;

use rejoin_core::http::{HttpError, HttpResponse};
use rejoin_core::phoenix::ChannelId;
use rejoin_core::supabase::{
    Broadcast, ChannelConfig, HttpBroadcast, PostgresBinding, PostgresEvent, RejoinPolicy, Request, Session,
    TokenFailure,
};
use rejoin_core::{Jitter, OpenError, Payload, Text, TransportEvent};
use rejoin_sim::{Polls, Rng, SupabaseScript, supabase_config, token};
use serde_json::{Value, json};

const SEEDS: u64 = 150;
const STEPS: u32 = 200;

/// Everything that came out of a random run, with its times: dials, frames, ends, requests, events.
fn transcript(seed: u64, polls: Polls) -> String {
    let mut rng = Rng::new(seed);
    let mut config = supabase_config();
    (config.phoenix.jitter, config.phoenix.jitter_seed) = (Jitter::Equal, seed);
    config.phoenix.limits.events = 20;
    config.disconnect_when_empty = rng.pick(&[None, Some(Duration::ZERO), Some(Duration::from_secs(50))]);
    (config.token_provider, config.authorization) = (rng.below(2) == 0, rng.below(2) == 0);
    (config.http_fallback, config.http_broadcasts) = (rng.below(2) == 0, 2);
    let mut s = SupabaseScript::new(config);
    s.polls = polls;
    for _ in 0..STEPS {
        step(&mut s, &mut rng);
    }
    s.with(Session::close);
    s.advance(Duration::from_secs(10));
    let dials: Vec<_> = s.dials.iter().map(|(at, request)| (at, &request.url, &request.headers)).collect();
    let sent: Vec<_> = s.sent.iter().map(|sent| (sent, sent.message.payload.as_bytes())).collect();
    // Which of two questions to different people is asked first at one time means nothing.
    let (over_http, tokens): (Vec<_>, Vec<_>) = s.requests.iter().partition(|(_, it)| matches!(it, Request::Http(_)));
    format!("{dials:?}\n{sent:?}\n{:?}\n{over_http:?}\n{tokens:?}\n{:?}", s.ends, s.events)
}

fn step(s: &mut SupabaseScript, rng: &mut Rng) {
    let name = rng.pick(&["a", "b", "c", "d", "e"]);
    let topic = format!("realtime:{name}");
    let of_topic = |(id, of, _): (ChannelId, &Text, _)| (of.as_str() == topic).then_some(id);
    let channel = s.session.channels().find_map(of_topic);
    let joins: Vec<_> = s.sent.iter().filter(|sent| sent.event() == "phx_join").cloned().collect();
    let payload = |json: Value| Payload::json(&json).unwrap();
    let generation = u32::try_from(rng.below(4)).unwrap_or_default();
    let fresh = token(Duration::from_secs(1_000 * (1 + rng.below(4))), generation);
    match (rng.below(23), channel) {
        (0 | 1, None) => {
            let policy = rng.pick(&[RejoinPolicy::Never, RejoinPolicy::OnRetryableReason, RejoinPolicy::Always]);
            let mut config = ChannelConfig::default().rejoin(policy);
            (config.private, config.broadcast.ack) = (rng.below(2) == 0, rng.below(2) == 0);
            (config.presence.enabled, config.presence.retrack) = (rng.below(2) == 0, rng.below(2) == 0);
            let binding = PostgresBinding::new(PostgresEvent::All);
            config.postgres_changes =
                rng.pick(&[vec![], vec![binding.clone().table("t")], vec![binding.clone(), binding]]);
            s.subscribe(name, &config);
        }
        (0, Some(channel)) => s.with(|session, now| session.unsubscribe(now, channel)).unwrap_or_default(),
        (1 | 2, Some(channel)) => {
            let mut broadcast = Broadcast::new(name, Payload::EMPTY);
            broadcast.resend_on_reconnect = rng.below(2) == 0;
            drop(s.with(|session, now| session.broadcast(now, channel, broadcast)));
        }
        (3, _) => drop(s.with(|session, now| session.set_auth(now, fresh))),
        (4, Some(channel)) => drop(s.with(|session, now| session.set_channel_auth(now, channel, Some(fresh)))),
        (5, _) => s.with(rng.pick(&[Session::clear_auth, Session::refresh_auth, Session::probe, Session::remove_all])),
        (6 | 7, _) => s.with(rng.pick(&[Session::connect, Session::connect, Session::reconnect, Session::disconnect])),
        (8, _) if !s.dials.is_empty() => s.closed(rng.pick(&[None, Some(1000), Some(1001), Some(1012)])),
        (9, _) if !s.dials.is_empty() => {
            let error = OpenError::refused(rng.pick(&[401, 429, 500]), None, "");
            s.transport(TransportEvent::OpenFailed { conn: s.conn(), error });
        }
        (10 | 11, _) if !s.dials.is_empty() => s.opened(),
        (12 | 13, _) if !joins.is_empty() => {
            let reason = rng.pick(&["PrivateOnly: x", "Unauthorized: x", "ClientJoinRateLimitReached: x", "x"]);
            match rng.below(3) {
                0 => s.answer(&rng.pick(&joins), "error", &format!(r#"{{"reason":"{reason}"}}"#)),
                _ => s.answer(&rng.pick(&joins), "ok", "{}"),
            }
        }
        (14, _) if s.join_refs.contains_key(&topic) => match rng.below(3) {
            0 => s.end(&topic, rng.pick(&["phx_close", "phx_error"])),
            1 => s.shut_down(&topic, rng.pick(&["Token has expired", "Too many messages per second", "x"])),
            _ => s.say(&topic, "broadcast", r#"{"event":"e","payload":{}}"#),
        },
        (15, _) => {
            let answer = rng.pick(&[Ok(Some(fresh)), Ok(None), Err(TokenFailure::Provider("no".into()))]);
            let asked = s.requests.iter().filter_map(|(_, request)| match request {
                Request::Token { id, .. } => Some(*id),
                _ => None,
            });
            // Too late for most questions, which must not matter either.
            if let Some(id) = asked.last() {
                s.with(|session, now| session.handle_token(now, id, answer));
            }
        }
        (16, _) => s.plugged = !s.plugged,
        (17 | 18, Some(channel)) => drop(s.with(|session, now| match rng.below(4) {
            0 => session.untrack(now, channel),
            n => session.track(now, channel, payload(json!({ "n": n }))),
        })),
        (19, _) => {
            let broadcast = HttpBroadcast::new(name, "e", Payload::EMPTY);
            drop(s.with(|session, now| session.http_broadcast(now, broadcast)));
        }
        (20, _) => {
            let asked = s.requests.iter().filter_map(|(_, request)| match request {
                Request::Http(request) => Some(request.id),
                _ => None,
            });
            let answer = rng.pick(&[Ok(HttpResponse::new(202, "")), Err(HttpError::TimedOut)]);
            // Mostly one that was answered before, which must not matter either.
            if let Some(id) = asked.last() {
                s.with(|session, now| session.handle_http(now, id, answer));
            }
        }
        (21, _) if s.join_refs.contains_key(&topic) => {
            let phx_ref = rng.pick(&["1", "2", "3"]);
            let members = json!({ name: { "metas": [{ "phx_ref": phx_ref }] } });
            let change = json!({ "data": { "type": "INSERT", "schema": "public", "table": "t" }, "ids": [] });
            let (event, said) = match rng.below(4) {
                0 => ("presence_state", members),
                1 => ("presence_diff", json!({ "joins": members, "leaves": {} })),
                2 => ("postgres_changes", change),
                _ => ("system", json!({ "extension": "postgres_changes", "status": "ok", "message": "" })),
            };
            s.say(&topic, event, &said.to_string());
        }
        _ => s.advance(Duration::from_millis(rng.below(30_000))),
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut runs: Vec<_> = (0..SEEDS).map(|seed| transcript(seed, Polls::TransportFirst)).collect();
    for (seed, run) in (0..).zip(&runs) {
        assert_eq!(*run, transcript(seed, Polls::TransportFirst), "seed {seed}");
    }
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs.len() as u64, SEEDS, "and another seed another one");
}

#[test]
fn the_order_in_which_lanes_are_drained_changes_nothing() {
    for seed in 0..SEEDS {
        let plain = transcript(seed, Polls::TransportFirst);
        for polls in [Polls::EventsFirst, Polls::InTurn] {
            assert_eq!(transcript(seed, polls), plain, "seed {seed} {polls:?}");
        }
    }
}
