//! Broadcasts over HTTP: requests built and answers read, without a channel and without a socket.
//!
//! Source: specification, sections 6.3 (batch) and 6.4 (single). Topics go without `realtime:` and with
//! their `private` flag, for else the message reaches a topic that nobody is in.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::access_token::AccessToken;
use super::broadcast::{Broadcast, Persist};
use super::config::Config;
use super::join::{TopicError, sub_topic, topic_of};
use super::refusal::bounded;
use crate::http::{HttpError, HttpId, HttpRequest, HttpResponse};
use crate::payload::Payload;
use crate::phoenix::percent_encode;
use crate::text::Text;

/// What an answer may have; those of Realtime have some hundred bytes.
const ANSWER_BYTES: usize = 64 << 10;
/// Around each message of a batch.
const ENVELOPE_BYTES: usize = 80;

/// A broadcast that goes over HTTP. Nobody needs to be subscribed to its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpBroadcast {
    /// The channel's name, with or without its `realtime:`.
    pub channel: Text,
    /// The event, by which its receivers tell it from others.
    pub event: Text,
    /// What it carries: JSON other than `null`, or bytes; in a batch a JSON object.
    pub payload: Payload,
    /// Whether it is for the private channel of this name; default no. To a private channel without
    /// the permission to send the server accepts it and drops it.
    pub private: bool,
    /// Whether the server stores it, to be replayed; default `None`: no. Only on private channels, and
    /// not in a batch.
    pub persist: Option<Persist>,
    /// Instead of `Config::push_timeout`.
    pub timeout: Option<Duration>,
}

impl HttpBroadcast {
    /// To the public channel of this name.
    #[must_use]
    pub fn new(channel: impl Into<Text>, event: impl Into<Text>, payload: Payload) -> Self {
        let (channel, event) = (channel.into(), event.into());
        Self { channel, event, payload, private: false, persist: None, timeout: None }
    }

    /// To the private channel.
    #[must_use]
    pub const fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Has the server store it.
    #[must_use]
    pub const fn persist(mut self, persist: Persist) -> Self {
        self.persist = Some(persist);
        self
    }

    /// Instead of `Config::push_timeout`.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What a broadcast on a channel is over HTTP.
    pub(super) fn of(broadcast: Broadcast, topic: &Text, private: bool) -> Self {
        let Broadcast { event, payload, persist, timeout, .. } = broadcast;
        Self { channel: topic.clone(), event, payload, private, persist, timeout }
    }

    /// Looks for what a server would refuse.
    pub(super) fn check(&self) -> Result<(), HttpBroadcastError> {
        topic_of(&self.channel)?;
        if self.event.is_empty() {
            return Err(HttpBroadcastError::NoEvent);
        }
        if self.payload.as_json().is_some_and(|json| json.trim() == "null") {
            return Err(HttpBroadcastError::NullPayload);
        }
        if self.persist.is_some() && !self.private {
            return Err(HttpBroadcastError::PersistNeedsPrivate);
        }
        Ok(())
    }

    pub(super) fn check_in_batch(&self) -> Result<(), HttpBroadcastError> {
        self.check()?;
        if !self.fits_batch() {
            return Err(HttpBroadcastError::BatchNeedsObjects);
        }
        Ok(())
    }

    /// Whether the batch endpoint takes it: a JSON object that is not to be stored.
    pub(super) fn fits_batch(&self) -> bool {
        let is_object = |json: &str| json.trim_ascii_start().starts_with('{');
        self.persist.is_none() && self.payload.as_json().is_some_and(is_object)
    }
}

