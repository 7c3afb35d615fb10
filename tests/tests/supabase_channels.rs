//! The channels of a Supabase client: what they are joined with, how they come back, and what is
//! said of the time in between.

use std::time::Duration;

use rejoin_core::phoenix::{ChannelId, ConnectionState, JoinError, Push, PushOutcome};
use rejoin_core::supabase::{
    ChannelConfig, ChannelState, CloseReason, ConfigError, Event, PostgresBinding, PostgresEvent, Replay, Retry,
    Session, SubscribeError, TopicError, Trouble, UnixMillis,
};
use rejoin_core::wire::Serializer;
use rejoin_core::{Payload, Timestamp, TransportEvent};
use rejoin_sim::{SupabaseScript, supabase_config, token};

const ROOM: &str = "realtime:room";
const HOUR: Duration = Duration::from_secs(3_600);

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn at(s: u64) -> Timestamp {
    Timestamp::ZERO.saturating_add(secs(s))
}

fn in_room() -> (SupabaseScript, ChannelId) {
    SupabaseScript::in_room(supabase_config(), &ChannelConfig::default())
}

/// Takes the connection away, and after a second there is another one.
fn lose_connection(s: &mut SupabaseScript) {
    s.closed(None);
    s.advance(secs(1));
    s.opened();
}

#[test]
fn a_crash_and_a_lost_channel_are_mended_by_one_join() {
    for (event, trouble) in [("phx_error", Trouble::Crashed), ("unmatched topic", Trouble::Forgotten)] {
        let (mut s, room) = in_room();
        if event == "phx_error" {
            s.end(ROOM, event);
        } else {
            let track = Push::new("presence", Payload::EMPTY);
            s.with(|session, now| session.push(now, room, track)).unwrap();
            let reference = s.take_sent().remove(0).reference().to_owned();
            let reply = r#"{"status":"error","response":{"reason":"unmatched topic"}}"#;
            for _ in 0..2 {
                s.receive_message(None, Some(&reference), ROOM, "phx_reply", reply);
            }
        }
        let retry = Retry::At(at(1));
        assert_eq!(s.take_events().last(), Some(&Event::ChannelErrored { channel: room, trouble, retry }));
        s.advance(secs(1));
        assert_eq!(s.joins(ROOM).len(), 1);
        s.accept(ROOM);
        s.advance(secs(20));
        assert_eq!(s.joins(ROOM).len(), 1);
        assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
    }
}

#[test]
fn a_join_says_all_that_was_configured_and_a_rejoin_all_but_the_token_again() {
    let todos = PostgresBinding::new(PostgresEvent::Insert).table("todos").filter("id=eq.7");
    let channel = ChannelConfig::default()
        .private()
        .broadcast_ack()
        .broadcast_self()
        // Ten past two on a January night of 2027, in milliseconds.
        .replay(Replay::since(UnixMillis::from_secs(1_800_000_600)).limit(5))
        .presence("me")
        .postgres_changes(todos);
    let expected = concat!(
        r#"{"config":{"broadcast":{"ack":true,"self":true,"replay":{"since":1800000600000,"limit":5}},"#,
        r#""presence":{"key":"me","enabled":true},"#,
        r#""postgres_changes":[{"event":"INSERT","schema":"public","table":"todos","filter":"id=eq.7"}],"#,
        r#""private":true},"access_token":"TOKEN"}"#,
    );
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut config = supabase_config();
        config.phoenix.serializer = serializer;
        config.access_token = Some(token(HOUR, 1));
        let mut s = SupabaseScript::open(config);
        s.subscribe("room", &channel);
        s.accept(ROOM);
        s.with(|session, now| session.set_auth(now, token(HOUR, 2))).unwrap();
        lose_connection(&mut s);
        let joins = s.joins(ROOM);
        for (join, generation) in joins.iter().zip([1, 2]) {
            let payload = join.message.payload.as_json().unwrap();
            assert_eq!(payload, expected.replace("TOKEN", token(HOUR, generation).expose()));
        }
        assert_eq!((joins.len(), joins[1].reference()), (2, joins[1].join_ref()));
    }
}

#[test]
fn a_join_made_offline_waits_without_a_timer_and_leaves_once() {
    let mut s = SupabaseScript::new(supabase_config());
    let room = s.subscribe("room", &ChannelConfig::default());
    s.advance(secs(60));
    s.with(Session::connect);
    for _ in 0..3 {
        s.closed(None);
        s.advance(secs(10));
    }
    s.opened();
    assert_eq!(s.take_sent_names(), ["phx_join"]);
    assert!(!s.events.iter().any(|(_, event)| matches!(event, Event::SubscribeFailed { .. })));
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joining));
}

