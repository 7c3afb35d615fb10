//! Broadcasts over HTTP (sections 6.3 and 6.4): who may send, what is accepted, and to whom it goes.

use rejoin_core::{Payload, Text, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::broadcasting::{Body, Broadcast};
use super::channel::to_payload;
use super::commons::Commons;
use super::config::{Access, PeerConfig};
use super::token::Claims;

/// What requests are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// What they deserve.
    Works,
    /// The same, but single broadcasts are unknown, as before release 2.97.0.
    Old,
    /// This, whatever they are.
    Answers(HttpAnswer),
    /// Nothing, for ever.
    Silent,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// `retry-after`, in seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: String,
}

impl HttpAnswer {
    /// A JSON body, or nothing for null.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Self { status, content_type: "application/json; charset=utf-8", retry_after: None, body }
    }

    /// A page for people, as a proxy in the way sends it.
    #[must_use]
    pub fn html(status: u16) -> Self {
        let body = "<!DOCTYPE html>\n<html><body><h1>Something else lives here</h1></body></html>";
        Self { status, content_type: "text/html", retry_after: None, body: body.into() }
    }

    /// 429, with what `Retry-After` says.
    #[must_use]
    pub fn too_many(retry_after: Option<u64>) -> Self {
        Self { retry_after, ..Self::json(429, &json!({ "message": "Too many requests" })) }
    }

    /// 403, for a project that is suspended.
    #[must_use]
    pub fn suspended() -> Self {
        Self::json(403, &json!({ "message": "Tenant is suspended" }))
    }
}

/// What is accepted, for whom, or the answer that refuses it.
type Verdict = Result<Vec<Broadcast>, HttpAnswer>;

impl PeerConfig {
    /// Answers a request, if it is answered, and gives what every socket is to hear of it.
    pub fn handle_http(
        &self,
        commons: &Commons,
        now: Timestamp,
        method: &str,
        target: &str,
        headers: &[(Text, Text)],
        body: &[u8],
    ) -> (Option<HttpAnswer>, Vec<Broadcast>) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // Behind the hosted gateway, or not.
        let path = path.strip_prefix("/realtime/v1").unwrap_or(path);
        let segments: Vec<&str> = path.split('/').collect();
        let request = Request { config: self, commons, now, query, headers, body };
        let verdict = match (&self.rest, method, &segments[..]) {
            (Rest::Silent, ..) => return (None, Vec::new()),
            (Rest::Answers(answer), ..) => Err(answer.clone()),
            (_, "POST", ["", "api", "broadcast"]) => request.batch(),
            (Rest::Works, "POST", ["", "api", "broadcast", topic, "events", event]) => {
                request.single(&decoded(topic), &decoded(event))
            }
            _ => Err(HttpAnswer::json(404, &json!({ "errors": { "detail": "Not Found" } }))),
        };
        match verdict {
            Ok(broadcasts) => (Some(HttpAnswer::json(202, &Value::Null)), broadcasts),
            Err(answer) => (Some(answer), Vec::new()),
        }
    }
}

struct Request<'a> {
    config: &'a PeerConfig,
    commons: &'a Commons,
    now: Timestamp,
    query: &'a str,
    headers: &'a [(Text, Text)],
    body: &'a [u8],
}

