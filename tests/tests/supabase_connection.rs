//! The connection of a Supabase client: what is dialled, which losses it survives, how fast its
//! channels come back, and when it is given up for want of channels.

use std::time::Duration;

use rejoin_core::phoenix::{ConnectionState, LossReason};
use rejoin_core::supabase::{
    ChannelConfig, ChannelState, CloseReason, Config, Event, HeartbeatStatus, KeyIn, LogLevel, Session, Trouble,
    UpgradeClass, UpgradeRefusal,
};
use rejoin_core::{Backoff, OpenError, Timestamp, TransportEvent};
use rejoin_sim::{SupabaseScript, supabase_config, token};

const ROOM: &str = "realtime:room";

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn at(s: u64) -> Timestamp {
    Timestamp::ZERO.saturating_add(secs(s))
}

fn in_room(config: Config) -> SupabaseScript {
    SupabaseScript::in_room(config, &ChannelConfig::default()).0
}

fn dialled_at(s: &SupabaseScript) -> Vec<u64> {
    s.dials.iter().map(|(at, _)| at.as_millis() / 1_000).collect()
}

#[test]
fn a_dial_says_who_asks_and_with_which_key() {
    let dialled = |change: fn(&mut Config)| {
        let mut config = Config::new("http://[::1]:4000/socket/?a=1", "a+b/c=&d").unwrap();
        change(&mut config);
        let mut s = SupabaseScript::new(config);
        s.with(Session::connect);
        let request = s.dials.remove(0).1;
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        (request.url, headers.join("; "))
    };
    let client = concat!("x-client-info: rejoin/", env!("CARGO_PKG_VERSION"));
    let base = "ws://[::1]:4000/socket/websocket?a=1";
    let key = "apikey=a%2Bb%2Fc%3D%26d";
    let plain = (format!("{base}&{key}&vsn=2.0.0"), client.to_owned());
    assert_eq!(dialled(|_| {}), plain);
    let logged = format!("{base}&{key}&log_level=warning&vsn=2.0.0");
    assert_eq!(dialled(|config| config.log_level = Some(LogLevel::Warning)), (logged, client.to_owned()));
    let by_header = (format!("{base}&vsn=2.0.0"), format!("{client}; x-api-key: a+b/c=&d"));
    assert_eq!(dialled(|config| config.key_in = KeyIn::Header), by_header);
    let host = |config: &mut Config| config.phoenix.headers.push(("host".into(), "tenant.example".into()));
    assert_eq!(dialled(host), (plain.0, format!("{client}; host: tenant.example")));
}

