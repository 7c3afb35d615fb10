//! `listen` and `send` with `--dialect supabase`, against the scripted Supabase on a real socket.

use std::time::SystemTime;

use rejoin_core::wire::Serializer;
use rejoin_core::{Frame, Payload};
use rejoin_sim::supabase::{Body, Broadcast, PeerConfig, PeerEvent, token};
use serde_json::json;

use crate::program::{Ended, Program};
use crate::realtime::{Realtime, quick};
use crate::record::Scratch;

/// With characters that a URL has to encode, and none of them in the clear in any output.
pub(crate) const KEY: &str = "sb_publishable_/S3CRET+KEY=";

fn with_key<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--dialect", "supabase", "--apikey", KEY]].concat()
}

pub(crate) fn start(arguments: &[&str]) -> Program {
    Program::start(&with_key(arguments))
}

pub(crate) fn run(arguments: &[&str]) -> Ended {
    start(arguments).ended()
}

/// A user's token, good for this many seconds.
pub(crate) fn fresh(secs: u64) -> String {
    token("authenticated", i64::try_from(expiry(secs)).expect("soon"))
}

fn expiry(secs: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("later than 1970");
    now.as_secs() + secs
}

pub(crate) fn failed(ended: &Ended, names: &[&str]) {
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    for name in names {
        assert!(ended.stderr.contains(name), "{name} is not in {ended:?}");
    }
}

fn a_listener_hears_what_is_sent(listener: &str, sender: &str) {
    let project = Realtime::start();
    let url = project.url();
    for (hears, says) in [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")] {
        let listen = ["listen", &url, "room", "other", "--json", "--runtime", listener, "--vsn", hears, "--count", "3"];
        let mut listening = start(&listen);
        listening.event("connected");
        for _ in 0..2 {
            assert_eq!(listening.event("joined")["again"], false);
        }
        let payload = r#"{"big":12345678901234567890.5,"text":"ž\""}"#;
        let send = ["send", &url, "room", "cursor", payload, "--runtime", sender, "--vsn", says, "--count", "3"];
        let sent = run(&send);
        assert_eq!(sent.code, Some(0), "{sent:?}");
        assert!(sent.stdout.starts_with("sent 3 messages to realtime:room in "), "{sent:?}");
        for _ in 0..3 {
            let line = listening.line();
            let expected = r#","event":"broadcast","topic":"realtime:room","name":"cursor","payload":{"big":"#;
            assert!(line.contains(expected), "{line}");
        }
        let rest = listening.ended();
        assert_eq!(rest.code, Some(0), "{rest:?}");
        assert!(rest.stdout.ends_with(",\"event\":\"closed\"}\n"), "{rest:?}");
    }
}

#[test]
fn a_listener_on_smol_hears_what_is_sent_on_tokio() {
    a_listener_hears_what_is_sent("smol", "tokio");
}

#[test]
fn a_listener_on_tokio_hears_what_is_sent_on_smol() {
    a_listener_hears_what_is_sent("tokio", "smol");
}

