//! What a server's "no" means for the next attempt: refused joins, closed channels, refused upgrades.
//!
//! Sources: specification, sections 9.2 (joins), 9.3 and 8.2 (closed channels), 1.5 (upgrades).

use alloc::string::String;
use core::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::machine::OpenError;
use crate::payload::Payload;
use crate::text::Text;

/// What the reason of a "no" means for the next attempt. A reason that nobody knows is transient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalClass {
    /// The next attempt would end in the same way.
    Permanent,
    /// Another token may do better: ask for a fresh one first.
    Auth,
    /// Too much at a time: wait long.
    Rate,
    /// It may pass: wait as after any failure.
    Transient,
}

/// Why the server refused a join.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// `Unauthorized` of `Unauthorized: You do not …`; old servers send none.
    pub code: Option<Text>,
    /// The whole reason, code included, cut at 1 KiB; empty if there is none.
    pub reason: Text,
    /// What the reason means for the next attempt.
    pub class: RefusalClass,
    /// The whole response, as it came.
    pub response: Payload,
}

impl Refusal {
    /// Reads the response of a join's error reply. Keeps nothing of the frame alive.
    pub(crate) fn of(response: Payload) -> Self {
        #[derive(Deserialize)]
        struct Response<'a> {
            #[serde(borrow, default)]
            reason: Option<&'a RawValue>,
        }
        let json = response.as_json().unwrap_or_default();
        let reason = match members::<Response<'_>>(json) {
            Some(response) => said(response.reason),
            // Some replies are a bare string.
            None => serde_json::from_str::<String>(json).map(|text| bounded(&text)).unwrap_or_default(),
        };
        let code = split_code(&reason).0.map(Text::from);
        Self { code, class: class_of(&reason), reason, response: response.detach() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.as_str() {
            "" => f.write_str("the server refused the join without a reason"),
            reason => write!(f, "the server refused the join: {reason}"),
        }
    }
}

impl core::error::Error for Refusal {}

/// A `system` message: the server's word on a channel's subscriptions, token and limits.
///
/// One with an error is often followed by the end of the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemMessage {
    /// What it is about: `system`, `postgres_changes` and others.
    pub extension: Text,
    /// Whether its status is `ok`.
    pub ok: bool,
    /// In words, cut at 1 KiB.
    pub message: Text,
    /// The channel's name without `realtime:`; missing when the server is about to disconnect.
    pub channel: Option<Text>,
    /// The whole payload, as it came.
    pub payload: Payload,
}

impl SystemMessage {
    /// Reads the payload of a `system` message; what is missing in it is empty. `None` if it is no
    /// JSON object. Keeps nothing of the frame alive.
    pub(crate) fn of(payload: Payload) -> Option<Self> {
        #[derive(Deserialize)]
        struct System<'a> {
            #[serde(borrow, default)]
            extension: Option<&'a RawValue>,
            #[serde(borrow, default)]
            status: Option<&'a RawValue>,
            #[serde(borrow, default)]
            message: Option<&'a RawValue>,
            #[serde(borrow, default)]
            channel: Option<&'a RawValue>,
        }
        let system: System<'_> = members(payload.as_json()?)?;
        Some(Self {
            extension: said(system.extension),
            ok: said(system.status) == "ok",
            message: said(system.message),
            channel: system.channel.map(|channel| said(Some(channel))),
            payload: payload.detach(),
        })
    }

    /// What a `phx_close` right after this error means for the next join; `None` if it is no error.
    #[must_use]
    pub fn class(&self) -> Option<RefusalClass> {
        (!self.ok).then(|| class_of(&self.message))
    }
}

/// Why the server refused the WebSocket upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeRefusal {
    /// The HTTP status.
    pub status: u16,
    /// What the status means here.
    pub class: UpgradeClass,
    /// What the server says, or the response's body, cut at 1 KiB; may be empty.
    pub text: Text,
}

