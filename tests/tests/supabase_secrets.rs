//! Neither the API key nor a token shows in anything that a log may print: not as they are, not as
//! they stand in a URL.

use std::fmt::Debug;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_core::supabase::{
    AccessToken, ApiKey, AuthError, Broadcast, ChannelConfig, Config, KeyIn, Session, TokenFailure,
};
use rejoin_core::{Machine, Payload, TransportAction, TransportEvent};
use rejoin_sim::{SupabaseScript, token};

const KEY: &str = "sb_secret+/k=&e%y";
const KEY_IN_URLS: &str = "sb_secret%2B%2Fk%3D%26e%25y";
const HOUR: Duration = Duration::from_secs(3_600);

fn config(key_in: KeyIn) -> Config {
    let mut config = Config::for_project("https://user:sb_secret+@abc.supabase.co/?token=sb_secret+", KEY).unwrap();
    config.key_in = key_in;
    config.authorization = true;
    config.token_provider = true;
    config.phoenix.auth_token = Some(token(HOUR, 1).expose().into());
    config.access_token = Some(token(HOUR, 1));
    config
}

/// Whatever of the key or of a token could be of use to somebody.
fn secrets() -> Vec<String> {
    let mut secrets = vec!["sb_secret+".to_owned(), KEY.to_owned(), KEY_IN_URLS.to_owned()];
    for generation in 1..=4 {
        let token = token(HOUR, generation);
        // The first part is the same for everybody.
        secrets.extend(token.expose().split('.').skip(1).map(ToOwned::to_owned));
        secrets.push(URL_SAFE_NO_PAD.encode(token.expose()));
    }
    secrets
}

#[track_caller]
fn is_silent(shown: &impl Debug) {
    for shown in [format!("{shown:?}"), format!("{shown:#?}")] {
        for secret in secrets() {
            let at = shown.to_lowercase().find(&secret.to_lowercase());
            assert!(at.is_none(), "{secret} in …{}…", &shown[at.unwrap_or_default().saturating_sub(80)..]);
        }
    }
}

#[test]
fn what_a_session_holds_says_and_asks_for_shows_no_secret() {
    for key_in in [KeyIn::Query, KeyIn::Header] {
        let mut s = SupabaseScript::new(config(key_in));
        let room = s.subscribe("room", &ChannelConfig::default().private());
        // A script shows its session, every dial, frame, event and request.
        type Step = fn(&mut SupabaseScript);
        let steps: [Step; 9] = [
            |s| s.with(Session::connect),
            |s| s.provide(&token(HOUR, 2)),
            SupabaseScript::opened,
            |s| {
                s.refuse(
                    "realtime:room",
                    "Unauthorized: You do not have permissions to read from this Channel topic: room",
                )
            },
            |s| s.provide(&token(HOUR, 3)),
            |s| s.accept("realtime:room"),
            |s| s.with(|session, now| session.set_auth(now, token(HOUR, 4))).unwrap(),
            |s| s.system("realtime:room", "error", "The token provided is not a valid JWT"),
            |s| s.closed(None),
        ];
        is_silent(&s);
        for step in steps {
            step(&mut s);
            is_silent(&s);
        }
        let tokens = s.tokens_sent();
        assert_eq!(tokens.len(), 3, "the secrets were there: {tokens:?}");
        s.with(|session, now| session.set_channel_auth(now, room, Some(token(HOUR, 1)))).unwrap();
        is_silent(&s);
    }
}

#[test]
fn what_goes_to_the_transport_shows_no_secret() {
    let mut config = config(KeyIn::Query);
    (config.authorization, config.token_provider) = (false, false);
    let mut s = SupabaseScript::new(config);
    s.plugged = true;
    s.subscribe("room", &ChannelConfig::default());
    s.with(Session::connect);
    s.with(|session, now| session.set_auth(now, token(HOUR, 2))).unwrap();
    let dial = s.session.poll_transport().unwrap();
    let TransportAction::Open(request) = &dial else { panic!("{dial:?}") };
    assert!(request.url.contains(KEY_IN_URLS));
    let conn = request.conn;
    is_silent(&dial);
    s.transport(TransportEvent::Opened { conn });
    let join = s.session.poll_transport().unwrap();
    let TransportAction::Send { frame, .. } = &join else { panic!("{join:?}") };
    assert!(frame.as_bytes().windows(10).any(|bytes| bytes == &token(HOUR, 2).expose().as_bytes()[40..50]));
    is_silent(&join);
    is_silent(&TransportEvent::Received { conn, frame: frame.clone() });
}

#[test]
fn values_and_errors_about_secrets_show_none() {
    is_silent(&config(KeyIn::Query));
    is_silent(&config(KeyIn::Header));
    is_silent(&ApiKey::new(KEY));
    is_silent(&token(HOUR, 1));
    is_silent(&Broadcast::new("e", Payload::json(token(HOUR, 1).expose()).unwrap()));
    let mistaken = [
        AccessToken::new(token(HOUR, 1).expose().replace('.', " ")).map(drop).unwrap_err().to_string(),
        AccessToken::new(KEY).map(drop).unwrap_err().to_string(),
        ApiKey::new(format!("{KEY} {KEY}")).map(drop).unwrap_err().to_string(),
        Config::new("nowhere?apikey=sb_secret+", KEY).map(drop).unwrap_err().to_string(),
        Config::new("wss://h", &format!("{KEY} {KEY}")).map(drop).unwrap_err().to_string(),
        Config::new(&format!("ftp://{KEY}@h"), KEY).map(drop).unwrap_err().to_string(),
        AuthError::Expired.to_string(),
        TokenFailure::TimedOut.to_string(),
    ];
    is_silent(&mistaken);
}
