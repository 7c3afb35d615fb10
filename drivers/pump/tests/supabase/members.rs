//! Who is present: what is tracked, and what everybody else sees of it.

use rejoin_core::Payload;
use rejoin_core::phoenix::{Meta, PresenceChange, PushOutcome};
use rejoin_core::supabase::{ChannelConfig, TrackError};
use rejoin_pump::supabase::{Channel, ChannelEvent, Client, Listen, PresenceStream, SubscribeError, Typed};
use rejoin_pump::{PushFailed, PushState, PushTicket};
use serde_json::{Value, json};

use crate::lab::{Lab, config, has_ended, heard, story};

fn present() -> ChannelConfig {
    ChannelConfig::default().presence("ann")
}

fn in_room() -> (Lab, Client, Channel) {
    let (mut lab, client) = Lab::new();
    let (room, _) = lab.join(&client, "room", present());
    (lab, client, room)
}

fn track(lab: &mut Lab, room: &Channel, status: &Value) -> PushTicket {
    lab.wait(room.track(Payload::json(status).unwrap())).unwrap()
}

/// Others come and go, as the server tells it.
fn diff(lab: &mut Lab, joins: &Value, leaves: &Value) {
    let payload = Payload::json(&json!({ "joins": joins, "leaves": leaves })).unwrap();
    lab.order(move |peer, now| peer.push(now, "realtime:room", "presence_diff", payload, false));
}

fn someone(key: &str, phx_ref: &str) -> Value {
    json!({ key: { "metas": [{ "phx_ref": phx_ref }] } })
}

/// Keys with the refs of their metas.
fn shown<'a>(members: impl IntoIterator<Item = (&'a str, &'a [Meta])>) -> String {
    let member = |(key, metas): (&str, &[Meta])| {
        format!("{key}:{}", metas.iter().map(|meta| meta.phx_ref.as_str()).collect::<Vec<_>>().join("+"))
    };
    members.into_iter().map(member).collect::<Vec<_>>().join(" ")
}

fn shown_by_session(lab: &mut Lab, room: &Channel) -> String {
    let members = lab.wait(room.presence_state()).unwrap().unwrap();
    shown(members.iter().map(|member| (member.key.as_str(), &member.metas[..])))
}

/// What the stream says, without what is not about members.
fn changes(stream: &mut PresenceStream) -> Vec<String> {
    let word = |heard| match heard {
        Typed::Message(change) => story(&[ChannelEvent::Presence(Box::new(change))]).pop(),
        _ => None,
    };
    heard(stream).into_iter().filter_map(word).collect()
}

#[test]
fn whoever_is_tracked_is_shown_until_it_is_untracked() {
    let (mut lab, _client, room) = in_room();
    let mut stream = lab.wait(room.presence()).unwrap();
    assert_eq!((changes(&mut stream), stream.is_empty()), (vec!["sync".to_owned()], true));
    let ticket = track(&mut lab, &room, &json!({"away": false}));
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Ok(Payload::EMPTY)));
    assert_eq!(changes(&mut stream), ["join ann", "sync"]);
    assert_eq!(stream.get("ann").unwrap()[0].parse::<Value>().unwrap()["away"], false);
    let ticket = track(&mut lab, &room, &json!({"away": true}));
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Ok(Payload::EMPTY)));
    assert_eq!(changes(&mut stream), ["update ann", "sync"]);
    assert_eq!(stream.get("ann").unwrap()[0].parse::<Value>().unwrap()["away"], true);
    assert_eq!(shown(stream.members()), shown_by_session(&mut lab, &room));
    let ticket = lab.wait(room.untrack()).unwrap();
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Ok(Payload::EMPTY)));
    assert_eq!((changes(&mut stream), stream.len()), (vec!["leave ann".into(), "sync".into()], 0));
    assert_eq!(lab.wait(room.presence_state()), Ok(Some(vec![])));
}

#[test]
fn what_cannot_be_tracked_is_the_tickets_answer() {
    let (mut lab, client, room) = in_room();
    let refused = |lab: &mut Lab, room: &Channel, payload: &Value| {
        let ticket = track(lab, room, payload);
        lab.wait(ticket).unwrap_err()
    };
    assert_eq!(refused(&mut lab, &room, &json!(7)), PushFailed::Untrackable(TrackError::NotAnObject));
    let (plain, _ears) = lab.join(&client, "plain", ChannelConfig::default());
    assert_eq!(refused(&mut lab, &plain, &json!({})), PushFailed::Untrackable(TrackError::PresenceNotEnabled));
    assert_eq!(lab.wait(plain.presence_state()), Ok(None));
    assert_eq!(lab.wait(plain.presence()).err(), Some(SubscribeError::PresenceNotEnabled));
    let stranger = client.channel("room", present()).unwrap();
    assert_eq!(refused(&mut lab, &stranger, &json!({})), PushFailed::Untrackable(TrackError::UnknownChannel));
    assert_eq!(lab.wait(stranger.presence_state()), Ok(None));
    let ticket = lab.wait(plain.untrack()).unwrap();
    assert!(lab.wait(ticket).is_err());
}

#[test]
fn wishes_that_come_faster_than_a_server_allows_are_passed_over_and_the_last_one_counts() {
    let (mut lab, _client, room) = in_room();
    let tickets: Vec<_> = (0..8).map(|n| track(&mut lab, &room, &json!({ "n": n }))).collect();
    let states: Vec<_> = tickets.iter().map(PushTicket::state).collect();
    assert_eq!(states[..7], [PushState::Done; 7]);
    assert_eq!(states[7], PushState::Waiting, "for its time to come");
    lab.live(31);
    let outcomes: Vec<_> = tickets.into_iter().map(|ticket| lab.wait(ticket).unwrap()).collect();
    let shown = PushOutcome::Ok(Payload::EMPTY);
    let dropped = PushOutcome::Dropped;
    assert_eq!(outcomes[..5], [const { PushOutcome::Ok(Payload::EMPTY) }; 5]);
    assert_eq!(outcomes[5..], [dropped.clone(), dropped, shown]);
    let members = lab.wait(room.presence_state()).unwrap().unwrap();
    assert_eq!(members[0].metas[0].parse::<Value>().unwrap()["n"], 7);
    assert_eq!(lab.sent("presence"), 6);
}

