//! Access tokens: from an async function, or set by hand.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rejoin_core::supabase::{AccessToken, AuthError, ChannelConfig, ChannelState, SubscribeFailure, TokenFailure};
use rejoin_core::wire::Message;
use rejoin_pump::supabase::{
    Channel, ChannelEvent, Client, ConnectOptions, ConnectionEvent, ConnectionEvents, Listen, RetryIn, SetAuthError,
};
use rejoin_pump::{Runtime, TokenProviderError};
use rejoin_sim::supabase::PeerEvent;

use crate::lab::{BEGIN, Lab, config, heard, secs, story, user_token};

type Answer = Result<Option<AccessToken>, TokenProviderError>;

fn at(unix: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(unix)
}

/// A client whose provider gives these answers, one after the other, and then none at all.
fn answering(answers: impl IntoIterator<Item = Answer>) -> (Lab, Client) {
    let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
    let provider = move || {
        let answer = answers.lock().unwrap().pop_front();
        async move {
            match answer {
                Some(answer) => answer,
                None => pending().await,
            }
        }
    };
    Lab::with(config(), ConnectOptions::default().token_provider(provider))
}

/// A client whose provider gives tokens that live for so many seconds, and how often it was asked.
fn renewing(lifetime: i64) -> (Lab, Client, Arc<AtomicI64>) {
    let asked = Arc::<AtomicI64>::default();
    let runtime = Arc::<Mutex<Option<rejoin_pump::memory::MemoryRuntime>>>::default();
    let (counter, clock) = (asked.clone(), runtime.clone());
    let provider = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let unix = clock.lock().unwrap().as_ref().unwrap().unix_time().as_secs();
        async move { Ok(Some(user_token((unix - BEGIN).cast_signed() + lifetime))) }
    };
    let (mut lab, client, pump) = Lab::asleep(config(), ConnectOptions::default().token_provider(provider));
    *runtime.lock().unwrap() = Some(lab.rig.runtime.clone());
    lab.rig.spawn(pump);
    (lab, client, asked)
}

fn private(lab: &mut Lab, client: &Client) -> (Channel, rejoin_pump::supabase::Listener) {
    let room = client.channel("priv:rw", ChannelConfig::default().private()).unwrap();
    let ears = lab.wait(room.listen(Listen::status())).unwrap();
    lab.wait(room.subscribe()).unwrap();
    (room, ears)
}

fn token_events(events: &mut ConnectionEvents) -> Vec<ConnectionEvent> {
    let about_tokens = |event: &ConnectionEvent| {
        matches!(
            event,
            ConnectionEvent::TokenRefreshed { .. }
                | ConnectionEvent::TokenExpired
                | ConnectionEvent::TokenUnavailable { .. }
        )
    };
    heard(events).into_iter().filter(about_tokens).collect()
}

fn access_token(message: &Message) -> String {
    let payload: serde_json::Value = message.payload.parse().unwrap();
    payload["access_token"].as_str().unwrap_or_default().into()
}

fn carried(lab: &Lab, event: &str) -> Vec<String> {
    lab.take_sent().iter().filter(|message| message.event == event).map(access_token).collect()
}

#[test]
fn joins_wait_for_the_providers_first_answer() {
    let (answer, answers) = async_channel::bounded::<Answer>(1);
    let provider = move || {
        let answers = answers.clone();
        async move { answers.recv().await.unwrap() }
    };
    let (mut lab, client) = Lab::with(config(), ConnectOptions::default().token_provider(provider));
    let mut events = lab.wait(client.connection_events()).unwrap();
    let (room, mut ears) = private(&mut lab, &client);
    lab.advance(secs(5));
    assert_eq!((lab.sent("phx_join"), lab.wait(room.state())), (0, Ok(Some(ChannelState::AwaitingToken))));
    let token = user_token(3_600);
    answer.try_send(Ok(Some(token.clone()))).unwrap();
    lab.rig.settle();
    assert_eq!(lab.wait(ears.subscribed()), Ok(()));
    assert_eq!(carried(&lab, "phx_join"), [token.expose()]);
    let refreshed = ConnectionEvent::TokenRefreshed { expires_at: Some(at(BEGIN + 3_600)) };
    assert_eq!(token_events(&mut events), [refreshed]);
}

