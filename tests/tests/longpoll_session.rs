//! A session that may choose its transport: what it dials, when it changes its mind, what it sends there.

use std::time::Duration;

use proptest::prelude::*;
use rejoin_core::phoenix::{Event, LossReason, PushError, PushOutcome, Session, Transport};
use rejoin_core::supabase::{self, Broadcast, ChannelConfig};
use rejoin_core::wire::EncodeError;
use rejoin_core::{
    ConnId, Frame, Machine, OpenError, Payload, Timestamp, TransportAction, TransportEvent, TransportKind,
};
use rejoin_sim::{Script, Scripted, SupabaseScript, config, provider_config, supabase_config};

use TransportKind::{LongPoll, WebSocket};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn by(transport: Transport) -> Script {
    let mut config = config();
    config.transport = transport;
    config.auth_token = Some("good:zoe".into());
    Script::new(config)
}

fn wait_for_dial<M: Machine>(s: &mut Scripted<M>) {
    let dials = s.dials.len();
    while s.dials.len() == dials {
        s.jump(s.deadline().expect("there is a next attempt"));
    }
}

fn changes(script: &mut Script) -> Vec<TransportKind> {
    let events = script.take_events().into_iter();
    events
        .filter_map(|event| if let Event::TransportChanged { transport } = event { Some(transport) } else { None })
        .collect()
}

#[test]
fn a_long_poll_is_dialled_where_it_lives_with_its_token_in_a_header() {
    let mut s = by(Transport::LongPoll);
    s.connect();
    let (_, request) = &s.dials[0];
    assert_eq!((request.transport, s.session.transport()), (LongPoll, LongPoll));
    assert_eq!(request.url, "http://sim/socket/longpoll?vsn=2.0.0");
    assert_eq!(request.headers, [("x-phoenix-authtoken".into(), "good:zoe".into())]);
}

#[test]
fn a_long_poll_has_no_heartbeats_but_a_probe() {
    let mut s = by(Transport::LongPoll);
    s.connect();
    s.opened();
    s.advance(secs(600));
    assert!(s.sent.is_empty() && s.losses().is_empty());
    s.with(Session::probe);
    s.advance(secs(600));
    assert_eq!(s.take_sent_names(), ["heartbeat"]);
}

#[test]
fn three_websockets_in_a_row_that_deliver_nothing_lead_to_long_poll() {
    let mut s = by(Transport::AUTO);
    s.answers_heartbeats = false;
    s.connect();
    assert_eq!(s.dials[0].1.timeout, ms(2_500));
    s.refused(404, None);
    wait_for_dial(&mut s);
    // The second one hangs.
    s.advance(ms(2_500));
    assert_eq!(s.losses().last(), Some(&LossReason::ConnectTimeout));
    wait_for_dial(&mut s);
    assert!(changes(&mut s).is_empty());
    // The third one opens late and is silent.
    s.advance(ms(2_000));
    s.opened();
    assert_eq!(s.take_sent_names(), ["heartbeat"], "a healthy server has something to say");
    s.advance(ms(500));
    assert_eq!(s.losses(), [LossReason::HeartbeatTimeout]);
    assert_eq!(changes(&mut s), [LongPoll]);
    wait_for_dial(&mut s);
    let kinds: Vec<_> = s.dials.iter().map(|(_, request)| request.transport).collect();
    assert_eq!(kinds, [WebSocket, WebSocket, WebSocket, LongPoll]);
    assert_eq!(s.dials[3].1.timeout, secs(10), "only WebSocket has to hurry");
    assert_eq!(s.ends.len(), 2, "{:?}", s.ends);
}

#[test]
fn a_websocket_that_opens_and_dies_without_a_word_counts_too() {
    let mut s = by(Transport::AUTO);
    s.answers_heartbeats = false;
    s.connect();
    for _ in 0..3 {
        s.opened();
        s.closed(Some(1006));
        wait_for_dial(&mut s);
    }
    assert_eq!((s.session.transport(), changes(&mut s)), (LongPoll, vec![LongPoll]));
}

