//! Who may come: tokens, web pages, and what is said of those who may not.

use std::io::Read;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::{ask, close_code, hear, upgrade, upgrade_at, upgrade_with};
use crate::program::{Program, run};
use crate::record::Scratch;

const SECRET: &str = "thirty-two bytes, and not a byte";
/// Of the key set, in which it is written in base64.
const LISTED: &str = "listed are thirty-two bytes more";
const KEY_SET: &str = r#"{"keys": [
    {"kty": "oct", "kid": "listed", "alg": "HS256", "k": "bGlzdGVkIGFyZSB0aGlydHktdHdvIGJ5dGVzIG1vcmU"},
    {"kty": "of a type to come"}
]}"#;

/// Ann's token for so many seconds from now on.
fn token(secret: &str, kid: Option<&str>, secs: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("later than 1970");
    let expiry = i64::try_from(now.as_secs()).expect("soon") + secs;
    let header = Header { kid: kid.map(Into::into), ..Header::default() };
    let claims = json!({"sub": "ann", "exp": expiry});
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
}

/// How a request for a socket is answered: the status, and whether nothing follows.
fn knock(address: &str, target: &str, headers: &str) -> u16 {
    let (mut tcp, head) = upgrade_with(address, target, headers);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    if status != 101 {
        let mut body = Vec::new();
        // The server may close with bytes of ours unread, which some systems report.
        let _ = tcp.read_to_end(&mut body);
        assert_eq!(body, b"", "{head}");
    }
    status
}

#[test]
fn a_token_of_the_secret_or_of_the_key_set_opens_the_door_and_no_other_does() {
    let file = Scratch::new("keys.json");
    file.write(KEY_SET);
    let good = [token(SECRET, None, 600), token(LISTED, Some("listed"), 600)];
    let bad = [
        token("another secret of thirty-two byte", None, 600),
        token(SECRET, Some("listed"), 600),
        token(SECRET, None, -5),
        "neither.a.token".into(),
        String::new(),
    ];
    for runtime in ["smol", "tokio"] {
        let options = ["--runtime", runtime, "--jwks", file.path()];
        let (server, address) = Program::serve_with("127.0.0.1:0", &options, &[("REJOIN_JWT_SECRET", SECRET)]);
        let path = "/socket/websocket?vsn=2.0.0";
        for token in &good {
            assert_eq!(knock(&address, &format!("{path}&token={token}"), ""), 101);
            assert_eq!(knock(&address, &format!("{path}&apikey={token}"), ""), 101);
            assert_eq!(knock(&address, path, &format!("X-Api-Key: {token}\r\n")), 101);
            assert_eq!(knock(&address, path, &format!("Authorization: Bearer {token}\r\n")), 101);
            for transport in ["websocket", "longpoll"] {
                let url = format!("ws://{address}/socket");
                let param = format!("token={token}");
                let sent = run(&["send", &url, "t", "e", "--reply", "--transport", transport, "--param", &param]);
                assert_eq!(sent.code, Some(0), "{sent:?}");
            }
        }
        for token in &bad {
            assert_eq!(knock(&address, &format!("{path}&token={token}"), ""), 403, "{token}");
        }
        let polls = ["--transport", "longpoll", "--timeout", "2s", "--param", "token=nonsense"];
        let refused = run(&[&["send", &format!("ws://{address}/socket"), "t", "e"][..], &polls].concat());
        assert!(refused.code == Some(1) && refused.stderr.contains("403"), "{refused:?}");
        assert_eq!(knock(&address, path, ""), 403);

        server.signal("-TERM");
        let ended = server.ended();
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let told = lines.iter().filter(|line| line.starts_with("refused with HTTP 403: ")).count();
        assert!((3..=6).contains(&told), "{ended:?}");
        assert!(lines.last().is_some_and(|last| last.ends_with(" clients were refused")), "{ended:?}");
        let said = ended.stdout + &ended.stderr;
        assert!(!said.contains(SECRET) && good.iter().chain(&bad).all(|token| !said.contains(part(token))), "{said}");
    }
}

/// The claims of a token, or a word that nobody says.
fn part(token: &str) -> &str {
    token.split('.').nth(1).filter(|part| part.len() > 1).unwrap_or("neither.a.token")
}