#[test]
fn a_provider_that_fails_is_asked_again_and_both_streams_say_why() {
    let down = || TokenFailure::Provider("the network is down".into());
    let (mut lab, client) =
        answering([Err("the network is down".into()), Err("the network is down".into()), Ok(Some(user_token(3_600)))]);
    let mut events = lab.wait(client.connection_events()).unwrap();
    let (_room, mut ears) = private(&mut lab, &client);
    lab.live(1);
    let unavailable = ConnectionEvent::TokenUnavailable { failure: down(), retry_in: secs(2) };
    assert_eq!(token_events(&mut events), [unavailable]);
    let failed =
        ChannelEvent::SubscribeFailed { failure: SubscribeFailure::NoToken(down()), retry: RetryIn::After(secs(2)) };
    assert_eq!(heard(&mut ears).last(), Some(&failed));
    lab.live(2);
    assert_eq!(story(&heard(&mut ears)), ["subscribed"]);
}

#[test]
fn a_provider_that_panics_has_failed() {
    let mut calls = 0;
    let provider = move || {
        calls += 1;
        let call = calls;
        async move {
            assert!(call > 1, "this panic belongs to the test");
            Ok(Some(user_token(3_600)))
        }
    };
    let (mut lab, client) = Lab::with(config(), ConnectOptions::default().token_provider(provider));
    let (_room, mut ears) = private(&mut lab, &client);
    lab.live(1);
    assert_eq!(story(&heard(&mut ears)).last().map(String::as_str), Some("subscribed"));
}

#[test]
fn a_provider_that_is_too_slow_has_failed() {
    let (mut lab, client) = answering([]);
    let mut events = lab.wait(client.connection_events()).unwrap();
    lab.advance(Duration::from_millis(9_999));
    assert_eq!(token_events(&mut events), []);
    lab.advance(Duration::from_millis(1));
    let unavailable = ConnectionEvent::TokenUnavailable { failure: TokenFailure::TimedOut, retry_in: secs(1) };
    assert_eq!(token_events(&mut events), [unavailable]);
}

#[test]
fn a_token_is_renewed_before_it_expires_and_the_channel_stays() {
    let (mut lab, client, asked) = renewing(300);
    let mut events = lab.wait(client.connection_events()).unwrap();
    let (room, mut ears) = private(&mut lab, &client);
    lab.wait(ears.subscribed()).unwrap();
    lab.take_seen();
    for _ in 0..12 {
        lab.live(300);
        let events = token_events(&mut events);
        assert!((1..=2).contains(&events.len()), "{events:?}");
        assert!(events.iter().all(|event| matches!(event, ConnectionEvent::TokenRefreshed { .. })), "{events:?}");
    }
    assert!((13..=15).contains(&asked.load(Ordering::SeqCst)), "{asked:?}");
    assert_eq!((lab.wait(room.state()), heard(&mut ears)), (Ok(Some(ChannelState::Joined)), vec![]));
    assert!(lab.take_seen().iter().all(|event| matches!(event, PeerEvent::TokenPushed { .. })));
}

#[test]
fn a_token_set_by_hand_is_told_to_the_server_and_an_expired_one_is_an_error() {
    let (mut lab, client) = Lab::new();
    let mut events = lab.wait(client.connection_events()).unwrap();
    let (_room, _ears) = lab.join(&client, "room", ChannelConfig::default());
    assert_eq!(carried(&lab, "phx_join"), [""]);
    lab.live(60);
    let expired = lab.wait(client.set_auth(user_token(60)));
    assert_eq!(expired, Err(SetAuthError::Refused(AuthError::Expired)));
    let token = user_token(120);
    lab.wait(client.set_auth(token.clone())).unwrap();
    assert_eq!(carried(&lab, "access_token"), [token.expose()]);
    lab.live(59);
    assert_eq!(token_events(&mut events), []);
    lab.live(1);
    assert_eq!(token_events(&mut events), [ConnectionEvent::TokenExpired]);
}

