//! Recorded broadcasts over HTTP, made again by a Supabase session of ours.

use base64::Engine as _;
use rejoin_core::http::{HttpRequest, HttpResponse};
use rejoin_core::supabase::{
    AccessToken, Config, Event, HttpBroadcast, HttpBroadcastError, HttpFailure, Request, Session,
};
use rejoin_core::{Jitter, Payload, Timestamp};
use rejoin_recording::Row;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::replay::Seen;
use crate::supabase_script::SupabaseScript;

const API: &str = "/api/broadcast";

/// What a recorded client asked over HTTP of the API for broadcasts, each with its answer.
#[must_use]
pub fn http_broadcasts(rows: &[Row]) -> Vec<(Row, Row)> {
    let asks = |row: &&Row| row.kind == "http_request" && path(row).starts_with(API);
    let answers = |asked: &Row| rows.iter().find(|row| row.kind == "http_response" && row.conn == asked.conn).cloned();
    rows.iter().filter(asks).filter_map(|asked| Some((asked.clone(), answers(asked)?))).collect()
}

/// Makes the same broadcasts with a session of ours, which hears the recorded answer. A line each for
/// what is asked, what goes with it, and what becomes of it.
///
/// # Errors
/// If the recorded client asked for what our client never would.
pub fn http(asked: &Row, answered: &Row) -> Result<Seen, String> {
    let header = |name: &str| asked.rest.get("headers")?.get(name)?.as_str();
    let mut config = Config::new("ws://sim/socket", header("apikey").unwrap_or_default()).map_err(|e| e.to_string())?;
    config.phoenix.jitter = Jitter::None;
    let serializer = config.phoenix.serializer;
    // Nobody tells it the time of day: what the recorded tokens were, the server is to say.
    let mut script = SupabaseScript::driving(Session::new(config, Timestamp::ZERO), serializer);
    if let Some(token) = header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
        let token = AccessToken::new(token).map_err(|e| e.to_string())?;
        script.with(|session, now| session.set_auth(now, token)).map_err(|e| e.to_string())?;
    }

    let mut seen = Seen::default();
    let (broadcasts, in_batch) = broadcasts_of(asked)?;
    let sent = script.with(|session, now| match &broadcasts[..] {
        [alone] if !in_batch => session.http_broadcast(now, alone.clone()),
        batch => session.http_broadcast_batch(now, batch),
    });
    if broadcasts.iter().any(|broadcast| broadcast.event.is_empty()) {
        seen.expected.push(HttpBroadcastError::NoEvent.to_string());
        seen.actual.extend(sent.err().map(|error| error.to_string()));
        // The server's answer is heard in its stead.
        let stand_in = HttpBroadcast::new("room", "event", Payload::EMPTY);
        script.with(|session, now| session.http_broadcast(now, stand_in)).map_err(|e| e.to_string())?;
    } else {
        sent.map_err(|e| e.to_string())?;
    }
    let Some((_, Request::Http(request))) = script.requests.pop() else { return Err("nothing is asked".into()) };
    if seen.actual.is_empty() {
        seen.expected.extend(recorded_lines(asked, header)?);
        seen.actual.extend(our_lines(&request)?);
    }

    let body = answered.body.clone().unwrap_or_default();
    seen.expected.push(expected_outcome(answered.status.unwrap_or_default(), &body));
    let response = HttpResponse::new(answered.status.unwrap_or_default(), body);
    script.with(|session, now| session.handle_http(now, request.id, Ok(response)));
    seen.actual.extend(script.take_events().iter().filter_map(outcome_line));
    Ok(seen)
}