impl UpgradeRefusal {
    /// Reads a refusal; `None` if the attempt failed before any HTTP answer.
    #[must_use]
    pub fn of(error: &OpenError) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow, default)]
            error: Option<&'a RawValue>,
            // Gateways in front of the server say it so.
            #[serde(borrow, default)]
            message: Option<&'a RawValue>,
        }
        let status = error.status?;
        let text = match members::<Body<'_>>(&error.message) {
            Some(Body { error: None, message: None }) | None => bounded(error.message.trim()),
            Some(Body { error, message }) => said(error.or(message)),
        };
        Some(Self { status, class: UpgradeClass::of(status), text })
    }

    /// What to do about it, in one sentence.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self.class {
            UpgradeClass::Key => {
                "check the API key: it must be this project's, complete and not expired (the anon or publishable key)"
            }
            UpgradeClass::Forbidden => {
                "check whether Realtime is enabled for the project; old servers answer a wrong API key in this way, too"
            }
            UpgradeClass::UnknownProject => "check the project's URL: its host must begin with the project's id",
            UpgradeClass::RateLimited => {
                "wait: the project has too many connections or joins; its limits can be raised"
            }
            UpgradeClass::Server => "wait: the server has trouble of its own, and further attempts are made",
            UpgradeClass::Other => {
                "check that the URL is that of a Realtime server, such as https://PROJECT.supabase.co"
            }
        }
    }
}

impl fmt::Display for UpgradeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered HTTP {}", self.status)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl core::error::Error for UpgradeRefusal {}

/// What an HTTP status in answer to an upgrade means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeClass {
    /// 401: the API key is missing, expired, another project's or none at all.
    Key,
    /// 403: Realtime is switched off for the project; old servers refuse everything with it.
    Forbidden,
    /// 404: the host names no project.
    UnknownProject,
    /// 429: too many connections or joins.
    RateLimited,
    /// 5xx: the server or its database has trouble.
    Server,
    /// Anything else; perhaps there is no Realtime server there.
    Other,
}

impl UpgradeClass {
    const fn of(status: u16) -> Self {
        match status {
            401 => Self::Key,
            403 => Self::Forbidden,
            404 => Self::UnknownProject,
            429 => Self::RateLimited,
            500..=599 => Self::Server,
            _ => Self::Other,
        }
    }
}

fn class_of(reason: &str) -> RefusalClass {
    let (code, text) = split_code(reason);
    let by_code = code.and_then(|code| CODES.iter().find(|(known, _)| *known == code));
    let by_text = || TEXTS.iter().find(|(start, _)| text.starts_with(start));
    by_code.or_else(by_text).map_or(RefusalClass::Transient, |(_, class)| *class)
}

/// `Code` and what follows it in `Code: text`.
fn split_code(reason: &str) -> (Option<&str>, &str) {
    match reason.split_once(": ") {
        Some((code, text))
            if code.len() > 1
                && code.starts_with(|c: char| c.is_ascii_uppercase())
                && code.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            (Some(code), text)
        }
        _ => (None, reason),
    }
}

/// The members of a JSON object. Serde alone would take an array's elements for them, too.
fn members<'j, T: Deserialize<'j>>(json: &'j str) -> Option<T> {
    if json.trim_start().starts_with('{') { serde_json::from_str(json).ok() } else { None }
}

/// A string's content, the JSON of anything else, or nothing.
fn said(value: Option<&RawValue>) -> Text {
    let Some(value) = value else { return Text::EMPTY };
    match serde_json::from_str::<String>(value.get()) {
        Ok(text) => bounded(&text),
        Err(_) => bounded(value.get()),
    }
}

/// A copy of the first 1 KiB, which is enough for every sentence that a server is known to say.
pub(super) fn bounded(text: &str) -> Text {
    let mut end = text.len().min(1 << 10);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}