#[test]
fn a_server_that_is_down_drives_nobody_to_long_poll() {
    let mut s = by(Transport::AUTO);
    s.connect();
    s.opened();
    s.closed(Some(1012));
    wait_for_dial(&mut s);
    while s.dials.len() < 5 {
        s.refused(503, None);
        wait_for_dial(&mut s);
    }
    assert_eq!(s.dials[4].1.transport, LongPoll);
    s.refused(503, None);
    assert_eq!(changes(&mut s), [LongPoll, WebSocket]);
}

#[test]
fn what_an_earlier_session_found_out_is_where_the_next_one_begins() {
    let mut config = config();
    (config.transport, config.fallback_memory) = (Transport::AUTO, LongPoll);
    let mut s = Script::new(config);
    s.connect();
    s.opened();
    s.advance(secs(299));
    s.closed(None);
    s.advance(secs(2));
    let kinds: Vec<_> = s.dials.iter().map(|(_, request)| request.transport).collect();
    assert_eq!(kinds, [LongPoll, WebSocket], "five minutes have passed");
    assert_eq!(changes(&mut s), [WebSocket]);
    s.opened();
    assert_eq!(s.session.transport(), WebSocket);
    assert_eq!(s.take_sent_names(), ["heartbeat"]);
}

#[test]
fn giving_up_an_attempt_says_nothing_about_its_transport() {
    let mut s = by(Transport::AUTO);
    s.answers_heartbeats = false;
    for _ in 0..10 {
        s.connect();
        s.opened();
        s.advance(secs(1));
        s.with(Session::disconnect);
        s.closed(Some(1000));
        s.advance(secs(10));
    }
    assert_eq!(s.session.transport(), WebSocket);
    s.connect();
    s.opened();
    s.with(Session::close);
    s.advance(secs(10));
    assert!(s.session.is_finished() && changes(&mut s).is_empty());
}

/// What becomes of one attempt.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Refused(u64),
    Hangs,
    /// Opens after so long, dies so long after that, and is heard in between or not.
    Opens {
        after: u64,
        lives: u64,
        heard: bool,
    },
}

fn fate() -> impl Strategy<Value = Fate> {
    let moment = || prop_oneof![0..100u64, 2_400..2_600u64, 9_900..10_100u64];
    let lives = prop_oneof![0..100u64, 2_400..2_600u64, 280_000..320_000u64];
    prop_oneof![
        2 => moment().prop_map(Fate::Refused),
        1 => Just(Fate::Hangs),
        3 => (moment(), lives, any::<bool>()).prop_map(|(after, lives, heard)| Fate::Opens { after, lives, heard }),
    ]
}

/// The policy in the words of its documentation.
#[derive(Debug)]
struct Model {
    long_poll: bool,
    failures: u32,
    worked: bool,
    trial: bool,
    back_at: u64,
}

impl Model {
    fn dial(&mut self, now: u64) -> TransportKind {
        self.trial = self.long_poll && now >= self.back_at;
        if self.long_poll && !self.trial { LongPoll } else { WebSocket }
    }

    fn ended(&mut self, kind: TransportKind, fate: Fate, now: u64) {
        let in_time = |bound: u64| matches!(fate, Fate::Opens { after, .. } if after < bound);
        match kind {
            WebSocket if in_time(2_500) && matches!(fate, Fate::Opens { heard: true, .. }) => {
                (self.long_poll, self.failures) = (false, 0);
            }
            WebSocket if self.trial => self.back_at = now + 300_000,
            WebSocket => {
                self.failures += 1;
                if self.failures == 3 {
                    (self.long_poll, self.failures, self.worked, self.back_at) = (true, 0, false, now + 300_000);
                }
            }
            LongPoll if in_time(10_000) => self.worked = true,
            LongPoll => self.long_poll = self.worked,
        }
    }
}

