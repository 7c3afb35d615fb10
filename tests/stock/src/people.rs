//! `presence:*`: everybody is seen by everybody, under the key that they come with.

use rejoin_pump::core::{Payload, Text};
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Refusal, Socket};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::application::App;

#[derive(Deserialize)]
pub(crate) struct Person {
    key: String,
    meta: Box<RawValue>,
}

impl Channel for Person {
    type App = App;

    async fn join(_: &Text, payload: Payload, _: &Socket<App>) -> Result<Joined<Self>, Refusal> {
        payload.parse().map(Joined::new).map_err(|_| Refusal::reason("no key"))
    }

    async fn joined(&mut self, socket: &Socket<App>) -> Result<(), Crash> {
        socket.push_presence_state()?;
        socket.track(self.key.as_str(), Payload::json(&self.meta)?)?;
        Ok(())
    }

    async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<App>) -> Result<Answer, Crash> {
        match event.as_str() {
            "update" => socket.update(&self.key, payload)?,
            "untrack" => socket.untrack(&self.key)?,
            _ => return Ok(Answer::error("unknown event")),
        }
        Ok(Answer::Ok(Payload::EMPTY))
    }
}