#[test]
fn a_refused_upgrade_says_what_the_server_said_and_when_it_is_tried_again() {
    // The server sleeps for two seconds before it refuses anybody.
    let late = Duration::from_millis(2_100);
    for (status, body, class, text, seconds) in [
        (401, r#"{"error":"Token has expired"}"#, UpgradeClass::Key, "Token has expired", 10),
        (403, r#"{"error":"Realtime was disabled"}"#, UpgradeClass::Forbidden, "Realtime was disabled", 10),
        (403, "", UpgradeClass::Forbidden, "", 10),
        (404, r#"{"error":"Tenant not found"}"#, UpgradeClass::UnknownProject, "Tenant not found", 10),
        (429, r#"{"error":"Too many connected users"}"#, UpgradeClass::RateLimited, "Too many connected users", 30),
        (431, "", UpgradeClass::Other, "", 1),
        (500, r#"{"error":"Error connecting to Realtime"}"#, UpgradeClass::Server, "Error connecting to Realtime", 1),
    ] {
        let mut s = SupabaseScript::new(supabase_config());
        s.with(Session::connect);
        s.advance(late);
        let error = OpenError::refused(status, None, body);
        s.transport(TransportEvent::OpenFailed { conn: s.conn(), error: error.clone() });
        let refusal = UpgradeRefusal::of(&error).unwrap();
        assert_eq!((refusal.status, refusal.class, refusal.text.as_str()), (status, class, text));
        let retry_at = Some(s.now.saturating_add(secs(seconds)));
        assert_eq!(s.take_events(), [Event::Disconnected { reason: LossReason::Open(error), retry_at }], "{status}");
    }
}

#[test]
fn whatever_code_the_server_closes_with_the_channel_comes_back() {
    for code in [None, Some(1000), Some(1001), Some(1006), Some(1009), Some(1011), Some(1012), Some(3410), Some(4999)] {
        let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
        s.closed(code);
        let events = s.take_events();
        assert!(matches!(events[0], Event::Disconnected { retry_at, .. } if retry_at == Some(at(1))), "{code:?}");
        s.advance(secs(1));
        s.opened();
        s.accept(ROOM);
        assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined), "{code:?}");
    }
}

/// Where the application says so, and nowhere else.
#[test]
fn after_some_ends_nothing_is_dialled_until_somebody_connects() {
    type Ending = (&'static str, fn(&mut Config), fn(&mut SupabaseScript), u64);
    let endings: [Ending; 3] = [
        ("code", |c| c.phoenix.stop_codes = vec![4001], |s| s.closed(Some(4001)), 1),
        ("status", |c| c.phoenix.stop_statuses = vec![403], |s| s.refused(403, None), 1),
        (
            "attempts",
            |c| c.phoenix.max_attempts = Some(3),
            |s| {
                for _ in 0..3 {
                    s.closed(None);
                    s.advance(secs(10));
                }
            },
            3,
        ),
    ];
    for (name, configure, end, attempts) in endings {
        let mut config = supabase_config();
        configure(&mut config);
        let mut s = SupabaseScript::new(config);
        s.with(Session::connect);
        end(&mut s);
        s.advance(secs(3_600));
        let last = s.events.iter().rev().find(|(_, event)| matches!(event, Event::Disconnected { .. })).unwrap();
        assert!(matches!(last.1, Event::Disconnected { retry_at: None, .. }), "{name}: and says so");
        let gave_up = s.events.iter().any(|(_, event)| *event == Event::GaveUp { attempts: 3 });
        assert_eq!((s.dials.len() as u64, gave_up), (attempts, name == "attempts"), "{name}");
        assert_eq!(s.session.state(), ConnectionState::Idle);
        s.with(Session::connect);
        assert_eq!(s.dials.len() as u64, attempts + 1, "{name}");
    }
}

#[test]
fn other_codes_and_statuses_than_the_listed_ones_end_nothing() {
    let mut config = supabase_config();
    (config.phoenix.stop_codes, config.phoenix.stop_statuses) = (vec![4001], vec![403]);
    let mut s = in_room(config);
    s.closed(Some(4002));
    s.advance(secs(1));
    s.refused(401, None);
    s.advance(secs(10));
    assert_eq!(dialled_at(&s), [0, 1, 11]);
}

#[test]
fn a_function_of_the_attempt_sets_the_delays() {
    let mut config = supabase_config();
    config.phoenix.reconnect = Backoff::sampled(|attempt| secs(u64::from(attempt) * 10 + 3));
    let mut s = SupabaseScript::new(config);
    s.with(Session::connect);
    for delay in [3, 13, 23] {
        s.closed(None);
        s.advance(secs(delay));
    }
    assert_eq!(dialled_at(&s), [0, 3, 16, 39]);
}

#[test]
fn only_a_join_or_a_heartbeat_starts_the_delays_again() {
    let mut s = SupabaseScript::new(supabase_config());
    s.subscribe("room", &ChannelConfig::default());
    s.with(Session::connect);
    let flap = |s: &mut SupabaseScript| {
        s.opened();
        s.closed(None);
        let dials = s.dials.len();
        let closed = s.now;
        while s.dials.len() == dials {
            s.advance(secs(1));
        }
        s.now.saturating_since(closed).as_secs()
    };
    assert_eq!([(); 6].map(|()| flap(&mut s)), [1, 2, 4, 8, 10, 10]);
    s.opened();
    s.accept(ROOM);
    s.closed(None);
    s.advance(secs(1));
    assert_eq!(flap(&mut s), 2, "the first step was taken before");
}

#[test]
fn what_arrives_postpones_no_heartbeat() {
    let mut s = in_room(supabase_config());
    for _ in 0..300 {
        s.advance(secs(1));
        s.receive_message(None, None, ROOM, "broadcast", r#"{"event":"e","payload":{},"type":"broadcast"}"#);
    }
    let beats: Vec<_> = s.take_sent().iter().map(|sent| (sent.event().to_owned(), sent.at)).collect();
    let expected: Vec<_> = (1..=12).map(|n| ("heartbeat".to_owned(), at(n * 25))).collect();
    assert_eq!(beats, expected);
}

#[test]
fn the_life_of_a_heartbeat_is_told_in_order() {
    let mut s = SupabaseScript::open(supabase_config());
    s.answers_heartbeats = false;
    let rtt = secs(3);
    for (sent_at, status) in [(25, "ok"), (50, "error")] {
        s.advance(at(sent_at).saturating_since(s.now));
        let beat = s.take_sent().remove(0);
        s.advance(rtt);
        s.answer(&beat, status, "{}");
    }
    // Until the third one, at 75 s, has stayed unanswered for ten.
    s.advance(at(85).saturating_since(s.now));
    assert_eq!(
        s.take_events(),
        [
            Event::Heartbeat(HeartbeatStatus::Sent),
            Event::Heartbeat(HeartbeatStatus::Ok { rtt }),
            Event::Heartbeat(HeartbeatStatus::Sent),
            Event::Heartbeat(HeartbeatStatus::Error { rtt }),
            Event::Heartbeat(HeartbeatStatus::Sent),
            Event::Heartbeat(HeartbeatStatus::TimedOut),
            Event::Disconnected { reason: LossReason::HeartbeatTimeout, retry_at: Some(at(86)) },
        ]
    );
}

#[test]
fn a_probe_finds_a_dead_peer_within_its_deadline() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
    s.answers_heartbeats = false;
    s.with(Session::probe);
    s.with(Session::probe);
    assert_eq!(s.take_sent_names(), ["heartbeat"]);
    s.advance(secs(10));
    let events = s.take_events();
    assert!(matches!(
        events[..],
        [
            Event::Heartbeat(HeartbeatStatus::Sent),
            Event::Heartbeat(HeartbeatStatus::TimedOut),
            Event::Disconnected { reason: LossReason::HeartbeatTimeout, .. },
            Event::ChannelErrored { channel, trouble: Trouble::ConnectionLost, .. },
        ] if channel == room
    ));
    // And ends the waiting for the next attempt.
    s.with(Session::probe);
    assert_eq!(dialled_at(&s), [0, 10]);
}

#[test]
fn a_server_that_restarts_is_dialled_again_and_ends_no_channel() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
    let said = r#"{"extension":"system","status":"ok","message":"Server requested disconnect"}"#;
    s.receive_message(None, None, ROOM, "system", said);
    let events = s.take_events();
    let [Event::System { channel, message }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*channel, message.ok, &message.channel), (room, true, &None));
    s.closed(Some(1012));
    s.advance(secs(1));
    s.opened();
    s.accept(ROOM);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
    assert!(!s.events.iter().any(|(_, event)| matches!(event, Event::ChannelClosed { .. })));
}

/// Lets the server accept each join when it comes, and says when they came.
fn accept_all(s: &mut SupabaseScript, within: Duration) -> Vec<u64> {
    let until = s.now.saturating_add(within);
    let mut joined = Vec::new();
    loop {
        for sent in s.take_sent().iter().filter(|sent| sent.event() == "phx_join") {
            joined.push(sent.at.as_millis());
            s.answer(sent, "ok", "{}");
        }
        match s.deadline() {
            _ if !s.sent.is_empty() => {}
            Some(at) if at <= until => s.jump(at),
            _ => break,
        }
    }
    s.now = until;
    joined
}

fn most_in_a_second(times: &[u64]) -> usize {
    let from = |start: &u64| times.iter().filter(|time| (*start..*start + 1_000).contains(*time)).count();
    times.iter().map(from).max().unwrap_or_default()
}

#[test]
fn many_channels_come_back_at_fifty_a_second() {
    let mut s = SupabaseScript::open(supabase_config());
    let channels: Vec<_> = (0..250).map(|n| s.subscribe(&format!("{n}"), &ChannelConfig::default())).collect();
    let paced = |s: &mut SupabaseScript, from: u64| {
        let times = accept_all(s, secs(20));
        assert_eq!((times.len(), most_in_a_second(&times)), (250, 50));
        assert_eq!(times.last(), Some(&(from + 4_000)), "and no slower than that");
        assert!(channels.iter().all(|id| s.session.channel_state(*id) == Some(ChannelState::Joined)));
    };
    paced(&mut s, 0);
    s.closed(None);
    s.advance(secs(1));
    s.opened();
    paced(&mut s, 21_000);
}

#[test]
fn a_server_that_complains_about_joins_gets_half_as_many_for_a_minute() {
    let mut s = SupabaseScript::open(supabase_config());
    for n in 0..150 {
        s.subscribe(&format!("{n}"), &ChannelConfig::default());
    }
    s.refuse("realtime:0", "ClientJoinRateLimitReached: Too many joins per second");
    s.closed(Some(1001));
    s.advance(secs(1));
    s.take_sent();
    s.opened();
    let times = accept_all(&mut s, secs(28));
    assert_eq!((times.len(), most_in_a_second(&times)), (149, 25), "all but the refused one");
    assert_eq!(accept_all(&mut s, secs(1)).len(), 1, "which waits for half a minute");
    s.advance(secs(60));
    s.closed(None);
    s.advance(secs(1));
    s.opened();
    assert_eq!(most_in_a_second(&accept_all(&mut s, secs(20))), 50);
}

#[test]
fn without_channels_the_connection_goes_after_a_while() {
    for (patience, closes_after) in [(Some(secs(50)), Some(50)), (Some(Duration::ZERO), Some(0)), (None, None)] {
        let mut config = supabase_config();
        assert_eq!(config.disconnect_when_empty, Some(secs(50)));
        config.disconnect_when_empty = patience;
        let (mut s, room) = SupabaseScript::in_room(config, &ChannelConfig::default());
        s.with(|session, now| session.unsubscribe(now, room)).unwrap();
        let leave = s.take_sent().remove(0);
        s.answer(&leave, "ok", "{}");
        s.advance(secs(3_600));
        let closed: Vec<_> = s.ends.iter().filter(|end| end.2 == Some(1000)).map(|end| end.0).collect();
        assert_eq!(closed, Vec::from_iter(closes_after.map(at)));
        // The next channel wants it back.
        s.subscribe("room", &ChannelConfig::default());
        assert_eq!(s.dials.len(), 1 + usize::from(closes_after.is_some()));
    }
}

#[test]
fn a_channel_that_is_refused_for_good_may_be_the_last_one_too() {
    let mut s = SupabaseScript::open(supabase_config());
    s.subscribe("room", &ChannelConfig::default());
    s.refuse(ROOM, "PrivateOnly: This project only allows private channels");
    s.advance(secs(50));
    assert_eq!(s.ends.len(), 1);
}

#[test]
fn a_word_about_the_connection_or_a_channel_keeps_it() {
    type Word = fn(&mut SupabaseScript);
    let subscribe: Word = |s| {
        s.subscribe("other", &ChannelConfig::default());
    };
    let words: [(&str, Word, &[Timestamp]); 3] = [
        ("subscribe", subscribe, &[]),
        ("connect", |s| s.with(Session::connect), &[]),
        ("disconnect", |s| s.with(Session::disconnect), &[at(49), at(54)]),
    ];
    for (name, say, ends) in words {
        let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
        s.with(|session, now| session.unsubscribe(now, room)).unwrap();
        let leave = s.take_sent().remove(0);
        s.answer(&leave, "ok", "{}");
        s.advance(secs(49));
        say(&mut s);
        s.advance(secs(10));
        assert_eq!(s.ends.iter().map(|end| end.0).collect::<Vec<_>>(), ends, "{name}");
    }
}

#[test]
fn a_channel_brings_back_what_sleeps_and_not_what_was_sent_away() {
    for (sent_away, state) in [(false, ConnectionState::Connecting), (true, ConnectionState::Idle)] {
        let mut s = in_room(supabase_config());
        s.with(Session::remove_all);
        if sent_away {
            s.with(Session::disconnect);
        }
        s.subscribe("room", &ChannelConfig::default());
        assert_eq!(s.session.state(), state);
    }
}

#[test]
fn nothing_follows_the_close_frame() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
    s.with(Session::close);
    s.with(|session, now| session.set_auth(now, token(secs(60), 1))).unwrap();
    s.with(|session, now| session.set_channel_auth(now, room, Some(token(secs(60), 2)))).unwrap();
    s.with(Session::probe);
    s.with(|session, now| session.unsubscribe(now, room)).unwrap();
    s.advance(secs(4));
    assert!(s.sent.is_empty(), "{:?}", s.sent);
}

#[test]
fn removing_all_ends_every_channel_once_and_the_connection_at_once() {
    let mut s = SupabaseScript::open(supabase_config());
    let joined = s.subscribe("room", &ChannelConfig::default());
    s.accept(ROOM);
    let joining = s.subscribe("joining", &ChannelConfig::default());
    let errored = s.subscribe("errored", &ChannelConfig::default());
    s.refuse("realtime:errored", "UnknownErrorOnChannel: any");
    s.take_events();
    s.with(Session::remove_all);
    assert_eq!(s.ends, [(s.now, s.conn(), Some(1000))]);
    let events = s.take_events();
    for channel in [joined, joining, errored] {
        let closed = Event::ChannelClosed { channel, reason: CloseReason::Left };
        assert_eq!(events.iter().filter(|event| **event == closed).count(), 1);
    }
    assert_eq!((s.session.channels().count(), s.session.state()), (0, ConnectionState::Idle));
    s.with(Session::remove_all);
    assert_eq!(s.take_events(), []);
}