impl Request<'_> {
    fn batch(&self) -> Verdict {
        #[derive(Deserialize)]
        struct Message {
            topic: Option<String>,
            event: Option<String>,
            payload: Option<Value>,
            #[serde(default)]
            private: bool,
        }
        #[derive(Deserialize)]
        struct Batch {
            messages: Option<Vec<Message>>,
        }
        let claims = self.claims()?;
        if !self.is("application/json") {
            return Err(unsupported());
        }
        let Ok(Batch { messages }) = serde_json::from_slice(self.body) else { return Err(bad_request()) };
        let messages = messages.ok_or_else(|| invalid(&json!({ "messages": ["can't be blank"] })))?;
        let flaws: Vec<Value> = messages
            .iter()
            .map(|message| {
                let mut flaws = json!({});
                let mut blank = |name: &str, text: Option<&String>| {
                    if text.is_none_or(String::is_empty) {
                        flaws[name] = json!(["can't be blank"]);
                    }
                };
                blank("topic", message.topic.as_ref());
                blank("event", message.event.as_ref());
                match &message.payload {
                    None | Some(Value::Null) => flaws["payload"] = json!(["can't be blank"]),
                    Some(Value::Object(_)) if self.is_too_large(&message.payload) => {
                        flaws["payload"] = json!(["Payload size exceeds tenant limit"]);
                    }
                    Some(Value::Object(_)) => {}
                    Some(_) => flaws["payload"] = json!(["is invalid"]),
                }
                flaws
            })
            .collect();
        if flaws.iter().any(|flaws| *flaws != json!({})) {
            return Err(invalid(&json!({ "messages": flaws })));
        }
        let accepted = messages.into_iter().filter_map(|Message { topic, event, payload, private }| {
            let topic = topic.filter(|topic| self.may_send(&claims, topic, private))?;
            let payload = json!({ "event": event, "payload": payload, "type": "broadcast" });
            Some(Broadcast {
                topic: format!("realtime:{topic}").into(),
                private,
                body: Body::Text(to_payload(&payload)),
            })
        });
        Ok(accepted.collect())
    }

    fn single(&self, topic: &str, event: &str) -> Verdict {
        let claims = self.claims()?;
        let payload = if self.is("application/octet-stream") {
            Payload::binary(self.body.to_vec().into())
        } else if self.is("application/json") {
            let text = std::str::from_utf8(self.body).map_err(|_| bad_request())?;
            Payload::from_json_text(text).map_err(|_| bad_request())?
        } else {
            return Err(unsupported());
        };
        if payload.as_json().is_some_and(|json| json.trim() == "null") {
            return Err(invalid(&json!({ "payload": ["can't be blank"] })));
        }
        if payload.len() > self.config.payload_bytes {
            return Err(invalid(&json!({ "payload": ["Payload size exceeds tenant limit"] })));
        }
        let private = self.asks("private", |value| value == "true");
        if !self.may_send(&claims, topic, private) {
            return Ok(Vec::new());
        }
        let stored = private
            && self.config.persists
            && (self.asks("persist", |value| value == "true") || self.asks("persist[ttl]", |_| true));
        let event = Text::from(event);
        let metadata = stored.then(|| {
            let unix = self.config.unix(self.now);
            self.commons.store(unix, topic, event.clone(), payload.clone())
        });
        let body = Body::User { event, metadata, payload };
        Ok(vec![Broadcast { topic: format!("realtime:{topic}").into(), private, body }])
    }

    /// Whoever is named in `authorization`, or else the holder of the key.
    fn claims(&self) -> Result<Claims, HttpAnswer> {
        let unauthorized = || HttpAnswer::json(401, &json!({ "message": "Unauthorized" }));
        let token = match self.header("authorization") {
            // An empty one was seen to be this server's undoing (trap T56).
            Some("" | "Bearer" | "Bearer ") => {
                return Err(HttpAnswer::json(500, &json!({ "errors": { "detail": "Internal Server Error" } })));
            }
            Some(bearer) => bearer.strip_prefix("Bearer ").ok_or_else(unauthorized)?,
            None => self.header("apikey").ok_or_else(unauthorized)?,
        };
        Claims::of(token, self.config.unix_seconds(self.now)).map_err(|_| unauthorized())
    }

    /// What may not be sent is accepted, and goes nowhere.
    fn may_send(&self, claims: &Claims, topic: &str, private: bool) -> bool {
        !private || (self.config.access)(&claims.role, topic) >= Access::Write
    }

    fn is_too_large(&self, payload: &Option<Value>) -> bool {
        payload.as_ref().is_some_and(|payload| payload.to_string().len() > self.config.payload_bytes)
    }

    fn is(&self, media_type: &str) -> bool {
        self.header("content-type").is_some_and(|given| given.starts_with(media_type))
    }

    fn asks(&self, name: &str, accepts: impl Fn(&str) -> bool) -> bool {
        form_urlencoded::parse(self.query.as_bytes()).any(|(given, value)| given == name && accepts(&value))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        Some(value)
    }
}

fn invalid(errors: &Value) -> HttpAnswer {
    HttpAnswer::json(422, &json!({ "errors": errors }))
}

fn bad_request() -> HttpAnswer {
    HttpAnswer::json(400, &json!({ "errors": { "detail": "Bad Request" } }))
}

fn unsupported() -> HttpAnswer {
    HttpAnswer::json(415, &json!({ "errors": { "detail": "Unsupported Media Type" } }))
}

/// A segment of a path, where what has a meaning in a query has none.
fn decoded(segment: &str) -> String {
    let encoded = segment.replace('+', "%2B").replace('=', "%3D").replace('&', "%26");
    form_urlencoded::parse(encoded.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}