#[test]
fn bytes_and_metadata_are_printed_and_so_is_what_is_no_json() {
    let project = Realtime::start();
    let mut listening = start(&["listen", &project.url(), "realtime:room", "--json"]);
    listening.event("joined");
    let says = |metadata: Option<&str>, payload: Payload| {
        let metadata = metadata.map(|json| Payload::from_json_text(json).expect("JSON"));
        let body = Body::User { event: "cursor".into(), metadata, payload };
        let broadcast = Broadcast { topic: "realtime:room".into(), private: false, body };
        project.order(move |peer, now| peer.deliver(now, broadcast));
    };
    says(Some(r#"{"id":"7"}"#), Payload::binary(vec![0, 255].into()));
    let line = listening.line();
    let expected = r#""name":"cursor","payload":"AP8=","encoding":"base64","meta":{"id":"7"}}"#;
    assert!(line.ends_with(expected), "{line}");
    let frame = Frame::Text(r#"[null,null,"t","e",{oops}]"#.into());
    let unread = Serializer::V2.decode_from_server(frame).expect("a message, as far as anybody looks");
    says(None, unread.payload);
    let malformed = listening.event("malformed");
    assert_eq!((&malformed["topic"], &malformed["name"]), (&"realtime:room".into(), &"cursor".into()), "{malformed}");
    assert!(malformed["reason"].as_str().is_some_and(|reason| reason.contains("not JSON")), "{malformed}");
}

#[test]
fn an_acknowledged_broadcast_shows_the_servers_word() {
    let project = Realtime::with(PeerConfig { payload_bytes: 100, ..quick() }, |_| {});
    for flag in ["--ack", "--reply"] {
        let sent = run(&["send", &project.url(), "room", "cursor", "[1]", "--count", "2", flag]);
        let expected = "reply ok {}\nreply ok {}\nsent 2 messages to realtime:room, 2 replies ok in ";
        assert!(sent.code == Some(0) && sent.stdout.starts_with(expected), "{sent:?}");
        assert_eq!(project.joined()["config"]["broadcast"]["ack"], true);
    }
    let long = format!("\"{}\"", "x".repeat(200));
    let sent = run(&["send", &project.url(), "room", "cursor", &long, "--ack"]);
    assert!(sent.stdout.starts_with("reply error \"payload_size_exceeded\"\n"), "{sent:?}");
    failed(&sent, &["push 1", "payload_size_exceeded"]);
}

#[test]
fn options_and_variables_say_how_channels_are_joined() {
    let project = Realtime::start();
    let (url, token) = (project.url(), fresh(3600));
    let mut listening =
        start(&["listen", &url, "priv:rw", "--json", "--private", "--self", "--ack", "--token", &token]);
    listening.event("joined");
    let join = project.joined();
    let config = &join["config"];
    assert_eq!((&config["private"], &config["broadcast"]["self"]), (&true.into(), &true.into()), "{config}");
    assert_eq!((&config["broadcast"]["ack"], &join["access_token"]), (&true.into(), &token.as_str().into()));

    let arguments = ["listen", &url, "room", "--json", "--dialect", "supabase"];
    let variables = [("SUPABASE_KEY", KEY), ("SUPABASE_TOKEN", &token)];
    let mut listening = Program::start_with(&arguments, &variables);
    listening.event("joined");
    let join = project.joined();
    assert_eq!((&join["config"]["broadcast"]["ack"], &join["access_token"]), (&false.into(), &token.as_str().into()));

    // Variables that mean nothing to another dialect are not its business.
    let variables = [("SUPABASE_KEY", "two words"), ("SUPABASE_TOKEN", "no token")];
    let ended = Program::start_with(&["listen", "ftp://h", "t"], &variables).ended();
    assert!(ended.stderr.starts_with("error: URL: "), "{ended:?}");
    for (variable, value) in variables {
        let bad = Program::start_with(&arguments, &[("SUPABASE_KEY", KEY), (variable, value)]).ended();
        assert_eq!((bad.code, bad.stderr.lines().count()), (Some(2), 1), "{bad:?}");
        assert!(bad.stderr.starts_with(&format!("error: {variable}: ")) && !bad.stderr.contains(value), "{bad:?}");
    }
}

#[test]
fn a_private_channel_refuses_who_has_no_token() {
    let project = Realtime::start();
    let url = project.url();
    let mut listening = start(&["listen", &url, "priv:rw", "--private", "--json"]);
    let refused = listening.event("join_failed");
    let reason = "Unauthorized: You do not have permissions to read from this Channel topic: priv:rw";
    assert_eq!(refused["reason"], format!("refused: {reason}"), "{refused}");
    assert_eq!((&refused["class"], &refused["retry"]), (&"auth".into(), &"on_token".into()), "{refused}");
    assert_eq!(refused["payload"], json!({ "reason": reason }));
    failed(&listening.ended(), &["another access token", "--token-file"]);

    let human = run(&["listen", &url, "priv:rw", "--private"]);
    let expected =
        format!("join failed realtime:priv:rw: refused: {reason} [auth] (trying again with another token)\n");
    assert!(human.stdout.contains(&expected), "{human:?}");

    let sent = run(&["send", &url, "priv:rw", "e", "--private"]);
    failed(&sent, &["realtime:priv:rw was not joined: refused: ", reason, "--token"]);
    let sent = run(&["send", &url, "priv:rw", "e", "--private", "--ack", "--token", &fresh(3600)]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    // Who may only read is not answered.
    let sent =
        run(&["send", &url, "priv:ro", "e", "--private", "--ack", "--token", &fresh(3600), "--timeout", "500ms"]);
    failed(&sent, &["push 1: no reply in time", "policies"]);
}

#[test]
fn a_join_that_is_refused_for_good_ends_both_commands() {
    let project = Realtime::with(PeerConfig { private_only: true, ..quick() }, |_| {});
    let mut listening = start(&["listen", &project.url(), "a", "b", "--json"]);
    for _ in 0..2 {
        let refused = listening.event("join_failed");
        assert_eq!((&refused["class"], &refused["retry"]), (&"permanent".into(), &"never".into()), "{refused}");
        assert_eq!(listening.event("channel_closed")["topic"], refused["topic"]);
    }
    failed(&listening.ended(), &["every channel is closed for good"]);
    failed(&run(&["send", &project.url(), "a", "e"]), &["This project only allows private channels"]);
}

#[test]
fn a_sender_waits_for_what_passes_soon_and_for_nothing_else() {
    let project = Realtime::with(quick(), |peer| {
        peer.refuse("realtime:a", "RealtimeRestarting: Realtime is restarting, please standby", 1);
        peer.refuse("realtime:b", "ClientJoinRateLimitReached: Too many joins per second", 1);
    });
    let sent = run(&["send", &project.url(), "a", "e"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    failed(&run(&["send", &project.url(), "b", "e"]), &["Too many joins per second", "wait"]);
    failed(&run(&["send", &project.url(), "a", "e", "--timeout", "300ms"]), &["refused: RealtimeRestarting"]);
}

#[test]
fn a_listener_tells_of_the_gap_that_a_lost_connection_left() {
    let project = Realtime::start();
    let before = expiry(0) * 1000;
    for runtime in ["smol", "tokio"] {
        let mut listening = start(&["listen", &project.url(), "room", "--json", "--runtime", runtime]);
        listening.event("joined");
        project.order(rejoin_sim::supabase::SupabasePeer::cut);
        listening.event("disconnected");
        assert_eq!(listening.event("channel_errored")["topic"], "realtime:room");
        assert_eq!(listening.event("joined")["again"], true);
        let gap = listening.event("gap");
        let time = |field: &str| gap[field].as_u64().unwrap_or_else(|| panic!("no {field} in {gap}"));
        assert!(before <= time("since_ms") && time("since_ms") <= time("until_ms"), "{gap}");
        assert_eq!(gap["topic"], "realtime:room");
    }
}

#[test]
fn a_shutdown_for_too_many_messages_says_why_and_when_it_joins_again() {
    let project = Realtime::start();
    let mut listening = start(&["listen", &project.url(), "room", "--json"]);
    let mut reading = start(&["listen", &project.url(), "room"]);
    listening.event("joined");
    assert_eq!((reading.line(), reading.line()), ("connected".into(), "joined realtime:room".into()));
    project.order(|peer, now| peer.shut_down(now, "realtime:room", "Too many messages per second"));
    let system = listening.event("system");
    let said = ["topic", "extension", "status", "message"].map(|field| system[field].as_str().unwrap_or_default());
    assert_eq!(said, ["realtime:room", "system", "error", "Too many messages per second"], "{system}");
    let errored = listening.event("channel_errored");
    assert_eq!(errored["reason"], "closed by the server: Too many messages per second");
    assert!(errored["retry_in_ms"].as_u64().is_some_and(|ms| ms > 25_000), "{errored}");
    assert_eq!(reading.line(), "system realtime:room system: error: Too many messages per second");
    assert!(reading.line().starts_with("channel errored realtime:room: closed by the server: Too many messages"));
}

#[test]
fn a_token_is_read_anew_when_the_server_says_that_it_has_expired() {
    for runtime in ["smol", "tokio"] {
        let project = Realtime::start();
        let file = Scratch::new(&format!("token-{runtime}"));
        let (first, second) = (fresh(3600), fresh(7200));
        file.write(&first);
        let listen = ["listen", &project.url(), "room", "--json", "--runtime", runtime, "--token-file", file.path()];
        let mut listening = start(&listen);
        listening.event("token_refreshed");
        listening.event("joined");
        assert_eq!(project.joined()["access_token"], first.as_str());

        file.write(&(second.clone() + "\n"));
        project.order(|peer, now| peer.shut_down(now, "realtime:room", "Token has expired 0 seconds ago"));
        assert_eq!(listening.event("channel_errored")["retry"], "on_token");
        let refreshed = listening.event("token_refreshed");
        let expires_at = refreshed["expires_at_ms"].as_u64().expect("a time");
        assert!(expires_at.abs_diff(expiry(7200) * 1000) < 60_000, "{refreshed}");
        assert_eq!(listening.event("joined")["again"], true);
        assert_eq!(project.joined()["access_token"], second.as_str());

        // A file that is gone is said to be gone, and asked for again.
        std::fs::remove_file(file.path()).expect("it is there");
        project.order(|peer, now| peer.shut_down(now, "realtime:room", "Token has expired 0 seconds ago"));
        let unavailable = listening.event("token_unavailable");
        assert!(unavailable["reason"].as_str().is_some_and(|reason| reason.contains(file.path())), "{unavailable}");
        assert!(unavailable["retry_in_ms"].is_u64(), "{unavailable}");
        file.write(&fresh(9000));
        listening.event("token_refreshed");
        listening.event("joined");
    }
}

#[test]
fn a_token_of_a_channel_that_ends_is_missed_when_there_is_no_other() {
    let project = Realtime::start();
    let mut listening = start(&["listen", &project.url(), "room", "--json", "--token", &fresh(4)]);
    listening.event("joined");
    listening.event("token_expired");
    failed(&listening.ended(), &["another access token"]);
}

#[test]
fn a_refused_upgrade_shows_status_text_and_advice() {
    let project = Realtime::start();
    let url = project.url();
    project.refuse_upgrades(401, "API key is missing", 1);
    let mut listening = start(&["listen", &url, "room", "--json"]);
    let lost = listening.event("disconnected");
    assert_eq!(lost["reason"], "the server answered HTTP 401: API key is missing", "{lost}");
    assert_eq!(lost["http_status"], 401);
    assert!(lost["advice"].as_str().is_some_and(|advice| advice.contains("check the API key")), "{lost}");
    assert!(lost["retry_in_ms"].is_u64(), "{lost}");

    project.refuse_upgrades(429, "Too many connected users", 1);
    let mut reading = start(&["listen", &url, "room"]);
    let line = reading.line();
    let expected = "disconnected: the server answered HTTP 429: Too many connected users; wait: ";
    assert!(line.starts_with(expected) && line.contains(" (trying again in "), "{line}");

    for (status, text) in [(401, "Token has expired"), (403, ""), (404, "no such project")] {
        project.refuse_upgrades(status, text, 1);
        failed(&run(&["send", &url, "room", "e"]), &[&format!("HTTP {status}"), text, "; check"]);
    }
    project.refuse_upgrades(429, "Too many connected users", 1);
    failed(&run(&["send", &url, "room", "e"]), &["HTTP 429", "; wait"]);
    project.refuse_upgrades(503, "busy", 1);
    let sent = run(&["send", &url, "room", "e"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
}

#[test]
fn no_secret_reaches_an_output_or_a_recording() {
    let project = Realtime::start();
    let (url, token, file) = (project.url(), fresh(3600), Scratch::new("secrets.jsonl"));
    let tokens = Scratch::new("secrets.token");
    tokens.write(&token);
    let mut texts = Vec::new();
    for (format, lifetime) in [(&["--json"][..], 7200), (&[], 9000)] {
        project.refuse_upgrades(503, "busy", 1);
        let arguments = ["listen", &url, "priv:no", "priv:rw", "--private", "--token-file", tokens.path()];
        let listening = start(&[&arguments[..], &["--record", file.path()], format].concat());
        project.sees(|event| matches!(event, PeerEvent::Refused { .. }));
        project.joined();
        tokens.write(&fresh(lifetime));
        project.order(|peer, now| peer.shut_down(now, "realtime:priv:rw", "Token has expired 0 seconds ago"));
        project.joined();
        listening.signal("-TERM");
        let ended = listening.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let explained = Program::start(&["explain", file.path()]).ended();
        assert_eq!(explained.code, Some(0), "{explained:?}");
        texts.extend([ended.stdout, ended.stderr, file.text(), explained.stdout]);
    }
    let sent = run(&["send", &url, "priv:no", "e", "--private", "--token", &token]);
    let variables = [("SUPABASE_KEY", KEY), ("SUPABASE_TOKEN", token.as_str())];
    let help = Program::start_with(&["listen", "--help"], &variables).ended();
    texts.extend([sent.stdout, sent.stderr, help.stdout]);
    let signature = token.rsplit('.').next().expect("three parts");
    for text in &texts {
        for secret in ["S3CRET", token.as_str(), signature] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    assert!(
        texts[2].contains("apikey=<redacted>") && texts[2].contains(r#"\"access_token\":\"<redacted>\""#),
        "{texts:?}"
    );
}
