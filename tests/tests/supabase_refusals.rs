//! What a "no" of the server's means for a Supabase channel: refused joins and closed channels.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rejoin_core::Timestamp;
use rejoin_core::phoenix::{ChannelId, PushOutcome};
use rejoin_core::supabase::{
    ChannelConfig, ChannelState, CloseReason, Event, RefusalClass, RejoinPolicy, Retry, SubscribeFailure, Trouble,
};
use rejoin_sim::{SupabaseScript, supabase_config, token};

const ROOM: &str = "realtime:room";
const HOUR: Duration = Duration::from_secs(3_600);

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn at(s: u64) -> Timestamp {
    Timestamp::ZERO.saturating_add(secs(s))
}

/// What the server says against a join (specification, section 9.2), and what that means.
const REASONS: [(&str, RefusalClass); 28] = {
    use RefusalClass::{Auth, Permanent, Rate, Transient};
    [
        ("TopicNameRequired: You must provide a topic name", Permanent),
        ("PrivateOnly: This project only allows private channels", Permanent),
        ("TenantNotFound: Tenant with the given ID does not exist", Permanent),
        ("RealtimeDisabledForTenant: Realtime disabled for this tenant", Permanent),
        ("UnableToReplayMessages: Replay params are not valid", Permanent),
        ("UnableToReplayMessages: Replay is not allowed for public channels", Permanent),
        ("unmatched topic", Permanent),
        ("Unauthorized: You do not have permissions to read from this Channel topic: room", Auth),
        ("You do not have permissions to read from this Topic", Auth),
        ("InvalidJWTToken: Token has expired 7 seconds ago", Auth),
        ("InvalidJWTToken: Fields `role` and `exp` are required in JWT", Auth),
        ("MalformedJWT: The token provided is not a valid JWT", Auth),
        ("JwtSignatureError: Failed to validate JWT signature", Auth),
        ("JwtSignerError: Failed to generate JWT signer", Auth),
        ("ChannelRateLimitReached: Too many channels", Rate),
        ("ConnectionRateLimitReached: Too many connected users", Rate),
        ("ClientJoinRateLimitReached: Too many joins per second", Rate),
        ("DatabaseConnectionRateLimitReached: Too many database connections attempts per second", Rate),
        ("too many channels joined", Rate),
        ("IncreaseConnectionPool: Please increase your connection pool size", Transient),
        ("DatabaseLackOfConnections: Database can't accept more connections", Transient),
        ("UnableToConnectToProject: Realtime was unable to connect to the project database", Transient),
        ("InitializingProjectConnection: Realtime is initializing the project connection", Transient),
        ("TimeoutOnRpcCall: Node request timeout", Transient),
        ("RealtimeRestarting: Realtime is restarting, please standby", Transient),
        ("UnableToReplayMessages: any", Transient),
        ("Unknown Error on Channel", Transient),
        ("join crashed", Transient),
    ]
};

#[test]
fn every_refusal_says_what_was_said_and_when_it_is_tried_again() {
    for (reason, class) in REASONS {
        let mut s = SupabaseScript::open(supabase_config());
        let room = s.subscribe("room", &ChannelConfig::default());
        s.advance(secs(5));
        s.refuse(ROOM, reason);
        let expected = match class {
            RefusalClass::Permanent => Retry::Never,
            RefusalClass::Auth => Retry::OnToken,
            RefusalClass::Rate => Retry::At(at(5 + 30)),
            _ => Retry::At(at(5 + 1)),
        };
        let mut events = s.take_events().into_iter();
        let Some(Event::SubscribeFailed { channel, failure: SubscribeFailure::Refused(refusal), retry }) =
            events.next()
        else {
            panic!("{reason} is no refusal");
        };
        assert_eq!((channel, refusal.class, retry), (room, class, expected), "{reason}");
        assert_eq!((refusal.reason.as_str(), refusal.code.as_deref()), (reason, reason.split_once(": ").map(|s| s.0)));
        let end = Event::ChannelClosed { channel: room, reason: CloseReason::Refused };
        assert_eq!(Vec::from_iter(events), Vec::from_iter((retry == Retry::Never).then_some(end)), "{reason}");
    }
}