#[test]
fn a_token_that_expires_closes_with_1008_and_a_new_one_keeps_its_client() {
    for runtime in ["smol", "tokio"] {
        let options = ["--runtime", runtime, "--jwt-secret", SECRET];
        let (_server, address) = Program::serve_with("127.0.0.1:0", &options, &[]);
        let target = format!("/socket/websocket?vsn=2.0.0&token={}", token(SECRET, None, 4));
        let [mut idle, mut careful] = [(); 2].map(|()| {
            let (mut tcp, head) = upgrade(&address, &target);
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            assert_eq!(ask(&mut tcp, r#"["1","1","t","phx_join",{}]"#)["status"], "ok");
            let warning: Value = serde_json::from_slice(&hear(&mut tcp).1).expect("JSON");
            assert_eq!(warning[3], "token_expiring", "{warning}");
            assert!(warning[4]["expires_in"].as_u64().is_some_and(|secs| secs < 4), "{warning}");
            tcp
        });
        let renew = |token: &str| json!(["1", "2", "t", "access_token", {"access_token": token}]).to_string();
        assert_eq!(ask(&mut careful, &renew("nonsense"))["status"], "error");
        assert_eq!(ask(&mut careful, &renew(&token(SECRET, None, 600)))["status"], "ok");
        let told = String::from_utf8(hear(&mut idle).1).expect("text");
        assert_eq!(told, r#"["1","1","t","phx_error",{"reason":"token_expired"}]"#);
        assert_eq!(close_code(&mut idle), 1008);
        // A channel that is joined later is not warned of the old token.
        assert_eq!(ask(&mut careful, r#"["3","3","u","phx_join",{}]"#)["status"], "ok");
        assert_eq!(ask(&mut careful, r#"["1","4","t","ping",7]"#), json!({"status": "ok", "response": 7}));
    }
}

#[test]
fn an_access_token_that_nobody_asks_for_is_not_passed_on() {
    let (_server, address) = Program::serve("127.0.0.1:0", "smol");
    let [mut one, mut other] = [(); 2].map(|()| {
        let mut tcp = super::client(&address);
        assert_eq!(ask(&mut tcp, r#"["1","1","t","phx_join",{}]"#)["status"], "ok");
        tcp
    });
    assert_eq!(ask(&mut one, r#"["1","2","t","access_token",{"access_token":"secret"}]"#)["status"], "ok");
    assert_eq!(ask(&mut one, r#"["1","3","t","shout",{}]"#)["status"], "ok");
    let heard: Value = serde_json::from_slice(&hear(&mut other).1).expect("JSON");
    assert_eq!(heard[3], "shout", "{heard}");
}

#[test]
fn whoever_says_so_lets_everybody_in_everywhere() {
    let (_server, address) = Program::serve_with("0.0.0.0:0", &["--no-auth"], &[]);
    let port = address.strip_prefix("0.0.0.0:").expect("the address that was asked for");
    assert_eq!(knock(&format!("127.0.0.1:{port}"), "/socket/websocket", ""), 101);
    let both = Program::start_with(&["serve", "--no-auth"], &[("REJOIN_JWT_SECRET", SECRET)]).ended();
    assert_eq!(both.code, Some(2), "{both:?}");
    assert!(both.stderr.starts_with("error: --no-auth: there is REJOIN_JWT_SECRET, too; "), "{both:?}");
}

#[test]
fn web_pages_of_other_hosts_come_in_where_they_are_named() {
    let named = ["--origin", "https://app.example.com", "--origin", "//*.example.org"];
    for (options, own, app, org, evil) in
        [(&[][..], 101, 403, 403, 403), (&named[..], 403, 101, 101, 403), (&["--origin", "any"], 101, 101, 101, 101)]
    {
        let (server, address) = Program::serve_with("127.0.0.1:0", options, &[]);
        let from = |origin: &str| knock(&address, "/socket/websocket", &format!("Origin: {origin}\r\n"));
        assert_eq!(from(&format!("http://{address}")), own, "{options:?}");
        assert_eq!(from("https://app.example.com"), app, "{options:?}");
        assert_eq!(from("http://a.example.org:8080"), org, "{options:?}");
        assert_eq!(from("https://evil.example"), evil, "{options:?}");
        assert_eq!(knock(&address, "/socket/websocket", ""), 101, "programs send no origin");
        server.signal("-TERM");
        assert_eq!(server.ended().stderr.contains("(see --origin)"), evil == 403, "{options:?}");
    }
}

/// Whoever owns a name can make it mean 127.0.0.1 once its page is open.
#[test]
fn a_page_whose_name_was_made_to_mean_this_machine_stays_outside() {
    let (_server, address) = Program::serve_with("127.0.0.1:0", &[], &[]);
    for (host, origin, status) in [
        ("evil.example:4000", "http://evil.example:4000", "403"),
        ("localhost:4000", "http://localhost:3000", "101"),
        ("[::1]:4000", "http://[::1]:3000", "101"),
    ] {
        let (_, head) = upgrade_at(&address, host, "/socket/websocket", &format!("Origin: {origin}\r\n"));
        assert_eq!(head.split(' ').nth(1), Some(status), "{origin}");
    }
}

#[test]
fn a_flood_of_refused_clients_is_a_few_lines_and_a_number() {
    let (mut server, address) = Program::serve("127.0.0.1:0", "tokio");
    let started = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(knock(&address, "/elsewhere", ""), 404);
    }
    let seconds = started.elapsed().as_secs() + 2;
    let (mut lines, mut told) = (0, 0);
    while told < 50 {
        let line = server.note();
        lines += 1;
        let more = line.strip_prefix("… and ").and_then(|rest| rest.strip_suffix(" more about refused requests"));
        told += more.map_or(1, |more| more.parse::<u64>().expect("a number"));
    }
    assert!(lines <= seconds * 4, "{lines} lines in {:?}", Duration::from_secs(seconds));
    assert_eq!(told, 50);
}

#[test]
fn whoever_wants_to_see_who_comes_and_goes_says_verbose() {
    let (mut server, address) = Program::serve_with("127.0.0.1:0", &["--verbose"], &[]);
    drop(super::client(&address));
    assert_eq!((server.note(), server.note()), ("#1: connected".into(), "#1: the stream ended".into()));
    let (quiet, address) = Program::serve("127.0.0.1:0", "smol");
    drop(super::client(&address));
    quiet.signal("-TERM");
    assert_eq!(quiet.ended().stderr, "");
}
