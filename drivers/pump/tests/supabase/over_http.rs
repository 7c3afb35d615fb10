//! Broadcasts over HTTP, asked for and fallen back to.

use rejoin_core::http::HttpError;
use rejoin_core::phoenix::PushOutcome;
use rejoin_core::supabase::{AccessToken, Broadcast, ChannelConfig, HttpBroadcast, HttpBroadcastError, HttpFailure};
use rejoin_core::{Payload, Text};
use rejoin_pump::PushState;
use rejoin_pump::memory::MemoryListener;
use rejoin_pump::supabase::{Client, HttpBroadcastFailed, HttpTicket, Listen};
use serde_json::{Value, json};

use crate::lab::{Lab, config, heard, secs, story, user_token};
use crate::wire::Wire;

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

fn hello() -> Payload {
    Payload::json(&json!({ "hello": "world" })).unwrap()
}

/// A client without a socket, and who waits for its requests.
fn offline() -> (Lab, Client, MemoryListener) {
    let mut config = config();
    config.http_broadcasts = 2;
    Lab::offline(config)
}

/// The next request: its first line, all of it, and who answers it.
fn request(listener: &MemoryListener) -> (String, String, Wire) {
    let mut server = Wire::accept(listener).expect("somebody asks");
    let heard = server.heard();
    (heard.lines().next().unwrap().into(), heard, server)
}

fn answer(lab: &mut Lab, server: &mut Wire, text: &str) {
    server.say(&mut lab.rig, text);
}

fn send(lab: &mut Lab, client: &Client, broadcast: HttpBroadcast) -> HttpTicket {
    lab.wait(client.http_broadcast(broadcast)).unwrap()
}

#[test]
fn a_broadcast_over_http_needs_no_channel_and_has_the_servers_word() {
    let (mut lab, client, listener) = offline();
    let ticket = send(&mut lab, &client, HttpBroadcast::new("room", "said", hello()));
    let (line, whole, mut server) = request(&listener);
    assert_eq!(line, "POST /api/broadcast/room/events/said HTTP/1.1");
    assert!(whole.contains("apikey: sb_publishable_key") && whole.ends_with(hello().as_json().unwrap()), "{whole}");
    answer(&mut lab, &mut server, ACCEPTED);
    assert_eq!(lab.wait(ticket), Ok(()));

    let ticket = send(&mut lab, &client, HttpBroadcast::new("room", "said", hello()));
    server.heard();
    answer(
        &mut lab,
        &mut server,
        "HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 19\r\n\r\n{\"message\":\"later\"}",
    );
    let refused = HttpFailure::Refused { status: 429, message: "later".into(), retry_after: Some(secs(7)) };
    assert_eq!(lab.wait(ticket), Err(HttpBroadcastFailed::Failed(refused)));
}

#[test]
fn an_answer_that_is_a_web_page_and_one_that_never_comes_say_so() {
    let (mut lab, client, listener) = offline();
    let ticket = send(&mut lab, &client, HttpBroadcast::new("room", "said", hello()));
    let (_, _, mut server) = request(&listener);
    answer(&mut lab, &mut server, "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>");
    assert_eq!(lab.wait(ticket), Err(HttpBroadcastFailed::Failed(HttpFailure::NotRealtime { status: 200 })));

    let ticket = send(&mut lab, &client, HttpBroadcast::new("room", "said", hello()).timeout(secs(3)));
    lab.live(3);
    assert_eq!(lab.wait(ticket), Err(HttpBroadcastFailed::Failed(HttpFailure::Http(HttpError::TimedOut))));
}

#[test]
fn what_a_server_would_refuse_is_not_sent() {
    let (mut lab, client, listener) = offline();
    // The user signed out: there is nothing that a private channel would accept.
    lab.wait(client.clear_auth()).unwrap();
    let refused = |lab: &mut Lab, broadcast| {
        let ticket = send(lab, &client, broadcast);
        lab.wait(ticket).unwrap_err()
    };
    let error = refused(&mut lab, HttpBroadcast::new("room", "", hello()));
    assert_eq!(error, HttpBroadcastFailed::Refused(HttpBroadcastError::NoEvent));
    let error = refused(&mut lab, HttpBroadcast::new("room", "said", hello()).private());
    assert_eq!(error, HttpBroadcastFailed::Refused(HttpBroadcastError::NoToken));
    let ticket = lab.wait(client.http_broadcast_batch(Vec::new())).unwrap();
    assert_eq!(lab.wait(ticket), Err(HttpBroadcastFailed::Refused(HttpBroadcastError::EmptyBatch)));
    assert!(Wire::accept(&listener).is_none());
}