/// When a join leaves within ten minutes if the server refuses each, and something happens every minute.
fn joins_refused(reason: &str, every_minute: impl Fn(&mut SupabaseScript)) -> Vec<u64> {
    let mut s = SupabaseScript::open(supabase_config());
    s.subscribe("room", &ChannelConfig::default());
    let mut times = Vec::new();
    for second in 0..600 {
        for join in s.take_sent().iter().filter(|sent| sent.event() == "phx_join") {
            times.push(join.at.as_millis() / 1_000);
            s.answer(join, "error", &serde_json::json!({ "reason": reason }).to_string());
        }
        if second % 60 == 59 {
            every_minute(&mut s);
        }
        s.advance(secs(1));
    }
    times
}

#[test]
fn what_is_refused_is_tried_again_once_never_or_seldom_according_to_the_reason() {
    for (reason, class) in REASONS {
        let times = joins_refused(reason, |_| {});
        match class {
            RefusalClass::Permanent | RefusalClass::Auth => assert_eq!(times, [0], "{reason}"),
            RefusalClass::Rate => assert_eq!(times, Vec::from_iter((0..20).map(|n| n * 30)), "{reason}"),
            _ => assert_eq!(times[..7], [0, 1, 3, 8, 18, 28, 38], "{reason}"),
        }
    }
}

#[test]
fn a_refused_token_has_one_join_and_each_of_its_successors_another() {
    for (reason, _) in REASONS.into_iter().filter(|(_, class)| *class == RefusalClass::Auth) {
        let times = joins_refused(reason, |s| {
            let generation = u32::try_from(s.now.as_millis() / 120_000).unwrap();
            s.with(|session, now| session.set_auth(now, token(HOUR, generation))).unwrap();
        });
        // A token comes every minute, and every other time it is a new one.
        assert_eq!(times, [0, 59, 179, 299, 419, 539], "{reason}");
    }
}

#[test]
fn a_new_connection_brings_a_busy_server_no_join_sooner() {
    for (reason, _) in REASONS.into_iter().filter(|(_, class)| *class == RefusalClass::Rate) {
        let times = joins_refused(reason, |s| {
            s.closed(Some(1001));
            s.advance(secs(1));
            s.opened();
        });
        assert!(times.len() > 10 && times.windows(2).all(|pair| pair[1] - pair[0] >= 30), "{reason}: {times:?}");
    }
}

#[test]
fn a_channel_that_is_refused_for_good_drops_what_waits_and_may_be_subscribed_again() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &ChannelConfig::default());
    let waiting = s.broadcast(room, "e");
    s.refuse(ROOM, "PrivateOnly: This project only allows private channels");
    assert_eq!(s.outcomes(waiting), [PushOutcome::Dropped]);
    assert_eq!((s.session.channel_state(room), s.session.channels().count()), (None, 0));
    let again = s.subscribe("room", &ChannelConfig::default().private());
    s.accept(ROOM);
    assert_ne!(again, room);
    assert_eq!(s.session.channel_state(again), Some(ChannelState::Joined));
}

#[test]
fn a_server_in_trouble_is_tried_until_it_has_recovered() {
    let mut s = SupabaseScript::open(supabase_config());
    let room = s.subscribe("room", &ChannelConfig::default());
    for delay in [1, 2, 5, 10, 10] {
        s.refuse(ROOM, "RealtimeRestarting: Realtime is restarting, please standby");
        s.take_sent();
        s.advance(secs(delay) - Duration::from_nanos(1));
        assert!(s.joins(ROOM).is_empty());
        s.advance(Duration::from_nanos(1));
    }
    s.accept(ROOM);
    assert_eq!(s.session.channel_state(room), Some(ChannelState::Joined));
}

