//! The automata as tables, and "exactly one outcome" for any pushes under any answers.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rejoin_core::phoenix::{
    ChannelId, ChannelState, ConnectionState, Event, LossReason, Push, PushId, PushOutcome, TroubleCause,
};
use rejoin_core::{Machine, OpenError, Payload, TransportEvent};
use rejoin_sim::{Climate, Rng, Script, Storm, Timed, config};

const SECS_15: Duration = Duration::from_secs(15);

fn at(state: ConnectionState) -> Script {
    let mut s = Script::new(config());
    s.join("room");
    if state != ConnectionState::Idle {
        s.connect();
    }
    match state {
        ConnectionState::Waiting => s.closed(None),
        ConnectionState::Connected => s.opened(),
        ConnectionState::Closing | ConnectionState::Closed => {
            s.opened();
            s.with(|session, now| session.close(now));
            if state == ConnectionState::Closed {
                s.closed(Some(1000));
            }
        }
        _ => {}
    }
    assert_eq!(s.session.state(), state);
    s.sent.clear();
    s.dials.truncate(s.dials.len());
    s.ends.clear();
    s.events.clear();
    s
}

/// The connection automaton: state, what happens, next state, what the transport is told.
#[test]
fn the_connection_automaton() {
    use ConnectionState::{Closed, Closing, Connected, Connecting, Idle, Waiting};
    type Input = fn(&mut Script);
    let connect: Input = Script::connect;
    let disconnect: Input = |s| s.with(|session, now| session.disconnect(now));
    let reconnect: Input = |s| s.with(|session, now| session.reconnect(now));
    let close: Input = |s| s.with(|session, now| session.close(now));
    let probe: Input = |s| s.with(|session, now| session.probe(now));
    let opened: Input = Script::opened;
    let failed: Input = |s| s.transport(TransportEvent::OpenFailed { conn: s.conn(), error: OpenError::io("no") });
    let ended: Input = |s| s.closed(Some(1000));
    let second: Input = |s| s.advance(Duration::from_secs(1));
    let minute: Input = |s| {
        s.answers_heartbeats = false;
        s.jump(s.deadline().unwrap());
        s.jump(s.deadline().unwrap());
    };
    #[rustfmt::skip]
    let table: &[(ConnectionState, &str, Input, ConnectionState, &str)] = &[
        (Idle,       "connect",           connect,    Connecting, "open"),
        (Idle,       "disconnect",        disconnect, Idle,       ""),
        (Idle,       "reconnect",         reconnect,  Connecting, "open"),
        (Idle,       "probe",             probe,      Idle,       ""),
        (Idle,       "close",             close,      Closed,     ""),
        (Waiting,    "its time",          second,     Connecting, "open"),
        (Waiting,    "connect",           connect,    Connecting, "open"),
        (Waiting,    "probe",             probe,      Connecting, "open"),
        (Waiting,    "disconnect",        disconnect, Idle,       ""),
        (Waiting,    "reconnect",         reconnect,  Connecting, "open"),
        (Waiting,    "late Opened",       opened,     Waiting,    "abort"),
        (Waiting,    "late Closed",       ended,      Waiting,    ""),
        (Waiting,    "close",             close,      Closed,     ""),
        (Connecting, "connect",           connect,    Connecting, ""),
        (Connecting, "Opened",            opened,     Connected,  "join"),
        (Connecting, "OpenFailed",        failed,     Waiting,    ""),
        (Connecting, "Closed",            ended,      Waiting,    ""),
        (Connecting, "timeout",           |s| s.advance(Duration::from_secs(10)), Waiting, "abort"),
        (Connecting, "disconnect",        disconnect, Idle,       "abort"),
        (Connecting, "reconnect",         reconnect,  Connecting, "abort open"),
        (Connecting, "close",             close,      Closed,     "abort"),
        (Connected,  "connect",           connect,    Connected,  ""),
        (Connected,  "Opened again",      opened,     Connected,  ""),
        (Connected,  "Closed, even 1000", ended,      Waiting,    ""),
        (Connected,  "error",             failed,     Waiting,    ""),
        (Connected,  "probe",             probe,      Connected,  "heartbeat"),
        (Connected,  "disconnect",        disconnect, Idle,       "close"),
        (Connected,  "reconnect",         reconnect,  Connecting, "close open"),
        (Connected,  "close",             close,      Closing,    "close"),
        (Closing,    "connect",           connect,    Closing,    ""),
        (Closing,    "disconnect",        disconnect, Closing,    ""),
        (Closing,    "reconnect",         reconnect,  Closing,    ""),
        (Closing,    "close",             close,      Closing,    ""),
        (Closing,    "Closed",            ended,      Closed,     ""),
        (Closing,    "timeout",           |s| s.advance(Duration::from_secs(5)), Closed, "abort"),
        (Closed,     "connect",           connect,    Closed,     ""),
        (Closed,     "disconnect",        disconnect, Closed,     ""),
        (Closed,     "reconnect",         reconnect,  Closed,     ""),
        (Closed,     "late Opened",       opened,     Closed,     "abort"),
        (Closed,     "close",             close,      Closed,     ""),
    ];
    for (from, what, input, to, told) in table {
        let mut s = at(*from);
        if s.dials.is_empty() && *what == "late Opened" {
            continue;
        }
        let dials = s.dials.len();
        input(&mut s);
        let mut said: Vec<&str> = s.ends.iter().map(|(_, _, code)| code.map_or("abort", |_| "close")).collect();
        said.extend(s.dials[dials..].iter().map(|_| "open"));
        said.extend(s.sent.iter().map(|sent| if sent.event() == "phx_join" { "join" } else { sent.event() }));
        assert_eq!((s.session.state(), said.join(" ").as_str()), (*to, *told), "{from:?} on {what}");
    }
    let mut s = at(Connected);
    s.answers_heartbeats = false;
    minute(&mut s);
    // The join is given up first, then the heartbeat goes unanswered.
    s.advance(Duration::from_secs(40));
    assert!(s.losses().contains(&LossReason::HeartbeatTimeout));
}