#[test]
fn whoever_comes_late_hears_first_who_is_present() {
    let (mut lab, client, room) = in_room();
    diff(&mut lab, &someone("bob", "b"), &json!({}));
    diff(&mut lab, &someone("", "e"), &json!({}));
    let mut late = lab.wait(room.listen(Listen::presence())).unwrap();
    let mut stream = lab.wait(room.presence()).unwrap();
    let mut deaf = lab.wait(room.listen(Listen::broadcast("*"))).unwrap();
    assert_eq!(story(&heard(&mut late)), ["subscribed", "members +bob"]);
    assert_eq!((changes(&mut stream), shown(stream.members())), (vec!["sync".into()], ":e bob:b".into()));
    assert_eq!(story(&heard(&mut deaf)), ["subscribed"]);
    // Another handle, whose listener was there before it subscribed.
    let other = client.channel("room", present()).unwrap();
    let mut ears = lab.wait(other.listen(Listen::everything())).unwrap();
    assert_eq!(heard(&mut ears), []);
    lab.wait(other.subscribe()).unwrap();
    assert_eq!(story(&heard(&mut ears)), ["subscribed", "members +bob"]);
    diff(&mut lab, &json!({}), &someone("bob", "b"));
    for ears in [&mut late, &mut ears] {
        assert_eq!(story(&heard(ears)), ["leave bob", "sync"]);
    }
    assert_eq!((changes(&mut stream), shown(stream.members())), (vec!["leave bob".into(), "sync".into()], ":e".into()));
}

#[test]
fn after_a_rejoin_the_stream_says_who_has_come_and_gone_and_who_was_tracked_is_again() {
    let (mut lab, _client, room) = in_room();
    let mut stream = lab.wait(room.presence()).unwrap();
    let ticket = track(&mut lab, &room, &json!({}));
    lab.wait(ticket).unwrap();
    diff(&mut lab, &someone("bob", "b"), &json!({}));
    changes(&mut stream);
    lab.order(|peer, now| peer.cut(now));
    assert_eq!((changes(&mut stream).len(), stream.len()), (0, 2), "the last known members");
    let mut late = lab.wait(room.presence()).unwrap();
    assert_eq!((changes(&mut late), late.len()), (vec!["sync".into()], 2));
    lab.live(2);
    for stream in [&mut stream, &mut late] {
        // The new socket knows nobody, and then us.
        assert_eq!(changes(stream), ["leave ann", "leave bob", "sync", "join ann", "sync"]);
        assert_eq!(shown(stream.members()), shown_by_session(&mut lab, &room));
    }
}

#[test]
fn a_stream_forgets_the_members_with_the_subscription_and_begins_anew_with_the_next() {
    let (mut lab, _client, room) = in_room();
    let mut stream = lab.wait(room.presence()).unwrap();
    diff(&mut lab, &someone("bob", "b"), &json!({}));
    changes(&mut stream);
    lab.wait(room.unsubscribe()).unwrap();
    assert!(matches!(heard(&mut stream)[..], [Typed::Channel(ChannelEvent::Closed { .. })]));
    assert!(stream.is_empty());
    lab.wait(room.subscribe()).unwrap();
    diff(&mut lab, &someone("eve", "e"), &json!({}));
    assert_eq!(
        (changes(&mut stream), shown(stream.members())),
        (["sync", "join eve", "sync"].map(String::from).into(), "eve:e".into())
    );
    drop(room);
    lab.rig.settle();
    heard(&mut stream);
    assert!(has_ended(&mut stream));
}

/// A state of many members is one frame with many changes.
#[test]
fn a_stream_knows_the_members_even_if_their_changes_were_too_many_for_the_session() {
    let mut config = config();
    config.phoenix.limits.events = 8;
    let (mut lab, client) = Lab::with(config, Default::default());
    let (room, mut ears) = lab.join(&client, "room", present());
    let mut stream = lab.wait(room.presence()).unwrap();
    heard(&mut stream);
    let many: serde_json::Map<_, _> =
        (0..100).map(|n| (format!("{n}"), json!({"metas": [{"phx_ref": "r"}]}))).collect();
    diff(&mut lab, &many.into(), &json!({}));
    let told = story(&heard(&mut ears));
    let lagged = told.iter().position(|word| word == "lagged 93").unwrap_or_else(|| panic!("{told:?}"));
    assert!(told[lagged + 1].starts_with("members 0+1+10+"), "{told:?}");
    let heard = heard(&mut stream);
    assert!(heard.contains(&Typed::Channel(ChannelEvent::Lagged { missed: 93 })), "{heard:?}");
    assert_eq!(heard.last(), Some(&Typed::Message(PresenceChange::Sync)));
    assert_eq!((stream.len(), shown(stream.members())), (100, shown_by_session(&mut lab, &room)));
}

#[test]
fn what_the_server_says_of_members_and_nobody_understands_is_told() {
    let (mut lab, _client, room) = in_room();
    let mut stream = lab.wait(room.presence()).unwrap();
    diff(&mut lab, &json!({"bob": 7}), &json!({}));
    let heard = heard(&mut stream);
    assert!(matches!(heard.last(), Some(Typed::Channel(ChannelEvent::PresenceTrouble(_)))), "{heard:?}");
}
