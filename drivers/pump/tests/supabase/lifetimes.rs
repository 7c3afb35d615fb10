//! Handles that are subscribed anew, dropped, or removed all together.

use rejoin_core::Payload;
use rejoin_core::phoenix::ConnectionState;
use rejoin_core::supabase::{Broadcast, ChannelConfig, CloseReason};
use rejoin_pump::supabase::{ChannelEvent, ChannelInfo, Client, ConnectOptions, Listen};
use rejoin_pump::{Inflow, PushFailed};

use crate::lab::{Lab, has_ended, heard, secs, story};

#[test]
fn a_handle_may_be_subscribed_anew_and_its_listeners_go_on() {
    let (mut lab, client) = Lab::new();
    let (room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    for _ in 0..3 {
        lab.wait(room.unsubscribe()).unwrap();
        lab.order(|peer, now| peer.push(now, "realtime:room", "lost", Payload::EMPTY, false));
        lab.wait(room.subscribe()).unwrap();
        lab.order(|peer, now| peer.push(now, "realtime:room", "heard", Payload::EMPTY, false));
        assert_eq!(story(&heard(&mut ears)), ["closed: left", "subscribed", "message heard"]);
    }
}

#[test]
fn a_handle_may_be_subscribed_anew_before_the_leave_is_answered() {
    let (mut lab, client) = Lab::new();
    let (room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    lab.silence(true);
    for _ in 0..3 {
        lab.wait(room.unsubscribe()).unwrap();
        lab.wait(room.subscribe()).unwrap();
    }
    assert_eq!(story(&heard(&mut ears)), ["closed: left"; 3], "the server has not said a word");
    let topics: Vec<_> = lab.wait(client.channels()).unwrap().into_iter().map(|info| info.topic).collect();
    assert_eq!(topics, ["realtime:room"], "what is being left is not subscribed to");
    lab.silence(false);
    assert_eq!(story(&heard(&mut ears)), ["subscribed"]);
    lab.order(|peer, now| peer.push(now, "realtime:room", "heard", Payload::EMPTY, false));
    assert_eq!(story(&heard(&mut ears)), ["message heard"]);
}

#[test]
fn a_handle_that_was_refused_for_good_may_try_again() {
    let (mut lab, client) = Lab::new();
    let (_other, _ears) = lab.join(&client, "other", ChannelConfig::default());
    lab.order(|peer, _| peer.refuse("realtime:room", "TopicNameRequired: You must provide a topic name", 1));
    let room = client.channel("room", ChannelConfig::default()).unwrap();
    let mut ears = lab.wait(room.listen(Listen::status())).unwrap();
    lab.wait(room.subscribe()).unwrap();
    assert!(matches!(lab.wait(ears.subscribed()), Err(ChannelEvent::SubscribeFailed { .. })));
    assert_eq!(heard(&mut ears), [ChannelEvent::Closed { reason: CloseReason::Refused }]);
    assert_eq!(lab.wait(room.state()), Ok(None));
    lab.wait(room.subscribe()).unwrap();
    assert_eq!(lab.wait(ears.subscribed()), Ok(()));
}

#[test]
fn dropping_a_listener_stops_nothing_else() {
    let (mut lab, client) = Lab::new();
    let (room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    let inflow = Inflow::Block { capacity: 1 };
    let full = lab.wait(room.listen_with(Listen::everything(), inflow)).unwrap();
    for _ in 0..3 {
        lab.order(|peer, now| peer.push(now, "realtime:room", "a", Payload::EMPTY, false));
    }
    drop(full);
    lab.rig.settle();
    assert_eq!(story(&heard(&mut ears)), ["message a"; 3]);
    assert_eq!(lab.sent("phx_leave"), 0);
}

#[test]
fn dropping_the_last_clone_of_a_handle_unsubscribes_and_ends_its_listeners() {
    let (mut lab, client) = Lab::new();
    let (room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    let (other, mut ears_of_other) = lab.join(&client, "room", ChannelConfig::default());
    let clone = room.clone();
    drop(room);
    lab.rig.settle();
    assert!(!has_ended(&mut ears));
    drop(clone);
    lab.rig.settle();
    assert_eq!(story(&heard(&mut ears)), ["closed: left"]);
    assert!(has_ended(&mut ears) && !has_ended(&mut ears_of_other));
    assert_eq!(lab.sent("phx_leave"), 0, "another handle is in");
    drop(other);
    lab.rig.settle();
    assert_eq!(story(&heard(&mut ears_of_other)), ["closed: left"]);
    assert!(has_ended(&mut ears_of_other));
    assert_eq!((lab.sent("phx_leave"), lab.wait(client.channels())), (1, Ok(vec![])));
}

#[test]
fn what_a_handle_asked_for_before_it_was_dropped_is_done() {
    let (mut lab, client) = Lab::new();
    let (room, _ears) = lab.join(&client, "room", ChannelConfig::default().broadcast_ack());
    lab.take_sent();
    let ticket = lab.wait(async move { room.broadcast(Broadcast::new("bye", Payload::EMPTY)).await }).unwrap();
    drop(ticket);
    let sent: Vec<_> = lab.take_sent().into_iter().map(|message| message.event).collect();
    assert_eq!(sent, ["broadcast", "phx_leave"]);
}

#[test]
fn a_client_without_handles_ends() {
    let (mut lab, client) = Lab::new();
    let (room, ears) = lab.join(&client, "room", ChannelConfig::default());
    let events = lab.wait(client.connection_events()).unwrap();
    let running = lab.rig.running();
    drop(client);
    lab.rig.settle();
    assert_eq!(lab.rig.running(), running, "a channel's handle keeps the client");
    drop(room);
    lab.rig.settle();
    assert_eq!(lab.rig.running(), running - 1);
    drop((ears, events));
}

#[test]
fn closing_ends_every_stream_and_every_later_wish_is_an_error() {
    let (mut lab, client) = Lab::new();
    let (room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    let (_, mut inbox) = lab.wait(client.inbox(Inflow::default())).unwrap();
    lab.wait(client.close());
    lab.wait(client.close());
    assert_eq!(heard(&mut ears), [ChannelEvent::Closed { reason: CloseReason::SessionClosed }]);
    heard(&mut inbox);
    assert!(has_ended(&mut ears) && has_ended(&mut inbox));
    assert!(lab.wait(room.subscribe()).is_err() && lab.wait(client.state()).is_err());
    assert!(lab.wait(room.broadcast(Broadcast::new("late", Payload::EMPTY))).is_err());
    drop(room);
}

#[test]
fn closing_does_not_wait_for_a_reader_that_stays_away() {
    let (mut lab, client) = Lab::new();
    let (room, _ears) = lab.join(&client, "room", ChannelConfig::default());
    let mut unread = lab.wait(room.listen_with(Listen::everything(), Inflow::Block { capacity: 1 })).unwrap();
    lab.order(|peer, now| (0..3).for_each(|_| peer.push(now, "realtime:room", "a", Payload::EMPTY, false)));
    let running = lab.rig.running();
    lab.wait(client.close());
    lab.advance(secs(5));
    assert_eq!(lab.rig.running(), running - 1, "close_timeout has passed");
    let last = heard(&mut unread).pop();
    assert_eq!(last, Some(ChannelEvent::Closed { reason: CloseReason::SessionClosed }));
}

#[test]
fn what_nobody_carries_out_any_more_is_answered_when_the_pump_is_dropped() {
    let (mut lab, client, pump) = Lab::asleep(crate::lab::config(), ConnectOptions::default());
    let room = client.channel("room", ChannelConfig::default()).unwrap();
    let ticket = lab.wait(room.broadcast(Broadcast::new("a", Payload::EMPTY))).unwrap();
    let mut state = Box::pin(client.state());
    assert!(futures_lite::future::block_on(futures_lite::future::poll_once(&mut state)).is_none());
    drop(pump);
    assert_eq!(lab.wait(ticket), Err(PushFailed::Closed));
    assert!(lab.wait(state).is_err());
}

#[test]
fn a_pump_that_is_kept_after_its_end_keeps_nobody_waiting() {
    let (mut lab, client, mut pump) = Lab::asleep(crate::lab::config(), ConnectOptions::default());
    let asked = async {
        let events = client.connection_events().await;
        client.close().await;
        events.unwrap()
    };
    let ((), mut events) = lab.wait(futures_lite::future::zip(pump.as_mut(), asked));
    heard(&mut events);
    assert!(has_ended(&mut events) && lab.wait(client.state()).is_err());
    drop(pump);
}

#[test]
fn removing_all_ends_every_subscription_and_the_connection_until_the_next() {
    let (mut lab, client) = Lab::new();
    let (one, mut ears_of_one) = lab.join(&client, "one", ChannelConfig::default());
    let (_two, mut ears_of_two) = lab.join(&client, "two", ChannelConfig::default());
    let joined = |info: &ChannelInfo| (info.topic.to_string(), format!("{:?}", info.state));
    let channels: Vec<_> = lab.wait(client.channels()).unwrap().iter().map(joined).collect();
    assert_eq!(channels, [("realtime:one".into(), "Joined".into()), ("realtime:two".into(), "Joined".into())]);
    lab.wait(client.remove_all()).unwrap();
    for ears in [&mut ears_of_one, &mut ears_of_two] {
        assert_eq!(story(&heard(ears)), ["closed: left"]);
    }
    assert_eq!(lab.wait(client.channels()), Ok(vec![]));
    assert_eq!((lab.wait(client.state()), lab.dials()), (Ok(ConnectionState::Idle), 1));
    lab.wait(one.subscribe()).unwrap();
    assert_eq!(story(&heard(&mut ears_of_one)), ["subscribed"]);
    assert_eq!(lab.dials(), 2);
    assert_eq!(heard(&mut ears_of_two), []);
}

#[test]
fn subscribing_in_the_same_breath_as_removing_all_counts() {
    let (mut lab, client) = Lab::new();
    let (room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    let both = async { futures_lite::future::zip(client.remove_all(), room.subscribe()).await };
    let (removed, subscribed) = lab.wait(both);
    assert_eq!((removed, subscribed), (Ok(()), Ok(())));
    lab.live(1);
    assert_eq!(story(&heard(&mut ears)), ["closed: left", "subscribed"]);
}

#[test]
fn ten_thousand_short_lives_leave_nothing_behind() {
    let (mut lab, client) = Lab::new();
    let (_stays, mut ears_of_stays) = lab.join(&client, "stays", ChannelConfig::default());
    for n in 0..10_000_u32 {
        live_shortly(&mut lab, &client, n);
        lab.take_sent();
        lab.take_seen();
    }
    lab.rig.settle();
    assert_eq!(lab.wait(client.channels()).unwrap().len(), 1);
    assert_eq!(heard(&mut ears_of_stays), []);
}

/// In one of several ways, according to `n`.
fn live_shortly(lab: &mut Lab, client: &Client, n: u32) {
    let room = client.channel(&format!("room {}", n % 7), ChannelConfig::default()).unwrap();
    let ears = lab.wait(room.listen(Listen::everything())).unwrap();
    lab.wait(room.subscribe()).unwrap();
    match n % 3 {
        0 => {
            drop(ears);
            lab.wait(room.unsubscribe()).unwrap();
        }
        1 => {
            lab.wait(room.unsubscribe()).unwrap();
            lab.wait(room.subscribe()).unwrap();
        }
        _ => {}
    }
}