/// The channel automaton: state, what happens, next state (`None` is gone), what is sent, what is
/// reported. Every channel has joined under join_ref 1.
#[test]
fn the_channel_automaton() {
    use ChannelState::{Errored, Joined, Joining, Leaving};
    type Input = fn(&mut Script, ChannelId);
    let reply = |reference: u64, status: &str| {
        format!(r#"["1","{reference}","room","phx_reply",{{"status":"{status}","response":{{}}}}]"#)
    };
    let (ok, error, left) = (reply(1, "ok"), reply(1, "error"), reply(2, "ok"));
    let (crash, end) = (r#"["1","1","room","phx_error",{}]"#, r#"["1","1","room","phx_close",{}]"#);
    let stale = r#"["9","9","room","phx_close",{}]"#;
    let lost: Input = |s, _| s.closed(None);
    let leave: Input = |s, id| s.leave(id);
    let wait: Input = |s, _| s.advance(SECS_15);
    let told = |text: &str| {
        let text = text.to_owned();
        move |s: &mut Script, _: ChannelId| s.receive(&text)
    };
    let (ok, error, left) = (told(&ok), told(&error), told(&left));
    let (crash, end, stale) = (told(crash), told(end), told(stale));
    type Row<'a> = (ChannelState, &'a str, &'a dyn Fn(&mut Script, ChannelId), Option<ChannelState>, &'a str, &'a str);
    #[rustfmt::skip]
    let table: &[Row<'_>] = &[
        (Joining, "reply ok",         &ok,    Some(Joined),  "",                   "Joined"),
        (Joining, "reply error",      &error, Some(Errored), "",                   "JoinFailed"),
        (Joining, "phx_error",        &crash, Some(Errored), "",                   "JoinFailed"),
        (Joining, "phx_close",        &end,   None,          "",                   "ChannelClosed"),
        (Joining, "another lifetime", &stale, Some(Joining), "",                   ""),
        (Joining, "timeout",          &wait,  Some(Errored), "phx_leave",          "JoinFailed"),
        (Joining, "leave",            &leave, Some(Leaving), "phx_leave",          ""),
        (Joining, "connection lost",  &lost,  Some(Errored), "",                   "ChannelErrored"),
        (Joined,  "phx_error",        &crash, Some(Errored), "",                   "ChannelErrored"),
        (Joined,  "phx_close",        &end,   None,          "",                   "ChannelClosed"),
        (Joined,  "another lifetime", &stale, Some(Joined),  "",                   ""),
        (Joined,  "reply ok again",   &ok,    Some(Joined),  "",                   ""),
        (Joined,  "leave",            &leave, Some(Leaving), "phx_leave",          ""),
        (Joined,  "connection lost",  &lost,  Some(Errored), "",                   "ChannelErrored"),
        (Errored, "late reply ok",    &ok,    Some(Errored), "",                   ""),
        (Errored, "phx_error",        &crash, Some(Errored), "",                   ""),
        (Errored, "phx_close",        &end,   Some(Errored), "",                   ""),
        (Errored, "its time",         &wait,  Some(Joining), "phx_join",           ""),
        (Errored, "leave",            &leave, None,          "",                   "ChannelClosed"),
        (Errored, "connection lost",  &lost,  Some(Errored), "",                   ""),
        (Leaving, "reply to leave",   &left,  None,          "",                   "ChannelClosed"),
        (Leaving, "phx_close",        &end,   None,          "",                   "ChannelClosed"),
        (Leaving, "phx_error",        &crash, None,          "",                   "ChannelClosed"),
        (Leaving, "another lifetime", &stale, Some(Leaving), "",                   ""),
        (Leaving, "timeout",          &wait,  None,          "",                   "ChannelClosed"),
        (Leaving, "leave again",      &leave, Some(Leaving), "",                   ""),
        (Leaving, "connection lost",  &lost,  None,          "",                   "ChannelClosed"),
    ];
    for (from, what, input, to, sent, reported) in table {
        let mut s = Script::open(config());
        let room = s.join("room");
        match from {
            Joined => ok(&mut s, room),
            Errored => error(&mut s, room),
            Leaving => s.leave(room),
            _ => {}
        }
        assert_eq!(s.session.channel_state(room), Some(*from));
        s.sent.clear();
        s.events.clear();
        input(&mut s, room);
        let names: Vec<_> = s.take_sent_names();
        let events: Vec<_> = s
            .take_events()
            .iter()
            .filter(|event| !matches!(event, Event::Disconnected { .. }))
            .map(|event| format!("{event:?}").split([' ', '{']).next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(
            (s.session.channel_state(room), names.join(" ").as_str(), events.join(" ").as_str()),
            (*to, *sent, *reported),
            "{from:?} on {what}"
        );
    }
}

/// What a caller and a server can do about pushes.
#[derive(Clone, Debug)]
enum Step {
    Push { reply: bool, timeout: u64 },
    Answer { back: usize, status: &'static str },
    Cancel { back: usize },
    Wait { ms: u64 },
    Plug(bool),
    Crash,
    Lose,
    Reopen,
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), 1..4_000u64).prop_map(|(reply, timeout)| Step::Push { reply, timeout }),
        4 => (0..6usize, prop_oneof![Just("ok"), Just("error"), Just("odd")])
            .prop_map(|(back, status)| Step::Answer { back, status }),
        2 => (0..8usize).prop_map(|back| Step::Cancel { back }),
        3 => (0..3_000u64).prop_map(|ms| Step::Wait { ms }),
        1 => any::<bool>().prop_map(Step::Plug),
        1 => Just(Step::Crash),
        1 => Just(Step::Lose),
        2 => Just(Step::Reopen),
        1 => Just(Step::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_accepted_push_has_exactly_one_outcome(steps in prop::collection::vec(step(), 1..60)) {
        let mut s = Script::open(config());
        let mut room = s.join("room");
        let mut accepted: Vec<PushId> = Vec::new();
        for step in steps {
            match step {
                Step::Push { reply, timeout } => {
                    let mut push = Push::new("e", Payload::EMPTY).timeout(Duration::from_millis(timeout));
                    push.wants_reply = reply;
                    accepted.extend(s.with(|session, now| session.push(now, room, push)).ok());
                }
                Step::Answer { back, status } => {
                    // Joins are answered as well, and pushes that were answered before.
                    if let Some(sent) = s.sent.iter().rev().nth(back).cloned()
                        && sent.conn == s.conn()
                    {
                        s.answer(&sent, status, "{}");
                    }
                }
                Step::Cancel { back } => {
                    if let Some(push) = accepted.iter().rev().nth(back).copied() {
                        s.with(|session, _| session.cancel(push));
                    }
                }
                Step::Wait { ms } => s.advance(Duration::from_millis(ms)),
                Step::Plug(plugged) => {
                    s.plugged = plugged;
                    s.drain();
                }
                Step::Crash => s.receive(r#"["1","1","room","phx_error",{}]"#),
                Step::Lose => s.closed(None),
                Step::Reopen => {
                    s.connect();
                    if s.session.state() == ConnectionState::Connecting && !s.plugged {
                        s.opened();
                    }
                }
                Step::Leave => {
                    s.leave(room);
                    room = s.join("room");
                }
            }
        }
        s.plugged = false;
        s.drain();
        s.advance(Duration::from_secs(10));
        let mut outcomes: BTreeMap<PushId, Vec<PushOutcome>> = BTreeMap::new();
        for event in s.take_events() {
            if let Event::PushDone { push, outcome } = event {
                outcomes.entry(push).or_default().push(outcome);
            }
        }
        prop_assert!(outcomes.values().all(|all| all.len() == 1), "{outcomes:?}");
        prop_assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), accepted);
        prop_assert_eq!(s.session.open_pushes(), 0);
    }

    /// Storms again, but such that a failing one is made small.
    #[test]
    fn shrinkable_storms_break_no_promise(seed in any::<u64>(), picks in prop::collection::vec(any::<u64>(), 1..60)) {
        let ops = picks.iter().map(|pick| Timed::random(&mut Rng::new(*pick))).collect();
        let storm = Storm { seed, climate: Climate::Lawful, ops };
        if let Err(what) = storm.run() {
            prop_assert!(false, "{what}: {:?}", rejoin_sim::write_trace(&storm));
        }
    }
}

#[test]
fn causes_and_states_say_what_they_are() {
    assert_eq!(TroubleCause::ConnectionLost.to_string(), "the connection was lost");
    assert!(Script::open(config()).session.poll_request().is_none());
}