/// Lets time pass up to the end of this attempt; whether it is still the present one.
fn pass(s: &mut Script, conn: ConnId, time: Duration) -> bool {
    let until = s.now.saturating_add(time);
    while s.session.connection() == Some(conn) && s.now < until {
        s.jump(s.deadline().map_or(until, |at| at.min(until)));
    }
    s.session.connection() == Some(conn)
}

proptest! {
    #[test]
    fn one_transport_is_active_at_a_time_and_it_is_the_one_of_the_policy(
        fates in proptest::collection::vec(fate(), 1..24)
    ) {
        let mut config = config();
        config.transport = Transport::AUTO;
        config.heartbeat_interval = None;
        let mut s = Script::new(config);
        s.answers_heartbeats = false;
        let mut model =
            Model { long_poll: false, failures: 0, worked: false, trial: false, back_at: 0 };
        let mut gone = Vec::new();
        s.connect();
        for (n, fate) in fates.into_iter().enumerate() {
            let (at, request) = s.dials[n].clone();
            prop_assert_eq!(request.transport, model.dial(at.as_millis()), "attempt {}", n);
            prop_assert_eq!(s.session.transport(), request.transport);
            // Nothing of what came before is left.
            let aborted = |conn| s.ends.iter().any(|(_, end, _)| *end == conn);
            let left = s.dials[..n].iter().filter(|(_, old)| !gone.contains(&old.conn) && !aborted(old.conn)).count();
            prop_assert_eq!(left, 0);

            let conn = request.conn;
            match fate {
                Fate::Refused(after) => {
                    if pass(&mut s, conn, ms(after)) {
                        gone.push(conn);
                    }
                    s.transport(TransportEvent::OpenFailed { conn, error: OpenError::io("no") });
                }
                Fate::Hangs => prop_assert!(!pass(&mut s, conn, secs(10))),
                Fate::Opens { after, lives, heard } => {
                    let ours = pass(&mut s, conn, ms(after));
                    // Late, it is the word of one that was given up.
                    s.transport(TransportEvent::Opened { conn });
                    if ours && heard {
                        s.transport(TransportEvent::Received { conn, frame: Frame::Text("?".into()) });
                    }
                    if pass(&mut s, conn, ms(lives)) {
                        gone.push(conn);
                    }
                    s.transport(TransportEvent::Closed { conn, code: None, reason: "".into() });
                }
            }
            let lost = s.events.iter().rev().find(|(_, event)| matches!(event, Event::Disconnected { .. }));
            let lost = lost.expect("every attempt ends").0;
            model.ended(request.transport, fate, lost.as_millis());
            wait_for_dial(&mut s);
        }
    }
}

