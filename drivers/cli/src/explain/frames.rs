//! A frame in words.

use rejoin_core::wire::{Message, Serializer, UserEvent};
use rejoin_core::{Frame, Payload};
use rejoin_recording::{Dir, redact_text};

use super::Said;
use crate::output::{json_error, shown};

/// What is shown of a payload, in characters.
const SHORT: usize = 160;

pub(super) fn decode(frame: Frame, dir: Option<Dir>, serializer: Serializer) -> Said {
    let raw = frame.clone();
    let decoded = match dir {
        Some(Dir::ToServer) => serializer.decode_from_client(frame),
        _ => serializer.decode_from_server(frame),
    };
    match decoded {
        Ok(message) => describe(&message),
        Err(error) => Said::malformed(error, short_frame(&raw)),
    }
}

fn describe(message: &Message) -> Said {
    let refs = {
        let shown = |reference: &Option<rejoin_core::wire::Ref>| match reference {
            Some(reference) => reference.to_string(),
            None => "-".into(),
        };
        format!("[{}/{}]", shown(&message.join_ref), shown(&message.reference))
    };
    let (topic, event) = (&message.topic, &message.event);
    if let Some(error) = json_error(&message.payload) {
        let text = format!("{event} {topic} {} {refs}", short(&message.payload));
        return Said::malformed(format!("the payload is not JSON: {error}"), text);
    }
    match message.as_reply() {
        Some(reply) => Said::fine(format!("reply {} {topic} {} {refs}", reply.status, short(&reply.response))),
        None if *event == "phx_reply" => {
            Said::malformed("a reply without a status", format!("{event} {topic} {} {refs}", short(&message.payload)))
        }
        None => Said::fine(format!("{event}{} {topic} {} {refs}", user_event(message), short(&message.payload))),
    }
}

/// The name that a Supabase user gave to a broadcast, and what the server says about it.
fn user_event(message: &Message) -> String {
    let Some(UserEvent { event, metadata, .. }) = &message.user_event else { return String::new() };
    let metadata = metadata.as_ref().map_or(String::new(), |metadata| format!(" (meta {})", short(metadata)));
    format!(" {event}{metadata}")
}

fn short(payload: &Payload) -> String {
    match payload.as_json() {
        Some(json) => short_text(Some(json)),
        None => shown(payload).into_owned(),
    }
}

fn short_frame(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) => short_text(Some(text)),
        Frame::Binary(bytes) => shown(&Payload::binary(bytes.clone())).into_owned(),
    }
}

/// The beginning of a text, credentials taken out.
pub(super) fn short_text(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    let redacted = redact_text(text);
    match redacted.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}… ({} bytes)", &redacted[..end], text.len()),
        None => redacted.to_string(),
    }
}
