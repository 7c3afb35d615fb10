//! The rooms of the servers over sockets: `count` says so many messages to all, `shout` one, `show` makes
//! its client present, `crash` ends the channel, and anything else is answered with its own payload.

use rejoin_core::{Payload, Text};
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Refusal, Socket};

pub(crate) struct Room;

impl Channel for Room {
    type App = ();

    async fn join(_: &Text, _: Payload, _: &Socket<()>) -> Result<Joined<Self>, Refusal> {
        Ok(Joined::new(Self))
    }

    async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<()>) -> Result<Answer, Crash> {
        match event.as_str() {
            "count" => {
                for n in 0..payload.parse::<usize>()? {
                    socket.broadcast("news", Payload::json(&serde_json::json!({ "n": n, "filler": "" }))?);
                }
            }
            "shout" => drop(socket.broadcast_from("shout", payload)),
            "show" => socket.track(&payload.parse::<String>()?, Payload::EMPTY)?,
            "crash" => return Err(Crash::new("as the test wants")),
            _ => return Ok(Answer::Ok(payload)),
        }
        Ok(Answer::Ok(Payload::EMPTY))
    }
}