/// The server thinks five seconds about each refusal, and of nothing else meanwhile.
#[test]
fn refusals_that_block_the_server_cost_no_connection_and_hide_no_reason() {
    let mut s = SupabaseScript::open(supabase_config());
    s.answers_heartbeats = false;
    let mut untold: BTreeMap<ChannelId, &str> = BTreeMap::new();
    for (reason, _) in REASONS.iter().step_by(3) {
        untold.insert(s.subscribe(reason, &ChannelConfig::default()), reason);
    }
    let mut inbox = VecDeque::new();
    while !untold.is_empty() {
        inbox.extend(s.take_sent());
        let frame = inbox.pop_front().expect("the client tries on");
        if frame.event() == "heartbeat" {
            s.answer(&frame, "ok", "{}");
        } else {
            s.advance(secs(5));
            let reason = frame.topic().strip_prefix("realtime:");
            s.answer(&frame, "error", &serde_json::json!({ "reason": reason }).to_string());
        }
        for event in s.take_events() {
            match event {
                Event::SubscribeFailed { channel, failure: SubscribeFailure::Refused(refusal), .. } => {
                    assert!(untold.remove(&channel).is_none_or(|reason| refusal.reason == reason));
                }
                Event::SubscribeFailed { .. } | Event::Disconnected { .. } => panic!("{event:?}"),
                _ => {}
            }
        }
    }
    assert!(s.now > at(45), "for longer than a heartbeat may stay unanswered");
}

#[test]
fn a_close_is_answered_as_the_policy_and_the_last_system_message_say() {
    use RejoinPolicy::{Always, Never, OnRetryableReason};
    let closed = None;
    let soon = Some(Retry::At(at(1)));
    let late = Some(Retry::At(at(30)));
    let on_token = Some(Retry::OnToken);
    for (message, on_retryable, always) in [
        (None, closed, soon),
        (Some("Track message size exceeded"), closed, soon),
        (Some("Too many messages per second"), late, late),
        (Some("Too many presence messages per second"), late, late),
        (Some("Client presence rate limit exceeded"), late, late),
        (Some("Token has expired 0 seconds ago"), on_token, on_token),
        (Some("You do not have permissions to read from this Channel topic: room"), on_token, on_token),
        (Some("You no longer have permission to read from this Channel topic: room"), on_token, on_token),
        (Some("Realtime was unable to connect to the project database"), soon, soon),
        (Some("Replication connection was not established in time"), soon, soon),
        (Some("Query was cancelled, please try again"), soon, soon),
    ] {
        for (policy, expected) in [(Never, closed), (OnRetryableReason, on_retryable), (Always, always)] {
            let config = ChannelConfig::default().rejoin(policy);
            let (mut s, room) = SupabaseScript::in_room(supabase_config(), &config);
            match message {
                Some(message) => s.shut_down(ROOM, message),
                None => s.end(ROOM, "phx_close"),
            }
            let message = message.map(Into::into);
            let last = match expected {
                Some(retry) => {
                    let trouble = Trouble::Closed { message };
                    Event::ChannelErrored { channel: room, trouble, retry }
                }
                None => Event::ChannelClosed { channel: room, reason: CloseReason::ServerClosed { message } },
            };
            assert_eq!(s.take_events().last(), Some(&last), "{policy:?}");
            s.advance(HOUR);
            assert_eq!(!s.joins(ROOM).is_empty(), matches!(expected, Some(Retry::At(_))), "{policy:?}: {last:?}");
        }
    }
}

#[test]
fn an_anonymous_channel_has_no_other_token_to_wait_for() {
    let (mut s, room) = SupabaseScript::in_room(supabase_config(), &ChannelConfig::default().anonymous());
    s.shut_down(ROOM, "Token has expired 0 seconds ago");
    let message = Some("Token has expired 0 seconds ago".into());
    let closed = Event::ChannelClosed { channel: room, reason: CloseReason::ServerClosed { message } };
    assert_eq!(s.take_events().last(), Some(&closed));
}