#[test]
fn broadcasts_go_as_text_over_long_poll_and_bytes_are_refused_at_the_call() {
    let mut config = supabase_config();
    config.phoenix.transport = Transport::LongPoll;
    assert!(!config.text_broadcasts);
    let (mut s, room) = SupabaseScript::in_room(config, &ChannelConfig::default());
    assert!(s.dials[0].1.url.starts_with("http://sim/socket/longpoll?apikey="));
    s.broadcast(room, "moved");
    let sent = s.take_sent();
    assert_eq!((sent[0].event(), &sent[0].message.user_event), ("broadcast", &None));
    assert_eq!(sent[0].message.payload.as_json(), Some(r#"{"event":"moved","payload":{},"type":"broadcast"}"#));
    let bytes = Broadcast::new("moved", Payload::binary(vec![1, 2].into()));
    let refused = s.with(|session, now| session.broadcast(now, room, bytes));
    assert_eq!(refused, Err(PushError::Encode(EncodeError::BinaryAsText)));
}

#[test]
fn a_broadcast_of_bytes_that_waited_for_what_became_a_long_poll_is_dropped_and_said_to_be() {
    let mut config = supabase_config();
    config.phoenix.transport = Transport::AUTO;
    let mut s = SupabaseScript::new(config);
    s.with(supabase::Session::connect);
    let room = s.subscribe("room", &ChannelConfig::default());
    let mut broadcast = |payload| {
        let broadcast = Broadcast::new("moved", payload).timeout(secs(600));
        s.with(|session, now| session.broadcast(now, room, broadcast)).unwrap()
    };
    let (bytes, json) = (broadcast(Payload::binary(vec![1, 2].into())), broadcast(Payload::EMPTY));
    for _ in 0..3 {
        s.refused(503, None);
        wait_for_dial(&mut s);
    }
    assert_eq!(s.session.transport(), LongPoll);
    assert!(s.events.iter().any(|(_, e)| matches!(e, supabase::Event::TransportChanged { transport: LongPoll })));
    s.opened();
    s.accept("realtime:room");
    let outcome = |push| {
        s.events.iter().find_map(|(_, event)| match event {
            supabase::Event::PushDone { push: done, outcome } if *done == push => Some(outcome.clone()),
            _ => None,
        })
    };
    assert_eq!((outcome(bytes), outcome(json)), (Some(PushOutcome::Dropped), Some(PushOutcome::Sent)));
}

#[test]
fn waiting_for_a_token_is_no_fault_of_the_transport() {
    let mut config = provider_config();
    config.phoenix.transport = Transport::AUTO;
    config.authorization = true;
    let mut s = SupabaseScript::new(config);
    s.with(supabase::Session::connect);
    s.subscribe("room", &ChannelConfig::default());
    s.advance(secs(9));
    assert!(s.dials.is_empty() && s.requests.len() == 1);
    s.advance(secs(1));
    // The provider took too long; now the dial leaves, with its full time.
    assert_eq!(s.dials.len(), 1);
    let dialled = s.dials[0].0;
    let until = dialled.saturating_add(ms(2_500));
    while s.now < until {
        assert!(s.ends.is_empty());
        s.jump(s.deadline().unwrap());
    }
    assert_eq!(s.ends.first().map(|(at, ..)| *at), Some(until));
}

#[test]
fn a_session_that_nobody_polls_changes_its_mind_all_the_same() {
    let mut config = config();
    config.transport = Transport::AUTO;
    let mut session = Session::new(config, Timestamp::ZERO);
    session.connect(Timestamp::ZERO);
    let mut now = Timestamp::ZERO;
    while session.transport() == WebSocket {
        now = session.poll_timeout().unwrap();
        session.handle_timeout(now);
    }
    assert!(now < Timestamp::from_millis(20_000));
    // Only the attempt that still matters is dialled.
    while session.state() != rejoin_core::phoenix::ConnectionState::Connecting {
        now = session.poll_timeout().unwrap();
        session.handle_timeout(now);
    }
    let Some(TransportAction::Open(request)) = session.poll_transport() else { panic!("it dials") };
    assert_eq!((request.transport, session.poll_transport()), (LongPoll, None));
}

#[test]
fn a_long_poll_whose_polls_are_answered_has_proved_to_be_alive() {
    let mut config = config();
    (config.transport, config.max_attempts) = (Transport::LongPoll, Some(2));
    let mut s = Script::new(config);
    s.connect();
    for _ in 0..5 {
        s.opened();
        s.advance(secs(10));
        s.transport(TransportEvent::Alive { conn: s.conn() });
        s.closed(Some(3410));
        let lost = s.now;
        wait_for_dial(&mut s);
        assert_eq!(s.now.saturating_since(lost), secs(1), "the delays start again");
    }
    for _ in 0..2 {
        s.opened();
        s.advance(secs(19));
        s.closed(Some(3410));
        s.advance(secs(5));
    }
    assert!(matches!(s.take_events().last(), Some(Event::GaveUp { attempts: 2 })));
}