#[test]
fn as_many_as_the_session_allows_are_on_their_way_and_end_in_any_order() {
    let (mut lab, client, listener) = offline();
    let said = || HttpBroadcast::new("room", "said", hello());
    let (first, second) = (send(&mut lab, &client, said()), send(&mut lab, &client, said()));
    let third = send(&mut lab, &client, said());
    assert_eq!(lab.wait(third), Err(HttpBroadcastFailed::Refused(HttpBroadcastError::Full)));
    let (_, _, mut to_first) = request(&listener);
    let (_, _, mut to_second) = request(&listener);
    answer(&mut lab, &mut to_second, ACCEPTED);
    assert_eq!(lab.wait(second), Ok(()));
    answer(&mut lab, &mut to_first, ACCEPTED);
    assert_eq!(lab.wait(first), Ok(()));
}

#[test]
fn a_batch_is_one_request() {
    let (mut lab, client, listener) = offline();
    let broadcasts = ["one", "two"].map(|name| HttpBroadcast::new(name, "said", hello()));
    let ticket = lab.wait(client.http_broadcast_batch(broadcasts.into())).unwrap();
    let (line, whole, mut server) = request(&listener);
    assert_eq!(line, "POST /api/broadcast HTTP/1.1");
    let body: Value = serde_json::from_str(whole.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        body["messages"][1],
        json!({"topic": "two", "event": "said", "payload": {"hello": "world"}, "private": false})
    );
    answer(&mut lab, &mut server, ACCEPTED);
    assert_eq!(lab.wait(ticket), Ok(()));
}

#[test]
fn a_channel_broadcasts_over_http_to_its_own_topic() {
    let (mut lab, client, listener) = offline();
    let token: AccessToken = user_token(3_600);
    lab.wait(client.set_auth(token.clone())).unwrap();
    let room = client.channel("priv room", ChannelConfig::default().private()).unwrap();
    let ticket = lab.wait(room.http_broadcast("said", hello())).unwrap();
    let (line, whole, mut server) = request(&listener);
    assert_eq!(line, "POST /api/broadcast/priv%20room/events/said?private=true HTTP/1.1");
    assert!(whole.contains(&format!("authorization: Bearer {}", token.expose())), "{whole}");
    answer(&mut lab, &mut server, ACCEPTED);
    assert_eq!(lab.wait(ticket), Ok(()));
}

#[test]
fn a_broadcast_falls_back_to_http_while_its_channel_cannot_send_and_says_so() {
    let (mut lab, client, listener) = offline();
    let room = client.channel("room", ChannelConfig::default()).unwrap();
    let other = client.channel("room", ChannelConfig::default()).unwrap();
    let mut ears = lab.wait(room.listen(Listen::status())).unwrap();
    let mut ears_of_other = lab.wait(other.listen(Listen::everything())).unwrap();
    lab.wait(room.subscribe()).unwrap();
    lab.wait(other.subscribe()).unwrap();
    let said = |event: &'static str| Broadcast::new(Text::from_static(event), hello());
    let waiting = lab.wait(room.broadcast(said("later"))).unwrap();
    let ticket = lab.wait(room.broadcast(said("now").http_fallback(true))).unwrap();
    assert_eq!((waiting.state(), ticket.state()), (PushState::Waiting, PushState::OverHttp));
    assert_eq!(story(&heard(&mut ears)), ["fell back"]);
    assert_eq!(heard(&mut ears_of_other), [], "it is not its broadcast");
    let (line, _, mut server) = request(&listener);
    assert_eq!(line, "POST /api/broadcast HTTP/1.1");
    answer(&mut lab, &mut server, ACCEPTED);
    assert_eq!(lab.wait(ticket), Ok(PushOutcome::Ok(Payload::EMPTY)));
}

#[test]
fn requests_end_with_the_client() {
    let (mut lab, client, listener) = offline();
    let ticket = send(&mut lab, &client, HttpBroadcast::new("room", "said", hello()));
    let (_, _, mut server) = request(&listener);
    lab.wait(client.close());
    assert_eq!(lab.wait(ticket), Err(HttpBroadcastFailed::Failed(HttpFailure::Unknown)));
    assert!(server.has_ended(), "its connection is gone");
    assert!(lab.wait(client.http_broadcast(HttpBroadcast::new("room", "said", hello()))).is_err());
}
