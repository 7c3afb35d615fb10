//! Broadcasts and their tickets.

use rejoin_core::Payload;
use rejoin_core::phoenix::{Push, PushError, PushOutcome};
use rejoin_core::supabase::{Broadcast, ChannelConfig};
use rejoin_pump::supabase::{Channel, Client, ConnectOptions};
use rejoin_pump::{PushFailed, PushState, PushTicket};

use crate::lab::{Lab, config, secs};

fn hello() -> Broadcast {
    Broadcast::new("hello", Payload::json("world").unwrap())
}

fn send(lab: &mut Lab, room: &Channel, broadcast: Broadcast) -> PushTicket {
    lab.wait(room.broadcast(broadcast)).unwrap()
}

fn acked() -> (Lab, Client, Channel) {
    let (mut lab, client) = Lab::new();
    let (room, _) = lab.join(&client, "room", ChannelConfig::default().broadcast_ack());
    (lab, client, room)
}

#[test]
fn a_ticket_waits_is_sent_and_has_the_servers_word() {
    let (mut lab, client) = Lab::new();
    lab.wait(client.disconnect()).unwrap();
    let room = client.channel("room", ChannelConfig::default().broadcast_ack()).unwrap();
    lab.wait(room.subscribe()).unwrap();
    let ticket = send(&mut lab, &room, hello());
    assert_eq!((ticket.state(), lab.sent("broadcast")), (PushState::Waiting, 0));
    lab.wait(client.connect()).unwrap();
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Ok(Payload::EMPTY)));

    lab.silence(true);
    let ticket = send(&mut lab, &room, hello());
    assert_eq!(ticket.state(), PushState::Sent);
    lab.silence(false);
    assert_eq!(ticket.state(), PushState::Done);
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Ok(Payload::EMPTY)));
}

#[test]
fn a_broadcast_without_ack_is_done_when_it_is_sent() {
    let (mut lab, client) = Lab::new();
    let (room, _ears) = lab.join(&client, "room", ChannelConfig::default());
    lab.silence(true);
    let ticket = send(&mut lab, &room, hello());
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Sent));
    let (mut lab, _client, room) = acked();
    lab.silence(true);
    let ticket = send(&mut lab, &room, hello().without_ack());
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Sent));
}

#[test]
fn a_broadcast_that_nobody_answers_times_out_and_one_that_is_cut_off_is_unknown() {
    let (mut lab, _client, room) = acked();
    lab.silence(true);
    let ticket = send(&mut lab, &room, hello().timeout(secs(3)));
    lab.advance(secs(3));
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::TimedOut));

    let (mut lab, client, room) = acked();
    lab.silence(true);
    let ticket = send(&mut lab, &room, hello());
    lab.wait(client.reconnect()).unwrap();
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Unknown));
}

#[test]
fn what_the_session_refuses_is_the_tickets_answer() {
    let (mut lab, client) = Lab::new();
    let (room, _ears) = lab.join(&client, "room", ChannelConfig::default());
    let refused = |lab: &mut Lab, room: &Channel, broadcast| {
        let ticket = send(lab, room, broadcast);
        lab.wait(ticket).unwrap_err()
    };
    assert_eq!(refused(&mut lab, &room, hello().with_ack()), PushFailed::Refused(PushError::AckDisabled));
    let long = Broadcast::new("e".repeat(256), Payload::EMPTY);
    let failed = refused(&mut lab, &room, long);
    assert!(matches!(failed, PushFailed::Refused(PushError::Encode(_))), "{failed:?}");
    let stranger = client.channel("room", ChannelConfig::default()).unwrap();
    assert_eq!(refused(&mut lab, &stranger, hello()), PushFailed::Refused(PushError::UnknownChannel));
    lab.wait(room.unsubscribe()).unwrap();
    assert_eq!(refused(&mut lab, &room, hello()), PushFailed::Refused(PushError::UnknownChannel));
    let reserved = lab.wait(room.push(Push::new("phx_join", Payload::EMPTY))).unwrap();
    assert!(lab.wait(reserved).is_err());
}

#[test]
fn the_last_wishes_of_a_handle_are_settled_when_it_is_closed_or_its_pump_is_dropped() {
    let (mut lab, client, room) = acked();
    lab.silence(true);
    let ticket = send(&mut lab, &room, hello());
    lab.wait(client.close());
    lab.advance(secs(5));
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Unknown));

    let (mut lab, client, mut pump) = Lab::asleep(config(), ConnectOptions::default());
    let room = client.channel("room", ChannelConfig::default()).unwrap();
    let pushing = async {
        room.subscribe().await.unwrap();
        Some(room.broadcast(hello()).await.unwrap())
    };
    let driving = async {
        pump.as_mut().await;
        None
    };
    let ticket = lab.wait(futures_lite::future::or(driving, pushing)).expect("nobody closes the client");
    assert_eq!(ticket.state(), PushState::Waiting);
    drop(pump);
    assert_eq!(lab.wait(ticket), Err(PushFailed::Closed));
}
