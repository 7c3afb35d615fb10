//! A lone Supabase session and a peer that the test writes frame by frame.

use std::time::Duration;

use rejoin_core::phoenix::{ChannelId, PushId, PushOutcome};
use rejoin_core::supabase::{AccessToken, Broadcast, ChannelConfig, Config, Event, Request, RequestId, Session};
use rejoin_core::{Jitter, Payload, Timestamp};

use crate::scripted::{Scripted, Sent};

/// What the clock on the wall says when a script begins: in 2027.
pub const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// The defaults, with delays that are exactly what the tables say.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "URL and key are constants")]
pub fn supabase_config() -> Config {
    let mut config = Config::new("ws://sim/socket", "sb_publishable_key").expect("a URL and a key");
    config.phoenix.jitter = Jitter::None;
    config
}

/// The same, with a host that is asked for tokens.
#[must_use]
pub fn provider_config() -> Config {
    let mut config = supabase_config();
    config.token_provider = true;
    config
}

/// An access token of a user that expires this long after the script began. Tokens of other
/// `generation`s differ.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "what is made here is a token")]
pub fn token(expires_in: Duration, generation: u32) -> AccessToken {
    let now = EPOCH.as_secs();
    let claims = serde_json::json!({
        "role": "authenticated", "iat": now, "exp": now + expires_in.as_secs(), "generation": generation,
    });
    let part = |json: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, json);
    let text = format!("{}.{}.c2lnbmVk", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims.to_string()));
    AccessToken::new(text).expect("a token")
}

/// A Supabase session under a script.
pub type SupabaseScript = Scripted<Session>;

impl SupabaseScript {
    /// An idle session that knows what time it is.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let serializer = config.phoenix.serializer;
        let mut script = Self::driving(Session::new(config, Timestamp::ZERO), serializer);
        script.session.set_wall_clock(Timestamp::ZERO, EPOCH);
        script
    }

    /// A connected session.
    #[must_use]
    pub fn open(config: Config) -> Self {
        let mut script = Self::new(config);
        script.with(Session::connect);
        script.opened();
        script.events.clear();
        script
    }

    /// A connected session that has joined `realtime:room`.
    #[must_use]
    pub fn in_room(config: Config, channel: &ChannelConfig) -> (Self, ChannelId) {
        let mut script = Self::open(config);
        let room = script.subscribe("room", channel);
        script.accept("realtime:room");
        script.sent.clear();
        script.events.clear();
        (script, room)
    }

    /// `subscribe`.
    #[expect(clippy::missing_panics_doc, reason = "a script that cannot subscribe is wrong")]
    pub fn subscribe(&mut self, name: &str, config: &ChannelConfig) -> ChannelId {
        self.with(|session, now| session.subscribe(now, name, config)).expect("the channel is accepted")
    }

    /// `broadcast` of `{}`.
    #[expect(clippy::missing_panics_doc, reason = "a script that cannot broadcast is wrong")]
    pub fn broadcast(&mut self, channel: ChannelId, event: &str) -> PushId {
        let broadcast = Broadcast::new(event, Payload::EMPTY);
        self.with(|session, now| session.broadcast(now, channel, broadcast)).expect("the broadcast is accepted")
    }

    /// The server refuses the last join of a topic that was sent, for this reason.
    pub fn refuse(&mut self, topic: &str, reason: &str) {
        self.answer_join(topic, "error", &serde_json::json!({ "reason": reason }).to_string());
    }

    /// A `system` message about a channel.
    pub fn system(&mut self, topic: &str, status: &str, message: &str) {
        let payload = serde_json::json!({
            "message": message, "status": status, "extension": "system",
            "channel": topic.strip_prefix("realtime:"),
        });
        self.say(topic, "system", &payload.to_string());
    }

    /// A `system` error and the `phx_close` behind it, as a server ends a channel.
    pub fn shut_down(&mut self, topic: &str, message: &str) {
        self.system(topic, "error", message);
        self.end(topic, "phx_close");
    }

    /// `phx_close` or `phx_error` of the lifetime of a topic that was joined last.
    pub fn end(&mut self, topic: &str, event: &str) {
        let join_ref = self.join_ref(topic);
        self.receive_message(Some(&join_ref), Some(&join_ref), topic, event, "{}");
    }

    /// A message on a channel, with the join_ref of its lifetime.
    pub fn say(&mut self, topic: &str, event: &str, payload: &str) {
        let join_ref = self.join_ref(topic);
        self.receive_message(Some(&join_ref), None, topic, event, payload);
    }

    /// The token requests that were not taken yet.
    pub fn take_requests(&mut self) -> Vec<RequestId> {
        let id = |(_, request)| match request {
            Request::Token { id, .. } => id,
            other => panic!("an unknown request: {other:?}"),
        };
        std::mem::take(&mut self.requests).into_iter().map(id).collect()
    }

    /// The provider answers its last question with this token.
    #[expect(clippy::missing_panics_doc, reason = "a script that answers what was not asked is wrong")]
    pub fn provide(&mut self, token: &AccessToken) {
        let id = self.take_requests().pop().expect("a token was asked for");
        self.with(|session, now| session.handle_token(now, id, Ok(Some(token.clone()))));
    }

    /// The joins of a topic that were sent.
    #[must_use]
    pub fn joins(&self, topic: &str) -> Vec<&Sent> {
        self.sent.iter().filter(|sent| sent.topic() == topic && sent.event() == "phx_join").collect()
    }

    /// The access tokens that were sent, in joins and alone, with the event that carried them.
    #[must_use]
    pub fn tokens_sent(&self) -> Vec<(String, Option<String>)> {
        let carried = |sent: &Sent| {
            let payload: serde_json::Value = sent.message.payload.parse().ok()?;
            let token = payload.get("access_token").and_then(|token| token.as_str().map(ToOwned::to_owned));
            matches!(sent.event(), "phx_join" | "access_token").then(|| (sent.event().to_owned(), token))
        };
        self.sent.iter().filter_map(carried).collect()
    }

    /// The outcomes of a push among the events that were not taken yet.
    #[must_use]
    pub fn outcomes(&self, push: PushId) -> Vec<PushOutcome> {
        let of = |event: &Event| match event {
            Event::PushDone { push: done, outcome } if *done == push => Some(outcome.clone()),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| of(event)).collect()
    }

    fn join_ref(&self, topic: &str) -> String {
        self.join_refs.get(topic).expect("the topic was joined").clone()
    }
}
