//! The rooms of the abused server: any topic, any push is answered, `show` makes its client present.

use rejoin_core::auth::{AuthError, Claims, TokenVerifier};
use rejoin_core::{Payload, Text};
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Refusal, Socket};

pub(crate) struct Room;

impl Channel for Room {
    type App = ();

    async fn join(_: &Text, _: Payload, _: &Socket<()>) -> Result<Joined<Self>, Refusal> {
        Ok(Joined::new(Self))
    }

    async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<()>) -> Result<Answer, Crash> {
        Ok(match event.as_str() {
            "show" => match socket.track(&payload.parse::<String>()?, Payload::EMPTY) {
                Ok(()) => Answer::Ok(Payload::EMPTY),
                Err(error) => Answer::error(&error.to_string()),
            },
            "shout" => {
                socket.broadcast("shout", payload);
                Answer::Ok(Payload::EMPTY)
            }
            _ => Answer::Ok(payload),
        })
    }
}

/// Lets those in who say `please`.
pub(crate) struct Please;

impl TokenVerifier for Please {
    fn verify(&self, token: &str, _: std::time::Duration) -> Result<Claims, AuthError> {
        if token == "please" { Ok(Claims::new("polite")) } else { Err(AuthError::Refused) }
    }
}
