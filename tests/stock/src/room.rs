//! `room:*`: people who talk, and a server that does what it is asked.

use std::borrow::Cow;

use rejoin_pump::core::{Payload, Text};
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Refusal, Socket};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::application::App;

pub(crate) struct Room;

#[derive(Deserialize)]
struct Entrance {
    /// Whether the join waits until the gate is opened.
    #[serde(default)]
    gated: bool,
}

#[derive(Serialize)]
struct Welcome<'a> {
    topic: &'a str,
    params: Value,
}

impl Channel for Room {
    type App = App;

    async fn join(topic: &Text, payload: Payload, socket: &Socket<App>) -> Result<Joined<Self>, Refusal> {
        if topic == "room:secret" {
            return Err(Refusal::reason("unauthorized"));
        }
        let Ok(Entrance { gated }) = payload.parse() else { return Err(Refusal::reason("no entrance")) };
        if gated {
            socket.app().wait_at_gate().await;
        }
        let welcome = payload.parse().and_then(|params: Value| Payload::json(&Welcome { topic, params }));
        welcome.map(|welcome| Joined::new(Self).with_response(welcome)).map_err(|_| Refusal::reason("no entrance"))
    }

    async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<App>) -> Result<Answer, Crash> {
        match event.as_str() {
            "echo" => return Ok(Answer::Ok(payload)),
            "fail" => return Ok(Answer::Error(payload)),
            "ignore" => return Ok(Answer::None),
            "shout" => drop(socket.broadcast(event, payload)),
            "say" => drop(socket.broadcast_from(event, payload)),
            "say as" => {
                let Said { event, payload } = payload.parse()?;
                socket.broadcast_from(event, Payload::json(&payload)?);
            }
            "numbers" => {
                let Numbers { count } = payload.parse()?;
                for number in 0..count {
                    socket.broadcast("number", Payload::json(&Number { number })?);
                }
            }
            "who am i" => {
                let claims = socket.claims();
                let user = claims.as_ref().map(|claims| claims.user_id.as_str());
                return Ok(Answer::Ok(Payload::json(&Identity { user })?));
            }
            "param" => {
                let Param { name } = payload.parse()?;
                return Ok(Answer::Ok(Payload::json(&ParamValue { value: socket.params().get(&name) })?));
            }
            "open gate" => socket.app().open_gate(),
            "close" => socket.close()?,
            "disconnect" => socket.disconnect(1001, ""),
            _ => return Ok(Answer::error("unknown event")),
        }
        Ok(Answer::Ok(Payload::EMPTY))
    }
}

#[derive(Deserialize)]
struct Said {
    event: String,
    payload: Box<RawValue>,
}

#[derive(Deserialize)]
struct Numbers {
    count: u32,
}

#[derive(Serialize)]
struct Number {
    number: u32,
}

#[derive(Serialize)]
struct Identity<'a> {
    user: Option<&'a str>,
}

#[derive(Deserialize)]
struct Param {
    name: String,
}

#[derive(Serialize)]
struct ParamValue<'a> {
    value: Option<Cow<'a, str>>,
}
