//! What the server does with what its clients say.

use rejoin_core::{Payload, Text};
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Refusal, Socket};

/// One client in one topic. Any topic will do; what is pushed goes to the others in it.
#[derive(Debug)]
pub(crate) struct Room;

impl Channel for Room {
    type App = ();

    async fn join(topic: &Text, _: Payload, _: &Socket<()>) -> Result<Joined<Self>, Refusal> {
        if topic.is_empty() { Err(Refusal::Unmatched) } else { Ok(Joined::new(Self)) }
    }

    async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<()>) -> Result<Answer, Crash> {
        match event.as_str() {
            "ping" => return Ok(Answer::Ok(payload)),
            // A token that nobody asks for is nobody else's business.
            "access_token" => {}
            // Passed on, it would end the others' channels.
            event if event.starts_with("phx_") => return Ok(Answer::error("reserved event")),
            _ => _ = socket.broadcast_from(event, payload),
        }
        Ok(Answer::Ok(Payload::EMPTY))
    }
}