/// The codes whose class does not depend on what follows.
const CODES: [(&str, RefusalClass); 13] = [
    ("TopicNameRequired", RefusalClass::Permanent),
    ("PrivateOnly", RefusalClass::Permanent),
    ("TenantNotFound", RefusalClass::Permanent),
    ("RealtimeDisabledForTenant", RefusalClass::Permanent),
    ("Unauthorized", RefusalClass::Auth),
    ("InvalidJWTToken", RefusalClass::Auth),
    ("MalformedJWT", RefusalClass::Auth),
    ("JwtSignatureError", RefusalClass::Auth),
    ("JwtSignerError", RefusalClass::Auth),
    ("ChannelRateLimitReached", RefusalClass::Rate),
    ("ConnectionRateLimitReached", RefusalClass::Rate),
    ("ClientJoinRateLimitReached", RefusalClass::Rate),
    ("DatabaseConnectionRateLimitReached", RefusalClass::Rate),
];

/// How texts begin: old servers send them without a code, and so does whatever closes a channel.
const TEXTS: [(&str, RefusalClass); 24] = [
    ("unmatched topic", RefusalClass::Permanent),
    ("You must provide a topic name", RefusalClass::Permanent),
    ("This project only allows private channels", RefusalClass::Permanent),
    ("Tenant with the given ID does not exist", RefusalClass::Permanent),
    ("Realtime was disabled for this tenant", RefusalClass::Permanent),
    ("Replay is not allowed for public channels", RefusalClass::Permanent),
    ("Replay params are not valid", RefusalClass::Permanent),
    ("Track message size exceeded", RefusalClass::Permanent),
    ("You do not have permissions to read from", RefusalClass::Auth),
    ("You no longer have permission to read from", RefusalClass::Auth),
    ("Token has expired", RefusalClass::Auth),
    ("Token expiration time is invalid", RefusalClass::Auth),
    ("Fields `role` and `exp` are required in JWT", RefusalClass::Auth),
    ("The token provided is not a valid JWT", RefusalClass::Auth),
    ("Failed to validate JWT signature", RefusalClass::Auth),
    ("Failed to generate JWT signer", RefusalClass::Auth),
    ("Too many channels", RefusalClass::Rate),
    ("too many channels joined", RefusalClass::Rate),
    ("Too many connected users", RefusalClass::Rate),
    ("Too many joins per second", RefusalClass::Rate),
    ("Too many database connections attempts per second", RefusalClass::Rate),
    ("Too many messages per second", RefusalClass::Rate),
    ("Too many presence messages per second", RefusalClass::Rate),
    ("Client presence rate limit exceeded", RefusalClass::Rate),
];

#[cfg(test)]
mod tests {
    use super::RefusalClass::{Auth, Permanent, Rate, Transient};
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn payload(value: &Value) -> Payload {
        Payload::json(value).unwrap()
    }

    fn refusal(reason: &str) -> Refusal {
        Refusal::of(payload(&json!({ "reason": reason })))
    }

    fn system(message: &str) -> SystemMessage {
        let said = json!({"extension": "system", "status": "error", "message": message, "channel": "room-1"});
        SystemMessage::of(payload(&said)).unwrap()
    }

    const REASONS: [(&str, &str, RefusalClass); 27] = [
        ("TopicNameRequired", "You must provide a topic name", Permanent),
        ("PrivateOnly", "This project only allows private channels", Permanent),
        ("TenantNotFound", "Tenant with the given ID does not exist", Permanent),
        ("RealtimeDisabledForTenant", "Realtime was disabled for this tenant", Permanent),
        ("UnableToReplayMessages", "Replay is not allowed for public channels", Permanent),
        ("UnableToReplayMessages", "Replay params are not valid", Permanent),
        ("UnableToReplayMessages", "something else", Transient),
        ("Unauthorized", "You do not have permissions to read from this Channel topic: priv", Auth),
        ("InvalidJWTToken", "Token has expired 95198123 seconds ago", Auth),
        ("InvalidJWTToken", "Fields `role` and `exp` are required in JWT", Auth),
        ("InvalidJWTToken", "Token expiration time is invalid", Auth),
        ("MalformedJWT", "The token provided is not a valid JWT", Auth),
        ("JwtSignatureError", "Failed to validate JWT signature", Auth),
        ("JwtSignerError", "Failed to generate JWT signer for key ID (kid) \"a\"", Auth),
        ("ChannelRateLimitReached", "Too many channels", Rate),
        ("ConnectionRateLimitReached", "Too many connected users", Rate),
        ("ClientJoinRateLimitReached", "Too many joins per second", Rate),
        ("DatabaseConnectionRateLimitReached", "Too many database connections attempts per second", Rate),
        ("IncreaseConnectionPool", "Please increase your connection pool size", Transient),
        ("DatabaseLackOfConnections", "Database can't accept more connections", Transient),
        ("UnableToConnectToProject", "Realtime was unable to connect to the project database", Transient),
        ("InitializingProjectConnection", "Realtime is initializing the project connection", Transient),
        ("QueryCanceled", "Query was cancelled, please try again", Transient),
        ("MissingPartition", "any", Transient),
        ("TimeoutOnRpcCall", "Node request timeout", Transient),
        ("RealtimeRestarting", "Realtime is restarting, please standby", Transient),
        ("UnknownErrorOnChannel", "any", Transient),
    ];