/// One broadcast: `POST …/api/broadcast/TOPIC/events/EVENT`.
pub(super) fn single(
    id: HttpId,
    config: &Config,
    token: Option<&AccessToken>,
    broadcast: &HttpBroadcast,
) -> HttpRequest {
    let mut url = base(config);
    url.push('/');
    percent_encode(&mut url, sub_topic(&broadcast.channel));
    url.push_str("/events/");
    percent_encode(&mut url, &broadcast.event);
    let mut mark = '?';
    if broadcast.private {
        url.push_str("?private=true");
        mark = '&';
    }
    match broadcast.persist {
        None => {}
        Some(Persist::Default) => url.extend([mark.encode_utf8(&mut [0; 4]), "persist=true"]),
        Some(Persist::Seconds(ttl)) => url.push_str(&alloc::format!("{mark}persist%5Bttl%5D={ttl}")),
    }
    let content_type = if broadcast.payload.is_binary() { "application/octet-stream" } else { "application/json" };
    let body = broadcast.payload.to_bytes();
    let timeout = broadcast.timeout.unwrap_or(config.phoenix.push_timeout);
    let request = HttpRequest::post(id, url, content_type, body, timeout);
    with_credentials(request, config, token)
}

/// Any number of broadcasts: `POST …/api/broadcast`.
pub(super) fn batch(
    id: HttpId,
    config: &Config,
    token: Option<&AccessToken>,
    broadcasts: &[HttpBroadcast],
) -> HttpRequest {
    #[derive(Serialize)]
    struct Message<'a> {
        topic: &'a str,
        event: &'a str,
        payload: Option<&'a RawValue>,
        private: bool,
    }
    #[derive(Serialize)]
    struct Batch<'a> {
        messages: Vec<Message<'a>>,
    }
    let messages = broadcasts.iter().map(|broadcast| Message {
        topic: sub_topic(&broadcast.channel),
        event: &broadcast.event,
        payload: broadcast.payload.parse().ok(),
        private: broadcast.private,
    });
    let body = Batch { messages: messages.collect() };
    // Texts and JSON that has just been read: nothing in there that JSON could not say.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let asked = broadcasts.iter().filter_map(|broadcast| broadcast.timeout).max();
    let timeout = asked.unwrap_or(config.phoenix.push_timeout);
    let request = HttpRequest::post(id, base(config), "application/json", body, timeout);
    with_credentials(request, config, token)
}

/// How large a request's body may be at most, envelope included, for these.
pub(super) fn size(broadcasts: &[HttpBroadcast]) -> usize {
    let names = |b: &HttpBroadcast| b.channel.len() + b.event.len();
    broadcasts.iter().map(|b| names(b) + b.payload.len() + ENVELOPE_BYTES).sum()
}

/// The URL of the socket as one of the API: `…/socket/websocket` gives way to `…/api/broadcast`.
fn base(config: &Config) -> String {
    let base = config.phoenix.endpoint.http_base();
    let base = base.strip_suffix("/socket").unwrap_or(&base);
    alloc::format!("{base}/api/broadcast")
}

/// The key always, the token only if there is one: an empty one has been a server's undoing (trap T56).
fn with_credentials(mut request: HttpRequest, config: &Config, token: Option<&AccessToken>) -> HttpRequest {
    request.body_limit = ANSWER_BYTES;
    // What gateways want of the socket they may want here.
    let ours = |name: &str| {
        ["apikey", "authorization", "content-type", "x-api-key"].iter().any(|own| name.eq_ignore_ascii_case(own))
    };
    request.headers.extend(config.phoenix.headers.iter().filter(|(name, _)| !ours(name)).cloned());
    let request = request.header("apikey", config.api_key.expose());
    match token {
        Some(token) => request.header("authorization", alloc::format!("Bearer {}", token.expose())),
        None => request,
    }
}

/// Why a broadcast was not sent over HTTP: the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpBroadcastError {
    /// The channel's name is no topic.
    Topic(TopicError),
    /// The event is empty.
    NoEvent,
    /// The payload is `null`, which servers refuse.
    NullPayload,
    /// A payload in a batch is no JSON object, or is to be stored: send it alone.
    BatchNeedsObjects,
    /// Nothing is in the batch.
    EmptyBatch,
    /// It was to be stored, and its channel is public.
    PersistNeedsPrivate,
    /// It is for a private channel, and there is no access token to send it with.
    NoToken,
    /// The request would be larger than `Limits::outbound_frame_bytes`.
    TooLarge {
        /// Its size in bytes.
        len: usize,
    },
    /// `Config::http_broadcasts` are on their way.
    Full,
    /// The session is closed.
    SessionClosed,
}