/// Every state that a channel can be in when the connection goes: afterwards one join for each that
/// is wanted and may be joined.
#[test]
fn after_a_loss_every_wanted_channel_is_joined_once_and_no_other() {
    type Loss = fn(&mut SupabaseScript);
    let losses: [Loss; 3] = [|s| s.closed(None), |s| s.closed(Some(1001)), |s| s.with(Session::reconnect)];
    for lose in losses {
        let mut config = supabase_config();
        config.phoenix.limits.joins_in_flight = 10;
        let mut s = SupabaseScript::open(config);
        let [joined, leaving, errored, busy, awaiting, removed, joining] =
            ["joined", "leaving", "errored", "busy", "awaiting", "removed", "joining"]
                .map(|name| s.subscribe(name, &ChannelConfig::default()));
        for topic in ["realtime:joined", "realtime:leaving"] {
            s.accept(topic);
        }
        s.with(|session, now| session.unsubscribe(now, leaving)).unwrap();
        s.refuse("realtime:errored", "Unknown Error on Channel");
        s.refuse("realtime:busy", "ChannelRateLimitReached: Too many channels");
        s.refuse("realtime:awaiting", "Unauthorized: You do not have permissions to read from this Channel topic: a");
        let states = [joined, leaving, errored, busy, awaiting, joining].map(|id| s.session.channel_state(id).unwrap());
        let expected = {
            use ChannelState::{AwaitingToken, Errored, Joined, Joining, Leaving};
            [Joined, Leaving, Errored, Errored, AwaitingToken, Joining]
        };
        assert_eq!(states, expected);
        lose(&mut s);
        s.with(|session, now| session.unsubscribe(now, removed)).unwrap();
        s.take_sent();
        s.advance(secs(1));
        s.opened();
        let sent = |s: &mut SupabaseScript| {
            let sent = s.take_sent();
            let mut sent: Vec<_> = sent.iter().map(|sent| format!("{} {}", sent.event(), sent.topic())).collect();
            sent.sort_unstable();
            sent
        };
        let joins = ["phx_join realtime:errored", "phx_join realtime:joined", "phx_join realtime:joining"];
        assert_eq!(sent(&mut s), joins);
        for topic in ["realtime:errored", "realtime:joined", "realtime:joining"] {
            let join_ref = s.join_refs[topic].clone();
            s.receive_message(Some(&join_ref), Some(&join_ref), topic, "phx_reply", r#"{"status":"ok","response":{}}"#);
        }
        s.with(|session, now| session.set_auth(now, token(HOUR, 1))).unwrap();
        assert!(sent(&mut s).contains(&"phx_join realtime:awaiting".to_owned()));
        s.advance(at(30).saturating_since(s.now));
        assert!(sent(&mut s).contains(&"phx_join realtime:busy".to_owned()));
        assert_eq!(s.session.channel_state(removed), None);
    }
}

/// A gap as seconds: when it begins and ends.
fn gaps(events: &[Event]) -> Vec<(u64, u64)> {
    let gap = |event: &Event| match event {
        Event::Gap { since, until, .. } => Some((since.as_millis() / 1_000, until.as_millis() / 1_000)),
        _ => None,
    };
    events.iter().filter_map(gap).collect()
}

fn hear(s: &mut SupabaseScript) {
    s.receive_message(None, None, ROOM, "broadcast", r#"{"event":"e","payload":{},"type":"broadcast"}"#);
}

fn lose_behind_an_empty_poll(s: &mut SupabaseScript) {
    s.transport(TransportEvent::Alive { conn: s.conn() });
    s.closed(None);
}

#[test]
fn what_may_be_missing_is_told_once_right_behind_the_answer_to_the_join() {
    type Loss = fn(&mut SupabaseScript);
    let losses: [(&str, Loss, (u64, u64)); 6] = [
        // The last frame at 5 s, the loss noticed at 9 s, the join answered at 12 s.
        ("connection", |s| s.closed(Some(1006)), (5, 12)),
        ("reconnect", |s| s.with(Session::reconnect), (5, 12)),
        // A poll that brings nothing shows that nothing is missing until then.
        ("empty poll", lose_behind_an_empty_poll, (9, 12)),
        ("crash", |s| s.end(ROOM, "phx_error"), (9, 12)),
        ("close", |s| s.shut_down(ROOM, "Query was cancelled, please try again"), (9, 12)),
        ("busy", |s| s.shut_down(ROOM, "Too many messages per second"), (9, 41)),
    ];
    for (name, lose, gap) in losses {
        let mut s = SupabaseScript::open(supabase_config());
        let room = s.subscribe("room", &ChannelConfig::default());
        s.accept(ROOM);
        assert!(gaps(&s.take_events()).is_empty(), "{name}: none at the first join");
        s.advance(secs(5));
        hear(&mut s);
        s.advance(secs(4));
        lose(&mut s);
        s.take_events();
        while s.joins(ROOM).len() < 2 {
            s.advance(secs(1));
            if s.session.state() == ConnectionState::Connecting {
                s.opened();
            }
        }
        s.advance(secs(2));
        s.accept(ROOM);
        hear(&mut s);
        let events = s.take_events();
        let joined = events.iter().position(|event| matches!(event, Event::Subscribed { again: true, .. })).unwrap();
        assert!(matches!(events[joined + 1], Event::Gap { channel, .. } if channel == room), "{name}");
        assert!(matches!(events[joined + 2], Event::Broadcast { .. }), "{name}");
        assert_eq!(gaps(&events), [gap], "{name}");
        // The next one is about the next loss.
        s.end(ROOM, "phx_error");
        s.advance(secs(1));
        s.accept(ROOM);
        assert_eq!(gaps(&s.take_events()), [(gap.1, gap.1 + 1)], "{name}");
    }
}

#[test]
fn losses_on_the_way_back_belong_to_one_gap() {
    let (mut s, _) = in_room();
    s.advance(secs(5));
    hear(&mut s);
    for _ in 0..3 {
        lose_connection(&mut s);
    }
    s.refuse(ROOM, "Unknown Error on Channel");
    s.advance(secs(10));
    s.accept(ROOM);
    let (since, until) = gaps(&s.take_events())[0];
    assert_eq!((since, until), (5, s.now.as_millis() / 1_000));
}

#[test]
fn a_channel_that_was_never_joined_has_no_gap() {
    let mut s = SupabaseScript::open(supabase_config());
    s.subscribe("room", &ChannelConfig::default());
    lose_connection(&mut s);
    s.refuse(ROOM, "Unknown Error on Channel");
    s.advance(secs(1));
    s.accept(ROOM);
    assert!(gaps(&s.take_events()).is_empty());
}

#[test]
fn a_name_has_the_prefix_once_and_one_channel_at_a_time() {
    let mut s = SupabaseScript::open(supabase_config());
    let subscribe = |s: &mut SupabaseScript, name: &str, config: ChannelConfig| {
        s.with(|session, now| session.subscribe(now, name, &config))
    };
    let public = ChannelConfig::default;
    let room = subscribe(&mut s, "room", public()).unwrap();
    assert_eq!(s.session.topic(room).unwrap().as_str(), ROOM);
    let taken = Err(SubscribeError::Join(JoinError::AlreadyJoined(room)));
    assert_eq!(subscribe(&mut s, ROOM, public()), taken);
    s.accept(ROOM);
    assert_eq!(subscribe(&mut s, "room", public().private()), taken);
    for name in ["", "realtime:"] {
        assert_eq!(subscribe(&mut s, name, public()), Err(SubscribeError::Topic(TopicError::Empty)));
    }
    let replay = public().replay(Replay::since(UnixMillis::from_secs(1)));
    let refused = Err(SubscribeError::Config(ConfigError::ReplayNeedsPrivate));
    assert_eq!(subscribe(&mut s, "other", replay), refused);
    s.with(|session, now| session.unsubscribe(now, room)).unwrap();
    let again = subscribe(&mut s, "room", public()).unwrap();
    assert_ne!(again, room);
    assert_eq!(s.joins(ROOM).len(), 2, "and nothing was sent for what was refused here");
}

#[test]
fn only_the_answer_to_the_join_makes_a_channel_joined() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &ChannelConfig::default());
    s.system(ROOM, "ok", "Subscribed to PostgreSQL");
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joining));
    assert!(
        matches!(s.take_events()[..], [Event::System { channel, .. }] if channel == room),
        "it is told all the same"
    );
}

