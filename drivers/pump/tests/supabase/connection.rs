//! What the stream of the connection says, and what a gap says about it.

use std::time::SystemTime;

use rejoin_core::phoenix::{ConnectionState, LossReason, Stats};
use rejoin_core::supabase::{ChannelConfig, HeartbeatStatus};
use rejoin_core::{Backoff, Payload};
use rejoin_pump::Inflow;
use rejoin_pump::memory::network;
use rejoin_pump::supabase::{ChannelEvent, ConnectOptions, ConnectionEvent, Listen, connect_with};

use crate::lab::{BEGIN, Lab, config, has_ended, heard, secs, story};
use crate::rig::Rig;

fn word(event: &ConnectionEvent) -> String {
    match event {
        ConnectionEvent::Connected => "connected".into(),
        ConnectionEvent::Disconnected { retry_in: Some(delay), .. } => {
            format!("disconnected for {} s", delay.as_secs())
        }
        ConnectionEvent::Disconnected { retry_in: None, .. } => "disconnected".into(),
        ConnectionEvent::GaveUp { attempts } => format!("gave up after {attempts}"),
        ConnectionEvent::Heartbeat(HeartbeatStatus::Sent) => "beat".into(),
        ConnectionEvent::Heartbeat(HeartbeatStatus::Ok { .. }) => "beat answered".into(),
        ConnectionEvent::Heartbeat(HeartbeatStatus::TimedOut) => "beat lost".into(),
        ConnectionEvent::Closed => "closed".into(),
        other => format!("{other:?}"),
    }
}

fn words(events: &[ConnectionEvent]) -> Vec<String> {
    events.iter().map(word).collect()
}

#[test]
fn the_life_of_a_connection_is_told_with_its_heartbeats() {
    let (mut lab, client, pump) = Lab::asleep(config(), ConnectOptions::default());
    let mut events = lab.wait(client.connection_events()).unwrap();
    lab.rig.spawn(pump);
    assert_eq!(words(&heard(&mut events)), ["connected"]);
    lab.silence(true);
    lab.live(26);
    assert_eq!(words(&heard(&mut events)), ["beat"]);
    lab.silence(false);
    let answered = heard(&mut events);
    let rtt = |event: &ConnectionEvent| match event {
        ConnectionEvent::Heartbeat(HeartbeatStatus::Ok { rtt }) => Some(*rtt),
        _ => None,
    };
    assert!(answered.iter().filter_map(rtt).eq([secs(1)]), "{answered:?}");
    lab.silence(true);
    lab.live(34);
    assert_eq!(words(&heard(&mut events)), ["beat", "beat lost", "disconnected for 1 s"]);
    lab.silence(false);
    lab.live(1);
    lab.wait(client.disconnect()).unwrap();
    assert_eq!(words(&heard(&mut events)), ["connected", "disconnected"]);
    assert_eq!(lab.wait(client.state()), Ok(ConnectionState::Idle));
    lab.wait(client.connect()).unwrap();
    lab.wait(client.reconnect()).unwrap();
    lab.wait(client.probe()).unwrap();
    let requested = heard(&mut events);
    assert_eq!(words(&requested), ["connected", "disconnected for 0 s", "connected", "beat", "beat answered"]);
    assert!(matches!(&requested[1], ConnectionEvent::Disconnected { reason: LossReason::Requested, .. }));
    assert_eq!((lab.wait(client.state()), lab.dials()), (Ok(ConnectionState::Connected), 4));
    lab.wait(client.close());
    assert_eq!(words(&heard(&mut events)), ["closed"]);
    assert!(has_ended(&mut events));
}

#[test]
fn a_client_that_gives_up_says_so_and_may_be_told_to_try_again() {
    let (runtime, listener) = network();
    drop(listener);
    let mut config = config();
    config.phoenix.max_attempts = Some(2);
    config.phoenix.reconnect = Backoff::Steps(vec![secs(3)]);
    let mut options = ConnectOptions::default();
    options.connect = false;
    let (client, pump) = connect_with(config, options, runtime.clone());
    let mut rig = Rig::new(runtime);
    rig.spawn(pump);
    let (events, told) = async_channel::unbounded();
    rig.spawn(async move {
        let mut all = client.connection_events().await.unwrap();
        for _ in 0..2 {
            client.connect().await.unwrap();
            loop {
                let event = all.next().await.unwrap();
                events.send(word(&event)).await.unwrap();
                if matches!(event, ConnectionEvent::GaveUp { .. }) {
                    break;
                }
            }
        }
    });
    for _ in 0..20 {
        rig.advance(secs(1));
    }
    let told: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert_eq!(told.join(", "), ["disconnected for 3 s, disconnected, gave up after 2"; 2].join(", "));
}

#[test]
fn what_is_ignored_is_counted() {
    let (mut lab, client) = Lab::new();
    let (room, _ears) = lab.join(&client, "room", ChannelConfig::default());
    assert_eq!(lab.wait(client.stats()), Ok(Stats::default()));
    // Full with `Subscribed`, so that what comes now is read behind the leave.
    let full = lab.wait(room.listen_with(Listen::status(), Inflow::Block { capacity: 1 })).unwrap();
    lab.order(|peer, now| peer.push(now, "realtime:room", "late", Payload::EMPTY, true));
    lab.wait(room.unsubscribe()).unwrap();
    drop(full);
    assert_eq!(lab.wait(client.stats()).unwrap().stale_messages, 2, "with the phx_close behind the leave's reply");
}

#[test]
fn a_gap_tells_the_time_of_day_and_comes_between_the_rejoin_and_the_first_message() {
    let (mut lab, client) = Lab::new();
    let (room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    let (other, mut ears_of_other) = lab.join(&client, "room", ChannelConfig::default());
    let mut later = lab.wait(other.listen(Listen::broadcast("a"))).unwrap();
    heard(&mut later);
    // A heartbeat every 25 s.
    lab.live(60);
    lab.order(|peer, now| peer.cut(now));
    lab.live(3);
    lab.order(|peer, now| peer.push(now, "realtime:room", "a", Payload::EMPTY, false));
    let gap = ChannelEvent::Gap { since: at(50), until: at(61) };
    for ears in [&mut ears, &mut ears_of_other] {
        let events = heard(ears);
        assert_eq!(story(&events), ["errored", "subscribed again", "gap", "message a"]);
        assert_eq!(events[2], gap);
    }
    assert_eq!(heard(&mut later).last(), Some(&gap));
    drop(room);
}

/// While the host sleeps, the session's own time stands still.
#[test]
fn a_gap_that_began_before_the_host_was_suspended_is_as_long_as_the_suspension() {
    let (mut lab, client) = Lab::new();
    let (_room, mut ears) = lab.join(&client, "room", ChannelConfig::default());
    lab.live(60);
    lab.rig.runtime.suspend(secs(8 * 3_600));
    lab.order(|peer, now| peer.cut(now));
    lab.live(3);
    let gap = ChannelEvent::Gap { since: at(50), until: at(8 * 3_600 + 61) };
    assert_eq!(heard(&mut ears).last(), Some(&gap));
}

/// So many seconds after the test began.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(BEGIN + seconds)
}