impl From<TopicError> for HttpBroadcastError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl fmt::Display for HttpBroadcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic(error) => return error.fmt(f),
            Self::NoEvent => "the broadcast has no event; give one, such as `message`",
            Self::NullPayload => "the payload is null, which servers refuse; send {} instead",
            Self::BatchNeedsObjects => "a batch is of JSON objects that are not stored; send this one alone",
            Self::EmptyBatch => "the batch is empty; put a broadcast into it",
            Self::PersistNeedsPrivate => {
                "only private channels store broadcasts; make the channel private or leave persist out"
            }
            Self::NoToken => "a private channel needs an access token; set one",
            Self::TooLarge { len } => return write!(f, "a request of {len} bytes is over the limit"),
            Self::Full => "too many broadcasts are on their way over HTTP",
            Self::SessionClosed => "the session is closed",
        })
    }
}

impl core::error::Error for HttpBroadcastError {}

/// Why a broadcast over HTTP came to nothing, or why nobody knows: the server's word, or the network's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpFailure {
    /// The server refused.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words, cut at 1 KiB; may be empty.
        message: Text,
        /// What a `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// The answer is not one of Realtime's, such as a web page: something else lives at this URL.
    NotRealtime {
        /// The HTTP status.
        status: u16,
    },
    /// There is no answer, and what [`HttpError`] says is known about the request.
    Http(HttpError),
    /// Given up, out of time, or the session was closed, before it was sent.
    Dropped,
    /// Given up, or the session was closed, after it was sent: the server may have acted.
    Unknown,
}

impl HttpFailure {
    /// What the host brought back.
    pub(super) fn of(answer: Result<HttpResponse, HttpError>) -> Result<(), Self> {
        let response = answer.map_err(Self::Http)?;
        let HttpResponse { status, retry_after, body, .. } = &response;
        let body = Text::assume_utf8(body.clone());
        let body = body.trim();
        let is_json = body.is_empty() || body.starts_with(['{', '[', '"']);
        if !is_json {
            return Err(Self::NotRealtime { status: *status });
        }
        if (200..300).contains(status) {
            return Ok(());
        }
        Err(Self::Refused { status: *status, message: message_of(body), retry_after: *retry_after })
    }
}

/// The `message`, `error` or `errors` of an answer.
fn message_of(body: &str) -> Text {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow, default)]
        message: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        error: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        errors: Option<&'a RawValue>,
    }
    let Ok(Answer { message, error, errors }) = serde_json::from_str(body) else { return bounded(body) };
    let said = message.or(error).or(errors.map(|errors| errors.get().into()));
    bounded(said.as_deref().unwrap_or_default())
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, message, .. } => {
                let advice = match status {
                    401 => "check the key and the token",
                    403 => "the project or the token is not allowed to",
                    404 => "this server is too old for it, or the URL is not the project's; try a batch",
                    413 | 422 => "check payload and size",
                    429 => "send less, or later",
                    _ => "the server's logs may say more",
                };
                let colon = if message.is_empty() { "" } else { ": " };
                write!(f, "the server answered HTTP {status}{colon}{message} ({advice})")
            }
            Self::NotRealtime { status } => {
                write!(f, "the answer (HTTP {status}) is not Realtime's; check that the URL is the project's")
            }
            Self::Http(error) => error.fmt(f),
            Self::Dropped => f.write_str("it was given up before it was sent"),
            Self::Unknown => f.write_str("it was given up after it was sent; the server may have acted"),
        }
    }
}

impl core::error::Error for HttpFailure {}
