//! Any frames through both halves of long-poll: all of them arrive, once, in their order.

use std::time::Duration;

use proptest::prelude::*;
use rejoin_core::http::{HttpId, HttpMethod, HttpResponse};
use rejoin_core::phoenix::{LongPoll, LongPollBody, LongPollConfig, LongPollPeer};
use rejoin_core::{ConnId, ConnectRequest, Frame, Timestamp, TransportAction, TransportEvent};
use serde_json::Value;

const CONN: ConnId = ConnId::new(1);

fn open() -> (LongPoll, LongPollPeer) {
    let request = ConnectRequest::new(CONN, "http://sim/longpoll?vsn=2.0.0", Duration::from_secs(10));
    let mut client = LongPoll::new(request, 16 << 20);
    let get = client.poll_request().unwrap();
    client.handle_response(get.id, Ok(HttpResponse::new(200, r#"{"status":410,"messages":[],"token":"t"}"#)));
    assert_eq!(client.poll_event(), Some(TransportEvent::Opened { conn: CONN }));
    (client, LongPollPeer::new(LongPollConfig::default(), CONN, "t", Timestamp::ZERO))
}

/// Carries the client's requests to the peer and its answers back, until nothing moves.
fn exchange(client: &mut LongPoll, peer: &mut LongPollPeer, heard: &mut [Vec<Frame>; 2]) {
    let [at_server, at_client] = heard;
    loop {
        let mut moved = false;
        while let Some(request) = client.poll_request() {
            moved = true;
            let whole = request.headers.iter().any(|(_, value)| *value == "application/json");
            match request.method {
                HttpMethod::Post => {
                    let kind = if whole { LongPollBody::Whole } else { LongPollBody::Lines };
                    peer.push(Timestamp::ZERO, request.id, kind, &request.body);
                }
                _ => peer.poll(Timestamp::ZERO, request.id),
            }
        }
        at_server.extend(std::iter::from_fn(|| peer.poll_event()).map(frame));
        while let Some((id, response)) = peer.poll_response() {
            moved = true;
            client.handle_response(id, Ok(HttpResponse::new(response.status, response.body)));
        }
        at_client.extend(std::iter::from_fn(|| client.poll_event()).map(frame));
        if !moved {
            return;
        }
    }
}

fn frame(event: TransportEvent) -> Frame {
    match event {
        TransportEvent::Received { frame, .. } => frame,
        other => panic!("{other:?}"),
    }
}

/// Text by its JSON, for white space between tokens means nothing.
fn meaning(frame: &Frame) -> Result<Value, Vec<u8>> {
    match frame {
        Frame::Text(text) => Ok(serde_json::from_str(text).unwrap()),
        Frame::Binary(bytes) => Err(bytes.to_vec()),
    }
}

fn meanings(frames: &[Frame]) -> Vec<Result<Value, Vec<u8>>> {
    frames.iter().map(meaning).collect()
}

/// Arrays and objects with strings of any characters, and white space in odd places.
fn text() -> impl Strategy<Value = Frame> {
    let gap = || prop_oneof![4 => Just(""), 1 => Just("\n"), 1 => Just("\r\n"), 1 => Just(" \n\n ")];
    (any::<String>(), gap(), gap(), any::<bool>()).prop_map(|(said, before, after, object)| {
        let said = Value::from(said);
        let text = match object {
            true => format!("{{{before}\"a\":{said}{after}}}"),
            false => format!("[{before}{said},{after}1]"),
        };
        Frame::Text(text.into())
    })
}

fn client_frame() -> impl Strategy<Value = Frame> {
    let binary = proptest::collection::vec(any::<u8>(), 1..40).prop_map(|bytes| Frame::Binary(bytes.into()));
    prop_oneof![4 => text(), 1 => binary]
}

/// Of binary frames those that a server can say: a kind, and text.
fn server_frame() -> impl Strategy<Value = Frame> {
    let binary =
        (0..5u8, any::<String>()).prop_map(|(kind, rest)| Frame::Binary([&[kind], rest.as_bytes()].concat().into()));
    prop_oneof![4 => text(), 1 => binary]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_arrive_once_in_their_order_both_ways(
        up in proptest::collection::vec(client_frame(), 0..250),
        down in proptest::collection::vec(server_frame(), 0..250),
        steps in proptest::collection::vec((0..150usize, 0..150usize), 0..6),
    ) {
        let (mut client, mut peer) = open();
        let mut heard = [Vec::new(), Vec::new()];
        let (mut rest_up, mut rest_down) = (up.iter().cloned(), down.iter().cloned());
        for (send, say) in steps.into_iter().chain([(usize::MAX, usize::MAX)]) {
            // Ready or not: what is handed over too early waits its turn.
            rest_up.by_ref().take(send).for_each(|frame| client.send(frame));
            for frame in rest_down.by_ref().take(say) {
                peer.handle_action(Timestamp::ZERO, TransportAction::Send { conn: CONN, frame });
            }
            exchange(&mut client, &mut peer, &mut heard);
        }
        prop_assert_eq!(meanings(&heard[0]), meanings(&up));
        prop_assert_eq!(meanings(&heard[1]), meanings(&down));
    }

    #[test]
    fn a_body_of_any_bytes_is_read_or_refused_and_the_session_lives(
        body in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'['), Just(b']'), any::<u8>()], 0..60),
        lines in any::<bool>(),
    ) {
        let (_, mut peer) = open();
        let kind = if lines { LongPollBody::Lines } else { LongPollBody::Whole };
        peer.push(Timestamp::ZERO, HttpId::new(1), kind, &body.into());
        let (_, response) = peer.poll_response().unwrap();
        prop_assert!([200, 500].contains(&response.status));
        prop_assert!(response.status == 200 || peer.poll_event().is_none());
        peer.push(Timestamp::ZERO, HttpId::new(2), LongPollBody::Lines, &"[]".into());
        prop_assert_eq!(peer.poll_response().unwrap().1.status, 200);
    }
}