#[test]
fn a_user_who_signed_out_joins_no_private_channel_until_there_is_a_token() {
    let (mut lab, client) = Lab::new();
    lab.wait(client.set_auth(user_token(3_600))).unwrap();
    lab.wait(client.clear_auth()).unwrap();
    let (room, mut ears) = private(&mut lab, &client);
    let failed = ChannelEvent::SubscribeFailed {
        failure: SubscribeFailure::NoToken(TokenFailure::SignedOut),
        retry: RetryIn::OnToken,
    };
    assert_eq!(lab.wait(ears.subscribed()), Err(failed));
    assert_eq!(lab.wait(room.state()), Ok(Some(ChannelState::AwaitingToken)));
    lab.wait(client.set_auth(user_token(3_600))).unwrap();
    assert_eq!(lab.wait(ears.subscribed()), Ok(()));
}

#[test]
fn a_channel_may_have_a_token_of_its_own() {
    let (mut lab, client) = Lab::new();
    let (one, _one) = lab.join(&client, "one", ChannelConfig::default());
    let (two, _two) = lab.join(&client, "two", ChannelConfig::default());
    let (own, common) = (user_token(100), user_token(200));
    lab.wait(one.set_auth(Some(own.clone()))).unwrap();
    assert_eq!(carried(&lab, "access_token"), [own.expose()]);
    lab.wait(client.set_auth(common.clone())).unwrap();
    assert_eq!(carried(&lab, "access_token"), [common.expose()], "to the other channel alone");
    lab.wait(one.set_auth(None)).unwrap();
    assert_eq!(carried(&lab, "access_token"), [common.expose()]);

    lab.advance(secs(100));
    assert_eq!(lab.wait(two.set_auth(Some(own))), Err(SetAuthError::Refused(AuthError::Expired)));
    lab.wait(two.unsubscribe()).unwrap();
    assert_eq!(lab.wait(two.set_auth(None)), Err(SetAuthError::Refused(AuthError::UnknownChannel)));
}

#[test]
fn the_provider_may_be_asked_at_any_time() {
    let (mut lab, client, asked) = renewing(3_600);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    lab.advance(secs(1));
    lab.wait(client.refresh_auth()).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// Trap T8 for tokens: the session's own time stands still while the host sleeps, and the token does not.
#[test]
fn a_host_that_wakes_with_an_expired_token_rejoins_with_a_fresh_one() {
    let (mut lab, client, asked) = renewing(3_600);
    let (_room, mut ears) = private(&mut lab, &client);
    lab.wait(ears.subscribed()).unwrap();
    lab.live(40);
    lab.take_sent();
    lab.rig.runtime.suspend(secs(8 * 3_600));
    lab.order(|peer, now| peer.cut(now));
    lab.live(2);
    assert_eq!(story(&heard(&mut ears)), ["errored", "subscribed again", "gap"]);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let joined = carried(&lab, "phx_join").into_iter().map(|token| AccessToken::new(token).unwrap().expires_at());
    let woke = BEGIN + 40 + 8 * 3_600;
    assert!(joined.eq([Some(secs(woke + 3_600))]));
}

#[test]
fn a_host_that_wakes_asks_after_its_connection_once_and_renews_its_token() {
    let (mut lab, client, asked) = renewing(3_600);
    let (_room, mut ears) = private(&mut lab, &client);
    lab.wait(ears.subscribed()).unwrap();
    lab.live(30);
    lab.take_sent();
    lab.rig.runtime.suspend(secs(8 * 3_600));
    lab.live(20);
    assert_eq!((lab.sent("heartbeat"), lab.sent("access_token"), asked.load(Ordering::SeqCst)), (1, 1, 2));
    assert_eq!(heard(&mut ears), [], "the server did not mind");
}