#[test]
fn what_the_server_says_beyond_our_knowledge_is_passed_on() {
    let (mut s, room) = in_room();
    s.say(ROOM, "never heard of", "[1]");
    s.say(ROOM, "system", r#""restarting""#);
    s.say(ROOM, "broadcast", r#"{"type":"broadcast"}"#);
    let events = s.take_events();
    let named = |event: &Event| match event {
        Event::Message { channel, event, .. } if *channel == room => event.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(events.iter().map(named).collect::<Vec<_>>(), ["never heard of", "system", "broadcast"]);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
}

#[test]
fn a_join_that_still_waits_for_the_transport_goes_with_its_channel_or_session() {
    type End = fn(&mut SupabaseScript, ChannelId);
    let ends: [End; 2] =
        [|s, room| s.with(|session, now| session.unsubscribe(now, room)).unwrap(), |s, _| s.with(Session::close)];
    for (end, token_provider) in ends.into_iter().flat_map(|end| [(end, false), (end, true)]) {
        let mut config = supabase_config();
        config.token_provider = token_provider;
        let mut s = SupabaseScript::open(config);
        s.plugged = true;
        let room = s.subscribe("room", &ChannelConfig::default());
        end(&mut s, room);
        s.plugged = false;
        s.drain();
        s.advance(secs(60));
        assert!(s.joins(ROOM).is_empty());
        assert_eq!(s.session.channel_state(room), None);
    }
}

#[test]
fn a_handler_that_leaves_and_subscribes_on_every_event_leaves_nothing_behind() {
    let mut s = SupabaseScript::open(supabase_config());
    let mut size = 0;
    for round in 0..10_000 {
        let room = s.subscribe("room", &ChannelConfig::default().broadcast_ack());
        s.broadcast(room, "waits");
        match round % 4 {
            0 => s.accept(ROOM),
            1 => s.refuse(ROOM, "Unauthorized: You do not have permissions to read from this Channel topic: room"),
            2 => s.advance(secs(15)),
            _ => {
                s.accept(ROOM);
                s.end(ROOM, "phx_error");
            }
        }
        s.with(|session, now| session.unsubscribe(now, room)).unwrap();
        s.advance(secs(10));
        let closed = Event::ChannelClosed { channel: room, reason: CloseReason::Left };
        assert_eq!(s.take_events().iter().filter(|event| **event == closed).count(), 1, "round {round}");
        (s.sent, s.dials, s.ends) = (Vec::new(), s.dials.split_off(s.dials.len() - 1), Vec::new());
        // Every collection of the session shows in its debug form.
        match round {
            99 => size = format!("{:?}", s.session).len(),
            9_999 => assert!(format!("{:?}", s.session).len() < size + 200),
            _ => {}
        }
    }
    assert_eq!((s.session.channels().count(), s.session.open_pushes(), s.session.queued_events()), (0, 0, 0));
}

#[test]
fn a_forgotten_channel_may_have_missed_everything_since_it_was_last_heard_of() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default().broadcast_ack());
    s.advance(secs(10));
    s.say("realtime:room", "broadcast", r#"{"event":"e","payload":{},"type":"broadcast"}"#);
    s.advance(secs(60));
    s.broadcast(room, "cursor");
    let reference = s.sent.last().unwrap().reference().to_owned();
    let unmatched = r#"{"status":"error","response":{"reason":"unmatched topic"}}"#;
    s.receive_message(None, Some(&reference), "realtime:room", "phx_reply", unmatched);
    s.advance(secs(1));
    s.accept("realtime:room");
    let gap = Event::Gap { channel: room, since: at(10), until: at(71) };
    assert!(s.take_events().contains(&gap));
}

/// What Supabase's client sends most often wants no reply, and gets this one all the same.
#[test]
fn a_lost_channel_is_noticed_by_a_broadcast_that_wants_no_reply() {
    let (mut s, room) = in_room();
    let broadcast = s.broadcast(room, "cursor");
    assert_eq!(s.outcomes(broadcast), [PushOutcome::Sent]);
    let reference = s.take_sent().remove(0).reference().to_owned();
    let unmatched = r#"{"status":"error","response":{"reason":"unmatched topic"}}"#;
    s.receive_message(None, Some(&reference), ROOM, "phx_reply", unmatched);
    let (trouble, retry) = (Trouble::Forgotten, Retry::At(at(1)));
    assert_eq!(s.take_events().last(), Some(&Event::ChannelErrored { channel: room, trouble, retry }));
    s.advance(secs(1));
    s.accept(ROOM);
    // It says nothing of the lifetime that began after it.
    s.receive_message(None, Some(&reference), ROOM, "phx_reply", unmatched);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
}

#[test]
fn an_error_of_long_ago_is_not_the_reason_of_a_close() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default());
    s.system("realtime:room", "error", "Too many messages per second");
    s.advance(secs(10));
    s.end("realtime:room", "phx_close");
    let reason = CloseReason::ServerClosed { message: None };
    assert_eq!(s.take_events().last(), Some(&Event::ChannelClosed { channel: room, reason }));
}

#[test]
fn a_join_that_would_cost_the_connection_each_time_is_refused_at_the_call() {
    let mut s = SupabaseScript::open(supabase_config());
    let binding = |n: u32| PostgresBinding::new(PostgresEvent::All).table(format!("{n}{}", "t".repeat(100_000)));
    let config = (0..50).map(binding).fold(ChannelConfig::default(), ChannelConfig::postgres_changes);
    let refused = s.with(|session, now| session.subscribe(now, "room", &config));
    assert!(matches!(refused, Err(SubscribeError::Join(JoinError::TooLarge { .. }))), "{refused:?}");
    assert!(s.sent.is_empty() && s.session.channels().next().is_none());
}