    #[test]
    fn refused_joins_are_classified_with_and_without_their_code() {
        for (code, text, class) in REASONS {
            let whole = format!("{code}: {text}");
            let coded = refusal(&whole);
            assert_eq!((coded.code.unwrap().as_str(), coded.reason.as_str(), coded.class), (code, &*whole, class));
            let bare = refusal(text);
            assert_eq!((bare.code, bare.reason.as_str(), bare.class), (None, text, class), "{text}");
        }
        for (code, class) in CODES {
            assert_eq!(refusal(&format!("{code}: in words of tomorrow")).class, class, "{code}");
        }
        for (reason, class) in [
            ("unmatched topic", Permanent),
            ("join crashed", Transient),
            ("too many channels joined", Rate),
            ("You do not have permissions to read from this Topic", Auth),
            ("Unknown Error on Channel", Transient),
            ("ErrorOnRpcCall: any", Transient),
            ("MusterJoinError: any", Transient),
            ("", Transient),
        ] {
            assert_eq!(refusal(reason).class, class, "{reason}");
        }
    }

    #[test]
    fn a_code_is_a_capitalised_word_before_a_colon() {
        let code = |reason: &str| refusal(reason).code;
        assert_eq!(code("Ab1: x"), Some("Ab1".into()));
        for reason in ["A: x", "ab: x", "Ab:x", "A b: x", "Äb: x", ": x", "Ab"] {
            assert_eq!(code(reason), None, "{reason}");
        }
    }

