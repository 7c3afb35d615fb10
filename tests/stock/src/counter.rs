//! `crash:*`: a counter that breaks when it is told to, and is forgotten then.

use std::panic;

use rejoin_pump::core::{Payload, Text};
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Refusal, Socket};
use serde::{Deserialize, Serialize};

use crate::application::App;

pub(crate) struct Counter {
    count: u32,
}

#[derive(Deserialize)]
struct Entrance {
    #[serde(default)]
    panic: bool,
}

#[derive(Serialize)]
struct Count {
    count: u32,
}

impl Channel for Counter {
    type App = App;

    async fn join(_: &Text, payload: Payload, _: &Socket<App>) -> Result<Joined<Self>, Refusal> {
        match payload.parse() {
            Ok(Entrance { panic: true }) => panic_quietly(),
            _ => Ok(Joined::new(Self { count: 0 })),
        }
    }

    async fn event(&mut self, event: Text, _: Payload, _: &Socket<App>) -> Result<Answer, Crash> {
        match event.as_str() {
            "count" => {
                self.count += 1;
                Ok(Answer::Ok(Payload::json(&Count { count: self.count })?))
            }
            "panic" => panic_quietly(),
            _ => Err(Crash::new("told to")),
        }
    }
}

/// Without the line on standard error, which nobody needs to read in the log of a test.
fn panic_quietly() -> ! {
    panic::resume_unwind(Box::new("told to"))
}
