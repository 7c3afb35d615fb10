//! Servers that send what they should not, refuse, or end channels for good.

use std::net::{SocketAddr, TcpListener, TcpStream};

use rejoin_core::phoenix::{ServerConfig, ServerEvent, Status};
use rejoin_core::{ConnId, Frame, Payload};
use rejoin_pump::{AcceptOptions, accept, serve};
use rejoin_smol::SmolRuntime;
use smol::Async;

use crate::program::{Program, run};

/// What it does once it was joined.
#[derive(Clone, Copy)]
enum Manners {
    /// Sends these texts and a binary message.
    Sends(&'static [&'static str]),
    RefusesJoins,
    EndsChannels,
    RepliesErrors,
    NeverReplies,
}

/// Serves one socket after the other, until the test's process ends.
fn server(manners: Manners) -> SocketAddr {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a free port");
    let address = listener.get_ref().local_addr().expect("bound");
    smol::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            smol::spawn(host(tcp, manners)).detach();
        }
    })
    .detach();
    address
}

async fn host(tcp: Async<TcpStream>, manners: Manners) {
    let Ok(accepted) = accept(rejoin_smol::plain(tcp), &AcceptOptions::default()).await else { return };
    let config = ServerConfig::new(accepted.serializer);
    let runtime = SmolRuntime::default();
    let (peer, mut events, pump) = serve(accepted.websocket, ConnId::new(1), config, runtime);
    smol::spawn(pump).detach();
    while let Some(event) = events.next().await {
        match (event, manners) {
            (ServerEvent::Join { join, .. }, Manners::RefusesJoins) => {
                let response = Payload::from_json_text(r#"{"reason":"not you\n"}"#).expect("JSON");
                let _ = peer.refuse_join(join, response);
            }
            (ServerEvent::Join { join, .. }, _) => {
                let channel = peer.accept_join(join, Payload::EMPTY).expect("it is there");
                if let Manners::Sends(texts) = manners {
                    for text in texts {
                        peer.push_encoded(channel, Frame::Text((*text).into())).expect("it is there");
                    }
                    let _ = peer.push(channel, "bin", Payload::binary(vec![0, 255].into()));
                }
                if let Manners::EndsChannels = manners {
                    let _ = peer.close_channel(channel, false);
                }
            }
            (ServerEvent::Push { reply, .. }, Manners::RepliesErrors) => {
                let response = Payload::from_json_text(r#"{"reason":"no\u0000"}"#).expect("JSON");
                let _ = peer.reply(reply, Status::Error, response);
            }
            _ => {}
        }
    }
}

#[test]
fn what_is_malformed_is_a_line_and_the_connection_stays() {
    let address = server(Manners::Sends(&[
        r#"[null,null,"t","one",{oops}]"#,
        "garbage",
        "[null,null,\"t\",\"two\",{\n\"a\" : 1e400\r\n}]",
    ]));
    let mut listening = Program::start(&["listen", &format!("ws://{address}/socket"), "t", "--json", "--count", "2"]);
    listening.event("joined");
    let not_json = listening.event("malformed");
    assert_eq!((&not_json["topic"], &not_json["name"]), (&"t".into(), &"one".into()), "{not_json}");
    assert!(not_json["reason"].as_str().is_some_and(|reason| reason.contains("not JSON")), "{not_json}");
    assert!(not_json.get("payload").is_none(), "{not_json}");
    let no_message = listening.event("malformed");
    assert!(no_message["reason"].is_string() && no_message.get("topic").is_none(), "{no_message}");
    let line = listening.line();
    assert!(line.ends_with(r#""name":"two","payload":{ "a" : 1e400  }}"#), "{line}");
    let line = listening.line();
    assert!(line.ends_with(r#""name":"bin","payload":"AP8=","encoding":"base64"}"#), "{line}");
    assert_eq!(listening.ended().code, Some(0));
}

#[test]
fn a_refused_join_is_tried_again_by_listen_and_fails_send() {
    let url = format!("ws://{}/socket", server(Manners::RefusesJoins));
    let mut listening = Program::start(&["listen", &url, "t", "--json", "--for", "10s"]);
    let failed = listening.event("join_failed");
    assert_eq!((&failed["topic"], &failed["reason"]), (&"t".into(), &"refused: not you\n".into()), "{failed}");
    assert!(failed["retry_in_ms"].is_u64(), "{failed}");

    let sent = run(&["send", &url, "t", "e"]);
    assert_eq!((sent.code, sent.stdout.as_str()), (Some(1), ""), "{sent:?}");
    assert_eq!(sent.stderr, "error: t was not joined: refused with {\"reason\":\"not you\\n\"}\n");
}

#[test]
fn channels_that_are_closed_for_good_end_the_listening() {
    let url = format!("ws://{}/socket", server(Manners::EndsChannels));
    let ended = run(&["listen", &url, "a", "b", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout.matches(r#""event":"channel_closed""#).count(), 2, "{ended:?}");
    assert!(ended.stdout.trim_end().ends_with(r#","event":"closed"}"#), "{ended:?}");
    assert_eq!(ended.stderr, "error: every channel is closed for good\n");
}

#[test]
fn an_error_reply_or_none_fails_send_with_the_reason() {
    let url = format!("ws://{}/socket", server(Manners::RepliesErrors));
    let sent = run(&["send", &url, "t", "e", "--reply"]);
    assert_eq!(sent.code, Some(1), "{sent:?}");
    assert_eq!(sent.stderr, "error: push 1: the server replied error {\"reason\":\"no\\u0000\"}\n");
    assert!(sent.stdout.contains("sent 1 message to t, 0 replies ok, 1 error in "), "{sent:?}");

    let url = format!("ws://{}/socket", server(Manners::NeverReplies));
    let sent = run(&["send", &url, "t", "e", "--reply", "--timeout", "300ms"]);
    assert_eq!(sent.code, Some(1), "{sent:?}");
    assert_eq!(sent.stderr, "error: push 1: no reply in time\n");
}
