//! Who may come in: what the pure upgrade decides, header by header and as recorded servers did.

use proptest::prelude::*;
use rejoin_core::phoenix::{
    Admission, AllowedOrigin, Decision, OriginPolicy, RequestHead, ResponseHead, TokenSource, Upgrade, UpgradeConfig,
};
use rejoin_core::wire::Serializer;
use rejoin_sim::fuzz;
use rejoin_sim::replay::recordings;

const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
const VERSION: (&str, &str) = ("Sec-WebSocket-Version", "13");
const CONNECTION: (&str, &str) = ("Connection", "keep-alive, Upgrade");
const WEBSOCKET: (&str, &str) = ("Upgrade", "WebSocket");
const HANDSHAKE: [(&str, &str); 4] = [CONNECTION, WEBSOCKET, VERSION, KEY];

/// What a good handshake with these headers and this query gets.
fn decide(config: &UpgradeConfig, query: &str, headers: &[(&str, &str)]) -> Decision {
    let target = format!("/socket/websocket{query}");
    let headers = HANDSHAKE.iter().chain(headers).copied();
    config.decide(&RequestHead::new("GET", &target, headers))
}

fn status(decision: &Decision) -> u16 {
    match decision {
        Decision::Accept(upgrade) => upgrade.response.status,
        Decision::Refuse(head) => head.status,
    }
}

fn accepted(decision: Decision) -> Upgrade {
    match decision {
        Decision::Accept(upgrade) => upgrade,
        other => panic!("{other:?}"),
    }
}

fn refused(decision: Decision) -> ResponseHead {
    match decision {
        Decision::Refuse(head) => head,
        other => panic!("{other:?}"),
    }
}