    #[test]
    fn a_refusal_of_any_shape_is_one() {
        for (response, reason) in [
            (json!("payload_size_exceeded"), "payload_size_exceeded"),
            (json!({"reason": {"code": 7}}), r#"{"code":7}"#),
            (json!({"reason": null}), ""),
            (json!({}), ""),
            (json!(["unmatched topic"]), ""),
            (json!(null), ""),
        ] {
            let refusal = Refusal::of(payload(&response));
            assert_eq!((refusal.reason.as_str(), refusal.response), (reason, payload(&response)), "{response}");
        }
        assert_eq!(Refusal::of(Payload::binary(b"\xff".as_slice().into())).class, Transient);
        let long = refusal(&format!("Unauthorized: {}", "é".repeat(600)));
        assert_eq!((long.reason.len(), long.class), (1024, Auth));
        assert!(refusal("").to_string().contains("without a reason"));
    }

    #[test]
    fn what_is_said_before_a_close_is_classified() {
        for (message, class) in [
            ("Too many messages per second", Rate),
            ("Too many presence messages per second", Rate),
            ("Client presence rate limit exceeded", Rate),
            ("Track message size exceeded", Permanent),
            ("Token has expired 0 seconds ago", Auth),
            ("The token provided is not a valid JWT", Auth),
            ("Fields `role` and `exp` are required in JWT", Auth),
            ("You do not have permissions to read from this Channel topic: room-1", Auth),
            ("You no longer have permission to read from this Channel topic: room-1", Auth),
            ("Failed to generate JWT signer, check your JWT secret or JWKS configuration", Auth),
            ("Realtime was unable to connect to the project database", Transient),
            ("Query was cancelled, please try again", Transient),
            ("Replication connection was not established in time", Transient),
            ("Too many database timeouts", Transient),
        ] {
            assert_eq!(system(message).class(), Some(class), "{message}");
        }
    }

    #[test]
    fn system_messages_may_lack_anything() {
        let said = json!({"extension": "postgres_changes", "status": "ok", "message": "Subscribed to PostgreSQL",
            "channel": "room-1"});
        let message = SystemMessage::of(payload(&said)).unwrap();
        assert_eq!((message.extension.as_str(), message.ok, message.class()), ("postgres_changes", true, None));
        assert_eq!((message.message.as_str(), message.channel), ("Subscribed to PostgreSQL", Some("room-1".into())));
        assert_eq!(message.payload, payload(&said));

        let said = json!({"extension": "system", "status": "ok", "message": "Server requested disconnect"});
        assert_eq!(SystemMessage::of(payload(&said)).unwrap().channel, None);
        let nothing = SystemMessage::of(Payload::EMPTY).unwrap();
        assert_eq!((nothing.message.as_str(), nothing.ok, nothing.class()), ("", false, Some(Transient)));
        for other in [json!([]), json!("ok"), json!(null)] {
            assert_eq!(SystemMessage::of(payload(&other)), None);
        }
    }

    #[test]
    fn refused_upgrades_are_classified_by_status_and_say_why() {
        for (status, body, class, text) in [
            (401, r#"{"error":"API key is missing"}"#, UpgradeClass::Key, "API key is missing"),
            (401, r#"{"error":"Token has expired"}"#, UpgradeClass::Key, "Token has expired"),
            (401, r#"{"message":"No API key found in request"}"#, UpgradeClass::Key, "No API key found in request"),
            (
                403,
                r#"{"error":"Realtime was disabled for this tenant"}"#,
                UpgradeClass::Forbidden,
                "Realtime was disabled for this tenant",
            ),
            (403, "", UpgradeClass::Forbidden, ""),
            (404, r#"{"error":"Tenant not found"}"#, UpgradeClass::UnknownProject, "Tenant not found"),
            (429, r#"{"error":"Too many connected users"}"#, UpgradeClass::RateLimited, "Too many connected users"),
            (500, r#"{"error":"Error connecting to Realtime"}"#, UpgradeClass::Server, "Error connecting to Realtime"),
            (503, " upstream down\n", UpgradeClass::Server, "upstream down"),
            (400, r#"{"other":1}"#, UpgradeClass::Other, r#"{"other":1}"#),
            (502, r#"{"error":"cut of"#, UpgradeClass::Server, r#"{"error":"cut of"#),
        ] {
            let refusal = UpgradeRefusal::of(&OpenError::refused(status, None, body)).unwrap();
            assert_eq!((refusal.status, refusal.class, refusal.text.as_str()), (status, class, text), "{body}");
        }
        assert_eq!(UpgradeRefusal::of(&OpenError::io("no such host")), None);
    }

    fn replies() -> impl Strategy<Value = String> {
        let odd = "\\{\"(reason|message|error|status)\":[\\[{\"\\]}0-9a-z\\\\]{0,12}\\}";
        prop_oneof!["\\PC{0,40}", odd]
    }

    proptest! {
        #[test]
        fn anything_can_be_said(json in replies(), status: u16) {
            let payload = Payload::unread_json(json.as_str().into());
            let refusal = Refusal::of(payload.clone());
            prop_assert!(refusal.reason.len() <= 1024);
            prop_assert_eq!(&refusal.response, &payload);
            if let Some(message) = SystemMessage::of(payload) {
                prop_assert_eq!(message.class().is_none(), message.ok);
            }
            let upgrade = UpgradeRefusal::of(&OpenError::refused(status, None, json)).unwrap();
            prop_assert!(upgrade.text.len() <= 1024 && !upgrade.advice().is_empty());
        }
    }
}
