//! What a client should make of what a server says of a channel, by the rules of the specification.

use rejoin_core::phoenix::ChannelId;
use rejoin_core::supabase::{ChannelConfig, CloseReason, RefusalClass, Retry, Trouble};
use rejoin_core::wire::Message;
use rejoin_core::{Payload, Text, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::changes::Changes;
use super::members::Room;
use crate::replay::shown;

/// What a channel of the recorded client looks like from its frames alone.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) id: Option<ChannelId>,
    pub(super) config: ChannelConfig,
    pub(super) join_ref: String,
    pub(super) joined: bool,
    pub(super) joining: bool,
    pub(super) joined_before: bool,
    /// The last error of a `system` message.
    pub(super) error: Option<String>,
    /// Whether it is joined as soon as there is another token.
    pub(super) waits: bool,
    pub(super) changes: Changes,
    /// Who is there, if the channel was joined with presence.
    pub(super) room: Option<Room>,
    /// The join_refs of lifetimes that are being left, and the refs of their `phx_leave`.
    pub(super) leaving: Vec<(String, String)>,
}

impl Topic {
    pub(super) fn subscribed(&mut self, name: &str, response: &Payload) -> Vec<String> {
        self.changes.answered(response);
        if let Some(room) = &mut self.room {
            room.joined();
        }
        let again = std::mem::replace(&mut self.joined_before, true);
        (self.joined, self.error) = (true, None);
        let gap = again.then(|| format!("{name} has a gap"));
        // The server has taken the topic from whoever had it before.
        let gone = self.leaving.drain(..).map(|_| gone(name));
        std::iter::once(format!("{name} subscribed, again: {again}")).chain(gap).chain(gone).collect()
    }

    pub(super) fn refused(&mut self, name: &str, reason: &str) -> Vec<String> {
        let class = class_of(reason);
        self.waits = class == RefusalClass::Auth;
        let retry = if self.waits { Retry::OnToken } else { Retry::At(Timestamp::ZERO) };
        vec![format!("{name} refused: {reason} {class:?} {}", when(retry))]
    }

    pub(super) fn told(&mut self, name: &str, payload: &Payload) -> Vec<String> {
        let said: Value = payload.parse().unwrap_or_default();
        let (ok, message) = (said["status"] == "ok", said["message"].as_str().unwrap_or_default());
        if !ok {
            self.error = Some(message.into());
        }
        let flow = self.changes.told(name, &said);
        std::iter::once(format!("{name} system ok: {ok} {message}")).chain(flow).collect()
    }

    /// The server says who is there.
    pub(super) fn counted(&mut self, name: &str, said: &Message) -> Vec<String> {
        let Some(room) = &mut self.room else { return Vec::new() };
        if said.event == "presence_state" { room.state(name, &said.payload) } else { room.diff(name, &said.payload) }
    }

    /// The server has closed it, which is for good unless it gave a reason that may pass.
    pub(super) fn ended(&mut self, name: &str) -> Vec<String> {
        self.joined = false;
        self.changes.lost();
        let message = self.error.take().map(Text::from);
        match &message {
            Some(reason) => {
                self.waits = class_of(reason) == RefusalClass::Auth;
                vec![format!("{name} errored: {}", Trouble::Closed { message })]
            }
            None => {
                self.id = None;
                vec![format!("{name} gone: {}", CloseReason::ServerClosed { message })]
            }
        }
    }
}

pub(super) fn gone(name: &str) -> String {
    format!("{name} gone: {}", CloseReason::Left)
}

fn class_of(reason: &str) -> RefusalClass {
    let known = CLASSES.iter().find(|(start, _)| reason.starts_with(start));
    known.map_or(RefusalClass::Transient, |(_, class)| *class)
}

pub(super) const fn when(retry: Retry) -> &'static str {
    match retry {
        Retry::Never => "for good",
        Retry::OnToken => "until another token",
        _ => "until later",
    }
}

pub(super) fn broadcast_line(name: &str, said: &Message) -> String {
    let line =
        |event: &str, payload: String, meta: Option<String>| format!("{name} broadcast {event} {payload} {meta:?}");
    match &said.user_event {
        Some(user) => line(&user.event, shown(&said.payload), user.metadata.as_ref().map(shown)),
        None => match said.payload.parse::<TextBroadcast<'_>>() {
            Ok(text) => line(&text.event, text.payload.to_string(), text.meta.map(ToString::to_string)),
            Err(_) => format!("{name} broadcast {}", shown(&said.payload)),
        },
    }
}

/// The object that a text broadcast is.
#[derive(Deserialize)]
pub(super) struct TextBroadcast<'a> {
    pub(super) event: String,
    #[serde(borrow)]
    pub(super) payload: &'a RawValue,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

/// What the recorded reasons mean (specification, sections 9.2 and 9.3).
const CLASSES: [(&str, RefusalClass); 7] = [
    ("Unauthorized: ", RefusalClass::Auth),
    ("InvalidJWTToken: ", RefusalClass::Auth),
    ("Token has expired ", RefusalClass::Auth),
    ("ChannelRateLimitReached: ", RefusalClass::Rate),
    ("ClientJoinRateLimitReached: ", RefusalClass::Rate),
    ("Too many messages per second", RefusalClass::Rate),
    ("Client presence rate limit exceeded", RefusalClass::Rate),
];