fn header<'h>(head: &'h ResponseHead, name: &str) -> Option<&'h str> {
    head.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_good_handshake_is_answered_as_the_rfc_says() {
    let upgrade = accepted(decide(&UpgradeConfig::default(), "", &[]));
    assert_eq!(upgrade.response.status, 101);
    // The example of RFC 6455, section 1.3.
    assert_eq!(header(&upgrade.response, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(header(&upgrade.response, "connection"), Some("upgrade"));
    assert_eq!(header(&upgrade.response, "upgrade"), Some("websocket"));
    assert_eq!(upgrade.response.headers.len(), 3);
    assert_eq!((upgrade.subprotocol, upgrade.admission.token), (None, None));
}

#[test]
fn what_is_no_handshake_is_told_what_is_wrong_with_it_first() {
    let bad_origin = ("origin", "http://elsewhere");
    let short = ("sec-websocket-key", "c2hvcnQ=");
    let garbage = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=!");
    let old = ("sec-websocket-version", "8");
    let allow = Some(("allow", "GET"));
    let switch = Some(("upgrade", "websocket"));
    let version = Some(("sec-websocket-version", "13"));
    for (method, headers, status, says) in [
        ("POST", &[][..], 405, allow),
        ("HEAD", &[CONNECTION, WEBSOCKET, VERSION, KEY], 405, allow),
        ("get", &[CONNECTION, WEBSOCKET, VERSION, KEY], 405, allow),
        ("GET", &[], 426, switch),
        ("GET", &[bad_origin, old, short], 426, switch),
        ("GET", &[CONNECTION, VERSION, KEY], 426, switch),
        ("GET", &[WEBSOCKET, VERSION, KEY], 426, switch),
        ("GET", &[CONNECTION, ("upgrade", "h2c"), VERSION, KEY], 426, switch),
        ("GET", &[CONNECTION, WEBSOCKET, KEY], 426, version),
        ("GET", &[CONNECTION, WEBSOCKET, old, short, bad_origin], 426, version),
        ("GET", &[CONNECTION, WEBSOCKET, VERSION, VERSION, KEY], 426, version),
        ("GET", &[CONNECTION, WEBSOCKET, VERSION], 400, None),
        ("GET", &[CONNECTION, WEBSOCKET, VERSION, short, bad_origin], 400, None),
        ("GET", &[CONNECTION, WEBSOCKET, VERSION, garbage], 400, None),
        ("GET", &[CONNECTION, WEBSOCKET, VERSION, KEY, KEY], 400, None),
        ("GET", &[CONNECTION, WEBSOCKET, VERSION, KEY, bad_origin], 403, None),
    ] {
        let request = RequestHead::new(method, "/socket/websocket?vsn=9&%", headers.iter().copied());
        let head = refused(UpgradeConfig::default().decide(&request));
        assert_eq!(head.status, status, "{method} {headers:?}");
        let told = says.is_none_or(|(name, value)| header(&head, name) == Some(value));
        assert!(told && (says.is_some() || head.headers.is_empty()), "{head:?}");
    }
}

#[test]
fn lists_may_be_spread_over_several_headers() {
    let headers = [
        ("connection", "keep-alive"),
        ("connection", "te,upgrade"),
        ("upgrade", "h2c"),
        ("upgrade", " websocket "),
        VERSION,
        KEY,
        ("sec-websocket-protocol", "other"),
        ("sec-websocket-protocol", "phoenix"),
    ];
    let request = RequestHead::new("GET", "/", headers);
    let upgrade = accepted(UpgradeConfig::default().decide(&request));
    assert_eq!(upgrade.subprotocol.as_deref(), Some("phoenix"));
    assert_eq!(header(&upgrade.response, "sec-websocket-protocol"), Some("phoenix"));
}

#[test]
fn only_the_subprotocol_phoenix_is_echoed() {
    for (offered, chosen) in
        [("phoenix", true), ("a, phoenix,b", true), ("Phoenix", false), ("phoenix2", false), ("", false)]
    {
        let upgrade = accepted(decide(&UpgradeConfig::default(), "", &[("sec-websocket-protocol", offered)]));
        assert_eq!(header(&upgrade.response, "sec-websocket-protocol"), chosen.then_some("phoenix"), "{offered}");
        assert_eq!(upgrade.subprotocol.is_some(), chosen);
    }
}

#[test]
fn pages_of_the_same_host_and_port_may_come_in() {
    for (origin, host, allowed) in [
        ("http://h:4000", "h:4000", true),
        ("https://Example.COM", "example.com", true),
        ("https://h", "h:443", true),
        ("http://h:80", "h", true),
        ("http://h", "h:80", true),
        ("http://[::1]:4000", "[::1]:4000", true),
        ("http://[::1]", "[::1]", true),
        ("http://h:4001", "h:4000", false),
        ("http://h", "h:443", false),
        ("https://h", "h:80", false),
        ("https://a.h", "h", false),
        ("https://h", "a.h", false),
        ("app://h", "h", false),
        ("null", "h", false),
        ("null", "null", false),
        ("", "h", false),
        ("h", "h", false),
        ("//h", "h", false),
        ("https://h/", "h", false),
        ("https://u@h", "h", false),
        ("https://h", "u@h", false),
        ("https://h:", "h", false),
        ("https://h:+443", "h", false),
        ("https://h:99999", "h", false),
        ("https://[::1", "[::1", false),
        ("https://", "", false),
        ("https://h https://h", "h", false),
    ] {
        let decision = decide(&UpgradeConfig::default(), "", &[("Origin", origin), ("Host", host)]);
        assert_eq!(status(&decision), if allowed { 101 } else { 403 }, "{origin} at {host}");
    }
    let twice = [("origin", "http://h"), ("origin", "http://h"), ("host", "h")];
    assert_eq!(refused(decide(&UpgradeConfig::default(), "", &twice)), ResponseHead::forbidden());
    let hosts = [("origin", "http://h"), ("host", "h"), ("host", "h")];
    assert_eq!(status(&decide(&UpgradeConfig::default(), "", &hosts)), 403);
    assert_eq!(status(&decide(&UpgradeConfig::default(), "", &[("origin", "http://h")])), 403, "whose host?");
    assert_eq!(status(&decide(&UpgradeConfig::default(), "", &hosts[1..])), 101, "no page asks");
}

#[test]
fn pages_of_listed_origins_may_come_in() {
    let mut config = UpgradeConfig::default();
    let list = ["https://example.com", "//another.org:888", "//other.org", "//*.wild.org", "app://localhost"];
    config.origin = OriginPolicy::List(list.map(|entry| entry.parse::<AllowedOrigin>().unwrap()).into());
    for (origin, allowed) in [
        ("https://example.com", true),
        ("https://EXAMPLE.com:443", true),
        ("http://example.com", false),
        ("https://example.com:8443", false),
        ("https://another.org:888", true),
        ("https://another.org", false),
        ("http://other.org:1234", true),
        ("https://a.wild.org", true),
        ("http://a.b.WILD.org:8080", true),
        ("https://wild.org", false),
        ("https://evilwild.org", false),
        ("https://ž.wild.org", false),
        ("app://localhost", true),
        ("https://localhost", false),
        ("null", false),
    ] {
        let decision = decide(&config, "", &[("origin", origin), ("host", "localhost")]);
        assert_eq!(status(&decision), if allowed { 101 } else { 403 }, "{origin}");
    }
    config.origin = OriginPolicy::Any;
    assert_eq!(status(&decide(&config, "", &[("origin", "null"), ("origin", "?")])), 101);
}

#[test]
fn what_is_no_origin_is_said_to_be_none() {
    for (entry, shown) in [("HTTPS://h:443", "HTTPS://h"), ("//*.h:1", "//*.h:1"), ("//[::1]", "//[::1]")] {
        assert_eq!(entry.parse::<AllowedOrigin>().unwrap().to_string(), shown);
    }
    for entry in
        ["", "h", "//", "//.", "//*", "//*.", "https:", "https//h", "https://h/", "//h:0x", "//u@h", "*", "ž://h"]
    {
        let error = entry.parse::<AllowedOrigin>().expect_err(entry);
        assert_eq!(
            error.to_string(),
            "an origin is written https://HOST, //HOST or //*.HOST, with :PORT where it matters"
        );
    }
}

#[test]
fn the_first_token_that_is_not_empty_counts() {
    let phoenix = ("sec-websocket-protocol", "phoenix, base64url.bearer.phx.Z29vZDp6b2U");
    for (query, headers, token) in [
        ("?token=a", &[][..], Some("a")),
        ("?apikey=a", &[], Some("a")),
        ("?apikey=b&token=a", &[], Some("a")),
        ("?token=&apikey=b", &[], Some("b")),
        ("?token&apikey=b", &[], Some("b")),
        ("?token=a&token=b", &[], Some("b")),
        ("?token=a&token=", &[], None),
        ("?t%6Fken=a%2Fb+c%C5%BE", &[], Some("a/b cž")),
        ("", &[("X-Api-Key", " k ")], Some("k")),
        ("?apikey=b", &[("x-api-key", "k")], Some("b")),
        ("", &[("x-api-key", ""), ("authorization", "Bearer t")], Some("t")),
        ("", &[("authorization", "bearer  t")], Some("t")),
        ("", &[("authorization", "Bearer")], None),
        ("", &[("authorization", "Basic dTpw")], None),
        ("?token=a", &[phoenix, ("x-api-key", "k")], Some("good:zoe")),
        ("?token=a", &[("sec-websocket-protocol", "base64url.bearer.phx.")], Some("a")),
        ("", &[("sec-websocket-protocol", "base64url.bearer.phx.fn5+"), phoenix], Some("~~~")),
        ("", &[("sec-websocket-protocol", "base64url.bearer.phx.fn5-")], Some("~~~")),
        ("", &[("sec-websocket-protocol", "base64url.bearer.phx.YQ==")], Some("a")),
        ("", &[("x-phoenix-authtoken", "t")], None),
        ("", &[], None),
    ] {
        let upgrade = accepted(decide(&UpgradeConfig::default(), query, headers));
        assert_eq!(upgrade.admission.token.as_ref().map(|token| token.expose()), token, "{query} {headers:?}");
        let mut config = UpgradeConfig::default();
        config.token_required = true;
        let expected = if token.is_some() { 101 } else { 403 };
        assert_eq!(status(&decide(&config, query, headers)), expected, "{query} {headers:?}");
    }
}

#[test]
fn a_token_that_cannot_be_read_is_not_passed_over() {
    for headers in [
        &[("sec-websocket-protocol", "phoenix,base64url.bearer.phx.!!!")][..],
        &[("sec-websocket-protocol", "base64url.bearer.phx./w")],
        &[("x-api-key", "a"), ("x-api-key", "b")],
        &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
    ] {
        assert_eq!(refused(decide(&UpgradeConfig::default(), "?token=", headers)), ResponseHead::forbidden());
    }
    let bytes: [(&str, &[u8]); 5] = [
        ("connection", b"upgrade"),
        ("upgrade", b"websocket"),
        ("sec-websocket-version", b"13"),
        ("sec-websocket-key", KEY.1.as_bytes()),
        ("x-api-key", b"\xff"),
    ];
    let request = RequestHead::new("GET", "/", bytes);
    assert_eq!(refused(UpgradeConfig::default().decide(&request)), ResponseHead::forbidden());
}

#[test]
fn a_host_says_where_tokens_are() {
    let mut config = UpgradeConfig::default();
    config.token_sources = vec![TokenSource::Header("X-Session".into()), TokenSource::Query("jwt".into())];
    let token = |query: &str, headers: &[(&str, &str)]| {
        accepted(decide(&config, query, headers)).admission.token.map(|token| token.expose().to_owned())
    };
    assert_eq!(token("?jwt=q&token=t", &[]).as_deref(), Some("q"));
    assert_eq!(token("?jwt=q", &[("x-session", "s")]).as_deref(), Some("s"));
    assert_eq!(token("?token=t", &[("authorization", "Bearer t")]), None);
}

#[test]
fn parameters_are_decoded_and_a_query_that_is_none_is_refused() {
    let Admission { serializer, params, .. } =
        accepted(decide(&UpgradeConfig::default(), "?vsn=2.0.0&a=1&&b&a=%32+3&=x&c=d=e?", &[])).admission;
    assert_eq!(serializer, Serializer::V2);
    let pairs: Vec<_> = params.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    assert_eq!(pairs, ["vsn:2.0.0", "a:1", "b:", "a:2 3", ":x", "c:d=e?"]);
    assert_eq!(params.get("a").as_deref(), Some("2 3"));
    assert_eq!(params.get("z"), None);
    for query in ["?%", "?a=%4", "?a=%zz", "?a=%ff", "?%C5=1", "?vsn=2.0.0&token=%"] {
        assert_eq!(status(&decide(&UpgradeConfig::default(), query, &[])), 400, "{query}");
    }
    for query in ["?vsn=", "?vsn", "?vsn=3.0.0", "?vsn=2.0.0&vsn=x"] {
        assert_eq!(refused(decide(&UpgradeConfig::default(), query, &[])), ResponseHead::forbidden(), "{query}");
    }
}

#[test]
fn long_polls_are_let_in_by_the_same_rules_without_a_handshake() {
    let admit = |query: &str, headers: &[(&'static str, &'static str)]| {
        let target = format!("/socket/longpoll{query}");
        UpgradeConfig::default().admit(&RequestHead::new("GET", &target, headers.iter().copied()))
    };
    let admission = admit("?vsn=2.0.0&token=gone", &[("X-Phoenix-AuthToken", "good:zoe")]).unwrap();
    assert_eq!(admission.serializer, Serializer::V2);
    assert_eq!(admission.token.unwrap().expose(), "good:zoe");
    assert_eq!(admit("?apikey=a", &[("origin", "http://h"), ("host", "h")]).unwrap().token.unwrap().expose(), "a");
    let subprotocol = [("sec-websocket-protocol", "base64url.bearer.phx.Z29vZDp6b2U")];
    assert_eq!(admit("", &subprotocol).unwrap().token, None);

    let said = |refused: Result<Admission, rejoin_core::phoenix::LongPollResponse>| {
        let response = refused.unwrap_err();
        (response.status, String::from_utf8(response.body.to_vec()).unwrap())
    };
    let forbidden = (200, r#"{"status":403}"#.to_owned());
    assert_eq!(said(admit("?vsn=9.0.0", &[])), forbidden);
    assert_eq!(said(admit("", &[("origin", "http://elsewhere"), ("host", "h")])), forbidden);
    assert_eq!(said(admit("", &[("x-phoenix-authtoken", "a"), ("x-phoenix-authtoken", "b")])), forbidden);
    assert_eq!(said(admit("?%", &[])), (400, String::new()));
}

#[test]
fn recorded_clients_are_let_in_or_refused_as_they_were() {
    let mut compared = 0;
    for (name, rows) in recordings("phoenix") {
        for (n, row) in rows.iter().enumerate().filter(|(_, row)| row.kind == "upgrade") {
            let answer = rows[n..].iter().find(|later| later.conn == row.conn && later.status.is_some());
            // The server was down.
            let Some(answer) = answer else { continue };
            // The path is the host's business, and so is what it answers to a token that can be read.
            if answer.status == Some(404) || ["connect_refused", "connect_refused_reason"].contains(&name.as_str()) {
                continue;
            }
            let headers = row.rest["headers"].as_object().unwrap().iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
            // Which the recorder has left out.
            let headers: Vec<_> = headers.chain([CONNECTION, WEBSOCKET, KEY]).collect();
            let request = RequestHead::new("GET", row.path.as_deref().unwrap(), headers);
            let mut config = UpgradeConfig::default();
            config.token_required = name == "auth_token_ws_bad";
            let decision = config.decide(&request);
            let token = match &decision {
                Decision::Accept(upgrade) => upgrade.admission.token.as_ref().map(|token| token.expose()),
                _ => None,
            };
            let expected = match answer.status {
                // The recorded application refuses this one after it was read.
                Some(403) if token == Some("nope") => 101,
                // Phoenix stumbles over a token that is no base64.
                Some(500) => 403,
                other => other.unwrap(),
            };
            assert_eq!(status(&decision), expected, "{name}: {:?}", row.path);
            if let (Decision::Accept(upgrade), Some(101)) = (&decision, answer.status) {
                let recorded = answer.rest["headers"].get("sec-websocket-protocol").and_then(|value| value.as_str());
                assert_eq!(header(&upgrade.response, "sec-websocket-protocol"), recorded, "{name}");
            }
            compared += 1;
        }
    }
    assert!(compared >= 40, "{compared}");
}

/// Heads of which many are nearly right.
fn heads() -> impl Strategy<Value = String> {
    let method = prop_oneof![8 => Just("GET"), 1 => Just("POST"), 1 => Just("")];
    let pair = prop_oneof![
        Just("vsn=2.0.0"),
        Just("vsn=1.0.0"),
        Just("vsn=9"),
        Just("token=$"),
        Just("token="),
        Just("apikey=a%2B$"),
        Just("%74oken=$"),
        Just("$"),
        Just("a=%"),
        Just("b=%ff"),
        Just("ž=+"),
        Just(""),
    ];
    let lawful = HANDSHAKE.map(|(name, value)| {
        let line = format!("{name}: {value}");
        prop_oneof![12 => Just(line.clone()), 1 => Just(format!("{line}\n{line}")), 1 => Just(String::new())]
    });
    let other = prop_oneof![
        Just("host: h"),
        Just("host: h:4000"),
        Just("origin: http://h"),
        Just("origin: http://h:4000"),
        Just("origin: null"),
        Just("origin: https://$"),
        Just("authorization: Bearer $"),
        Just("authorization: $"),
        Just("x-api-key: $"),
        Just("X-Phoenix-AuthToken: $"),
        Just("sec-websocket-protocol: phoenix, base64url.bearer.phx.$"),
        Just("sec-websocket-protocol: base64url.bearer.phx.$!"),
        Just("cookie: $"),
        Just("upgrade: h2c"),
    ];
    let (query, others) = (prop::collection::vec(pair, 0..4), prop::collection::vec(other, 0..5));
    (prop::sample::select(vec!['0', '1', '2', '3', '4', '5']), method, query, lawful, others).prop_map(
        |(choice, method, query, lawful, others)| {
            let head = format!("{choice}{method} /socket/websocket?{}\n", query.join("&"));
            head + &lawful.join("\n") + "\n" + &others.join("\n")
        },
    )
}

proptest! {
    #[test]
    fn any_head_gets_a_decision_and_shows_no_credential(head in heads()) {
        fuzz::upgrade(head.as_bytes());
    }
}
