//! Whatever happens between a session, its project and their guests: in the end the session shows
//! who is there.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rejoin_core::phoenix::ChannelId;
use rejoin_core::supabase::{Broadcast, ChannelConfig, ChannelState, Config};
use rejoin_core::{Jitter, Machine, Payload, Timestamp};
use rejoin_sim::supabase::{LATE, Lab, PeerConfig, PresenceState, SupabasePeer, token};
use serde_json::{Map, Value, json};

const ROOM: &str = "realtime:a";

#[derive(Clone, Debug)]
enum Op {
    GuestJoins(u32, &'static str),
    GuestTracks(u32, u8),
    GuestUntracks(u32),
    GuestLeaves(u32),
    GuestGoes(u32),
    Track(u8),
    Untrack,
    Cut,
    CutSilently,
    Crash,
    Forget,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let guest = || 1..4_u32;
    let payload = || 0..3_u8;
    prop_oneof![
        4 => (guest(), prop::sample::select(vec!["a", "b", "me"])).prop_map(|(guest, key)| Op::GuestJoins(guest, key)),
        6 => (guest(), payload()).prop_map(|(guest, n)| Op::GuestTracks(guest, n)),
        2 => guest().prop_map(Op::GuestUntracks),
        1 => guest().prop_map(Op::GuestLeaves),
        1 => guest().prop_map(Op::GuestGoes),
        3 => payload().prop_map(Op::Track),
        1 => Just(Op::Untrack),
        1 => Just(Op::Cut),
        1 => Just(Op::CutSilently),
        1 => Just(Op::Crash),
        1 => Just(Op::Forget),
        6 => (0..20_000_u64).prop_map(Op::Wait),
    ]
}

fn lab(presence_state: PresenceState) -> (Lab, ChannelId) {
    let mut config = Config::new("ws://project.test/socket", &token("anon", LATE)).unwrap();
    config.phoenix.jitter = Jitter::None;
    // Guests may be silent for longer than anything here takes.
    let idle_timeout = Duration::from_secs(3_600);
    let mut lab = Lab::new(config, PeerConfig { presence_state, idle_timeout, ..PeerConfig::default() });
    let channel = ChannelConfig::default().presence("me").broadcast_ack();
    lab.with(|client, now| client.connect(now));
    let id = lab.with(|client, now| client.subscribe(now, "a", &channel).unwrap());
    (lab, id)
}

fn play(lab: &mut Lab, id: ChannelId, op: Op) {
    let says = |event: &str, payload: Value| json!(["1", "2", ROOM, event, payload]).to_string();
    let tracks = |n: u8| says("presence", json!({ "event": "track", "payload": { "n": n } }));
    match op {
        Op::GuestJoins(guest, key) => {
            let config = json!({ "config": { "presence": { "enabled": true, "key": key } } });
            lab.guest(guest, &json!(["1", "1", ROOM, "phx_join", config]).to_string());
        }
        Op::GuestTracks(guest, n) => lab.guest(guest, &tracks(n)),
        Op::GuestUntracks(guest) => lab.guest(guest, &says("presence", json!({ "event": "untrack" }))),
        Op::GuestLeaves(guest) => lab.guest(guest, &says("phx_leave", json!({}))),
        Op::GuestGoes(guest) => lab.guest_goes(guest),
        Op::Track(n) => {
            let payload = Payload::json(&json!({ "n": n })).unwrap();
            // What cannot be tracked now is none of this test.
            let _ = lab.with(|client, now| client.track(now, id, payload));
        }
        Op::Untrack => {
            let _ = lab.with(|client, now| client.untrack(now, id));
        }
        Op::Cut => lab.cut(),
        Op::CutSilently => lab.cut_silently(),
        Op::Crash => order(lab, |peer, now| peer.crash(now, ROOM)),
        Op::Forget => order(lab, SupabasePeer::drop_channels),
        Op::Wait(ms) => lab.advance(Duration::from_millis(ms)),
    }
}

/// Of the peer that the client talks to, if there is one.
fn order(lab: &mut Lab, order: impl FnOnce(&mut SupabasePeer, Timestamp)) {
    if lab.client.connection().is_some_and(|conn| lab.project.peer(conn).is_some()) {
        lab.with_peer(order);
    }
}

/// Each key's metas, as objects, in no order.
type Members = BTreeMap<String, Vec<String>>;

fn shown(lab: &Lab, id: ChannelId) -> Members {
    let presence = lab.client.presence(id).unwrap();
    let members = presence.iter().map(|(key, metas)| {
        let metas = metas.iter().map(|meta| meta.parse::<Value>().unwrap());
        (key.into(), sorted(metas))
    });
    members.collect()
}

fn there(lab: &Lab) -> Members {
    let state: Map<String, Value> = lab.project.commons.present(ROOM, false).parse().unwrap();
    let metas = |mut of_key: Value| sorted(of_key["metas"].as_array_mut().unwrap().drain(..));
    state.into_iter().map(|(key, of_key)| (key, metas(of_key))).collect()
}

fn sorted(metas: impl Iterator<Item = Value>) -> Vec<String> {
    let mut metas: Vec<String> = metas.map(|meta| meta.to_string()).collect();
    metas.sort_unstable();
    metas
}

proptest! {
    #[test]
    fn in_the_end_a_session_shows_who_is_there(
        ops in prop::collection::vec(op(), 1..60),
        presence_state in prop::sample::select(vec![
            PresenceState::Joined,
            PresenceState::Late(Duration::from_millis(700)),
            PresenceState::Twice(Duration::from_millis(700)),
        ]),
    ) {
        let (mut lab, id) = lab(presence_state);
        ops.into_iter().for_each(|op| play(&mut lab, id, op));
        // A channel that the server forgot is missed by a push.
        drop(lab.with(|client, now| client.broadcast(now, id, Broadcast::new("e", Payload::EMPTY))));
        lab.advance(Duration::from_secs(300));
        prop_assert_eq!(lab.client.channel_state(id), Some(ChannelState::Joined));
        prop_assert_eq!(shown(&lab, id), there(&lab));
    }
}