/// The broadcasts of a request, and whether it asks for a batch.
fn broadcasts_of(asked: &Row) -> Result<(Vec<HttpBroadcast>, bool), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Message {
        topic: String,
        #[serde(default)]
        event: String,
        #[serde(default)]
        payload: Value,
        #[serde(default)]
        private: bool,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Batch {
        messages: Vec<Message>,
    }
    let (path, query) = path(asked).split_once('?').unwrap_or((path(asked), ""));
    let body = asked.body.as_deref().unwrap_or_default();
    if path == API {
        let batch: Batch = serde_json::from_str(body).map_err(|e| e.to_string())?;
        let broadcast = |message: Message| {
            let payload = if message.payload.is_null() { json!({}) } else { message.payload };
            let payload = Payload::json(&payload).map_err(|e| e.to_string())?;
            let broadcast = HttpBroadcast::new(message.topic, message.event, payload);
            Ok(if message.private { broadcast.private() } else { broadcast })
        };
        return Ok((batch.messages.into_iter().map(broadcast).collect::<Result<_, String>>()?, true));
    }
    let names = path.strip_prefix(API).and_then(|names| names.strip_prefix('/')?.split_once("/events/"));
    let (topic, event) = names.ok_or_else(|| format!("{path} is none of the API"))?;
    let payload = match bytes_of(asked)? {
        Some(bytes) => Payload::binary(bytes.into()),
        None => Payload::from_json_text(body.to_owned()).map_err(|e| e.to_string())?,
    };
    let broadcast = HttpBroadcast::new(topic, event, payload);
    let private = query.split('&').any(|pair| pair == "private=true");
    Ok((vec![if private { broadcast.private() } else { broadcast }], false))
}

fn recorded_lines<'a>(asked: &'a Row, header: impl Fn(&str) -> Option<&'a str>) -> Result<Vec<String>, String> {
    let (path, query) = path(asked).split_once('?').unwrap_or((path(asked), ""));
    // A key in the query is one that our client puts into its header.
    let meant = |pair: &&str| !pair.is_empty() && !pair.starts_with("apikey=") && !pair.starts_with("vsn=");
    let query: Vec<_> = query.split('&').filter(meant).collect();
    let body = match bytes_of(asked)? {
        Some(bytes) => format!("{bytes:?}"),
        None => body_line(asked.body.as_deref().unwrap_or_default()),
    };
    Ok(lines(asked.method.as_deref().unwrap_or_default(), path, &query.join("&"), header, body))
}

fn our_lines(request: &HttpRequest) -> Result<Vec<String>, String> {
    let target = request.url.strip_prefix("http://sim").ok_or("another server is asked")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| request.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str());
    let is_json = header("content-type") == Some("application/json");
    let body = match std::str::from_utf8(&request.body).ok().filter(|_| is_json) {
        Some(json) => body_line(json),
        None => format!("{:?}", &request.body[..]),
    };
    Ok(lines(request.method.as_str(), path, query, header, body))
}

fn lines<'a>(
    method: &str,
    path: &str,
    query: &str,
    header: impl Fn(&str) -> Option<&'a str>,
    body: String,
) -> Vec<String> {
    let headers = ["content-type", "apikey", "authorization"].map(|name| format!("{name}: {:?}", header(name)));
    [format!("{method} {path}?{query}")].into_iter().chain(headers).chain([body]).collect()
}

/// The body with what its client left to the server.
fn body_line(body: &str) -> String {
    let mut body: Value = serde_json::from_str(body).unwrap_or_default();
    for message in body["messages"].as_array_mut().into_iter().flatten() {
        if message["private"].is_null() {
            message["private"] = false.into();
        }
    }
    body.to_string()
}

/// What an answer means (specification, sections 6.3 and 6.4).
fn expected_outcome(status: u16, body: &str) -> String {
    if (200..300).contains(&status) {
        return "accepted".into();
    }
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let words = body["message"].as_str().map_or_else(|| body["errors"].to_string(), ToOwned::to_owned);
    format!("refused with {status}: {words}")
}

fn outcome_line(event: &Event) -> Option<String> {
    let Event::HttpDone { outcome, .. } = event else { return None };
    Some(match outcome {
        Ok(()) => "accepted".into(),
        Err(HttpFailure::Refused { status, message, .. }) => format!("refused with {status}: {message}"),
        Err(other) => other.to_string(),
    })
}

fn path(row: &Row) -> &str {
    row.path.as_deref().unwrap_or_default()
}

/// A recorded body of bytes.
fn bytes_of(asked: &Row) -> Result<Option<Vec<u8>>, String> {
    let bytes = asked.rest.get("body_b64").and_then(Value::as_str);
    let decoded = bytes.map(|bytes| base64::engine::general_purpose::STANDARD.decode(bytes)).transpose();
    decoded.map_err(|e| e.to_string())
}
