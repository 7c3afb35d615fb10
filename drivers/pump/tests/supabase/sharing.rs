//! Many handles, one channel of the server.

use futures_util::FutureExt;
use futures_util::future::join_all;
use rejoin_core::Payload;
use rejoin_core::supabase::{ChannelConfig, ChannelState};
use rejoin_pump::supabase::{Channel, ChannelEvent, Client, ConnectOptions, Listen, Listener, SubscribeError};
use rejoin_sim::supabase::PeerEvent;

use crate::lab::{Lab, heard, story};

const SUBSCRIBED: ChannelEvent = ChannelEvent::Subscribed { again: false };

/// A handle with one listener, not subscribed.
fn handle(lab: &mut Lab, client: &Client, name: &str) -> (Channel, Listener) {
    let room = client.channel(name, ChannelConfig::default()).unwrap();
    let listener = lab.wait(room.listen(Listen::everything())).unwrap();
    (room, listener)
}

fn say(lab: &mut Lab, topic: &'static str, event: &'static str) {
    lab.order(move |peer, now| peer.push(now, topic, event, Payload::EMPTY, false));
}

#[test]
fn handles_of_one_topic_share_one_join_and_every_listener_hears_a_message_once() {
    let (mut lab, client) = Lab::new();
    let (one, mut ears_of_one) = handle(&mut lab, &client, "room");
    let (two, mut ears_of_two) = handle(&mut lab, &client, "realtime:room");
    let mut more_of_two = lab.wait(two.listen(Listen::everything())).unwrap();
    let (elsewhere, mut ears_elsewhere) = handle(&mut lab, &client, "elsewhere");
    for room in [&one, &two, &elsewhere, &one] {
        lab.wait(room.subscribe()).unwrap();
    }
    assert_eq!(lab.sent("phx_join"), 2);
    say(&mut lab, "realtime:room", "a");
    say(&mut lab, "realtime:room", "b");
    for ears in [&mut ears_of_one, &mut ears_of_two, &mut more_of_two] {
        assert_eq!(story(&heard(ears)), ["subscribed", "message a", "message b"]);
    }
    assert_eq!(heard(&mut ears_elsewhere), [SUBSCRIBED]);
}

#[test]
fn the_last_handle_to_unsubscribe_leaves_the_channel() {
    let (mut lab, client) = Lab::new();
    let (one, mut ears_of_one) = handle(&mut lab, &client, "room");
    let (two, mut ears_of_two) = handle(&mut lab, &client, "room");
    lab.wait(one.subscribe()).unwrap();
    lab.wait(two.subscribe()).unwrap();
    lab.wait(one.unsubscribe()).unwrap();
    assert_eq!(story(&heard(&mut ears_of_one)), ["subscribed", "closed: left"]);
    assert_eq!(lab.wait(one.state()), Ok(None));
    say(&mut lab, "realtime:room", "a");
    assert_eq!(heard(&mut ears_of_one), []);
    assert_eq!(story(&heard(&mut ears_of_two)), ["subscribed", "message a"]);
    assert_eq!((lab.sent("phx_leave"), lab.wait(two.state())), (0, Ok(Some(ChannelState::Joined))));

    lab.wait(two.unsubscribe()).unwrap();
    lab.wait(two.unsubscribe()).unwrap();
    assert_eq!(story(&heard(&mut ears_of_two)), ["closed: left"]);
    assert_eq!(lab.sent("phx_leave"), 1);
    assert!(lab.take_seen().contains(&PeerEvent::Left { topic: "realtime:room".into() }));
}

#[test]
fn whoever_comes_late_hears_at_once_that_the_channel_is_joined() {
    let (mut lab, client) = Lab::new();
    let (one, _ears) = lab.join(&client, "room", ChannelConfig::default());
    let (two, mut ears_of_two) = handle(&mut lab, &client, "room");
    assert_eq!(heard(&mut ears_of_two), [], "not subscribed");
    lab.wait(two.subscribe()).unwrap();
    assert_eq!(heard(&mut ears_of_two), [SUBSCRIBED]);
    for listen in [Listen::status(), Listen::broadcast("a"), Listen::everything()] {
        let mut late = lab.wait(one.listen(listen)).unwrap();
        assert_eq!(heard(&mut late), [SUBSCRIBED]);
    }
    assert_eq!(heard(&mut ears_of_two), [], "once");
    assert_eq!(lab.sent("phx_join"), 1);
}

#[test]
fn whoever_comes_while_the_channel_is_lost_hears_when_it_is_back() {
    let (mut lab, client) = Lab::new();
    let (_one, _ears) = lab.join(&client, "room", ChannelConfig::default());
    lab.order(|peer, now| peer.crash(now, "realtime:room"));
    let (two, mut ears_of_two) = handle(&mut lab, &client, "room");
    lab.wait(two.subscribe()).unwrap();
    assert_eq!(heard(&mut ears_of_two), []);
    lab.live(2);
    assert_eq!(story(&heard(&mut ears_of_two)), ["subscribed again", "gap"]);
}

#[test]
fn another_configuration_of_a_topic_is_refused_while_the_first_is_subscribed() {
    let (mut lab, client) = Lab::new();
    let acked = || ChannelConfig::default().broadcast_ack();
    let (one, _ears) = lab.join(&client, "room", acked());
    let same = client.channel("room", acked()).unwrap();
    lab.wait(same.subscribe()).unwrap();
    let other = client.channel("room", ChannelConfig::default()).unwrap();
    assert_eq!(lab.wait(other.subscribe()), Err(SubscribeError::ConfigDiffers));
    assert_eq!(lab.wait(other.state()), Ok(None));

    lab.wait(one.unsubscribe()).unwrap();
    assert_eq!(lab.wait(other.subscribe()), Err(SubscribeError::ConfigDiffers));
    drop(same);
    lab.rig.settle();
    lab.wait(other.subscribe()).unwrap();
    assert_eq!(lab.wait(one.subscribe()), Err(SubscribeError::ConfigDiffers));
    assert_eq!((lab.sent("phx_join"), lab.sent("phx_leave")), (2, 1));
}

#[test]
fn channels_of_one_slot_one_after_the_other_are_not_mistaken_for_each_other() {
    let mut config = crate::lab::config();
    config.disconnect_when_empty = None;
    let (mut lab, client) = Lab::with(config, ConnectOptions::default());
    lab.wait(client.disconnect()).unwrap();
    let (one, mut ears_of_one) = handle(&mut lab, &client, "one");
    let (two, mut ears_of_two) = handle(&mut lab, &client, "two");
    // Nothing is connected, so that a channel is over as soon as it is left; and no event is
    // delivered between these commands.
    let subscribe = |room: &Channel| {
        let room = room.clone();
        async move { room.subscribe().await.unwrap() }.boxed()
    };
    let unsubscribe = |room: &Channel| {
        let room = room.clone();
        async move { room.unsubscribe().await.unwrap() }.boxed()
    };
    lab.wait(join_all([subscribe(&one), unsubscribe(&one), subscribe(&two), subscribe(&one), unsubscribe(&one)]));
    assert_eq!(story(&heard(&mut ears_of_one)), ["closed: left", "closed: left"]);
    lab.wait(client.connect()).unwrap();
    say(&mut lab, "realtime:two", "a");
    assert_eq!(story(&heard(&mut ears_of_two)), ["subscribed", "message a"]);
}
