//! The application behind the server: rooms that do what their clients push, and a log of what they heard.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use rejoin_core::{Payload, Text};
use rejoin_pump::memory::MemoryRuntime;
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Leave, Refusal, Server, Socket};
use serde::Deserialize;

/// What all rooms share.
#[derive(Clone)]
pub(crate) struct App(Arc<State>);

struct State {
    log: Mutex<Vec<String>>,
    /// One ticket lets one future pass that waits.
    gate: (Sender<()>, Receiver<()>),
    /// Sockets that were kept beyond their channels.
    kept: Mutex<Vec<Socket<App>>>,
    server: OnceLock<Server<MemoryRuntime>>,
}

impl App {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            log: Mutex::default(),
            gate: async_channel::unbounded(),
            kept: Mutex::default(),
            server: OnceLock::new(),
        }))
    }

    pub(crate) fn serve_with(&self, server: Server<MemoryRuntime>) {
        assert!(self.0.server.set(server).is_ok(), "an application has one server");
    }

    /// What happened since the last call.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.0.log.lock().unwrap())
    }

    /// Lets one future pass, which waits or will.
    pub(crate) fn open_gate(&self) {
        self.0.gate.0.try_send(()).expect("the gate is there");
    }

    pub(crate) fn kept(&self) -> Vec<Socket<Self>> {
        self.0.kept.lock().unwrap().clone()
    }

    fn note(&self, line: impl Into<String>) {
        self.0.log.lock().unwrap().push(line.into());
    }

    async fn pass_gate(&self) {
        self.0.gate.1.recv().await.expect("the gate is there");
    }
}

/// A room whose topic says what joining it is like, and whose events say what they want.
pub(crate) struct Room;

impl Channel for Room {
    type App = App;

    /// The response is the payload.
    async fn join(topic: &Text, payload: Payload, socket: &Socket<App>) -> Result<Joined<Self>, Refusal> {
        let app = socket.app();
        app.note(format!("join {topic}"));
        match topic.as_str() {
            "room:refused" => return Err(Refusal::reason("unauthorized")),
            "room:unmatched" => return Err(Refusal::Unmatched),
            "room:broken" => panic!("the join panics, as the test wants"),
            "room:slow" => app.pass_gate().await,
            "room:kept" => app.0.kept.lock().unwrap().push(socket.clone()),
            _ => {}
        }
        Ok(Joined::new(Self).with_response(payload))
    }

    async fn joined(&mut self, socket: &Socket<App>) -> Result<(), Crash> {
        let topic = socket.topic();
        match topic.as_str() {
            "room:greeting" => socket.app().pass_gate().await,
            "room:stillborn" => return Err(Crash::new("it does not begin")),
            _ => {}
        }
        socket.app().note(format!("joined {topic}"));
        Ok(())
    }

    async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<App>) -> Result<Answer, Crash> {
        let app = socket.app();
        app.note(format!("{event} {}", shown(&payload)));
        match event.as_str() {
            "echo" => return Ok(Answer::Ok(payload)),
            "fail" => return Ok(Answer::error("it fails")),
            "odd" => return Ok(Answer::Other("odd".into(), payload)),
            "quiet" => return Ok(Answer::None),
            "answer_bytes" => return Ok(Answer::Ok(Payload::binary(vec![1, 2, 3].into()))),
            "wait" => {
                app.pass_gate().await;
                app.note("waited");
                return Ok(Answer::Ok(payload));
            }
            "crash" => return Err(Crash::new("as the test wants")),
            "slow_crash" => {
                app.pass_gate().await;
                return Err(Crash::new("as the test wants"));
            }
            "cut" => {
                app.pass_gate().await;
                app.0.server.get().expect("it is served").abort_all();
            }
            "panic" => panic!("the event panics, as the test wants"),
            "shout" => drop(socket.broadcast("news", payload)),
            "shout_from" => drop(socket.broadcast_from("news", payload)),
            "bytes" => drop(socket.broadcast("news", Payload::binary(vec![1, 2, 3].into()))),
            "whisper" => socket.push("news", payload)?,
            "count" => {
                for n in 0..payload.parse::<u32>()? {
                    socket.broadcast("news", Payload::json(&n)?);
                }
            }
            "close" => socket.close()?,
            "disconnect" => socket.disconnect(4001, "go away"),
            "state" => socket.push_presence_state()?,
            "track" | "update" | "untrack" => return Ok(present(&event, &payload, socket)),
            "who" => return Ok(Answer::Ok(who(socket))),
            other => return Ok(Answer::error(&format!("what is {other}?"))),
        }
        Ok(Answer::Ok(Payload::EMPTY))
    }

    async fn expiring(&mut self, expires_in: Duration, socket: &Socket<App>) -> Result<(), Crash> {
        socket.app().note(format!("expiring in {} s", expires_in.as_secs()));
        Ok(socket.push("token_expiring", Payload::json(&expires_in.as_secs())?)?)
    }

    async fn leave(&mut self, reason: Leave, socket: &Socket<App>) {
        match socket.topic().as_str() {
            "room:lingering" => socket.app().pass_gate().await,
            "room:haunted" => panic!("the leave panics, as the test wants"),
            _ => {}
        }
        socket.app().note(format!("leave {} {reason:?}", socket.topic()));
    }
}

#[derive(Deserialize)]
struct Presence {
    key: String,
    #[serde(default)]
    meta: serde_json::Value,
}

fn present(event: &str, payload: &Payload, socket: &Socket<App>) -> Answer {
    let Ok(Presence { key, meta }) = payload.parse() else { return Answer::error("no presence") };
    let meta = Payload::json(&meta).unwrap();
    let done = match event {
        "track" => socket.track(&key, meta),
        "update" => socket.update(&key, meta),
        _ => socket.untrack(&key),
    };
    done.map_or_else(|error| Answer::error(&error.to_string()), |()| Answer::Ok(Payload::EMPTY))
}

fn who(socket: &Socket<App>) -> Payload {
    let user = socket.claims().map(|claims| claims.user_id.to_string());
    let colour = socket.params().get("colour").map(|colour| colour.to_string());
    Payload::json(&serde_json::json!({ "user": user, "colour": colour })).unwrap()
}

pub(crate) fn shown(payload: &Payload) -> String {
    payload.as_json().map_or_else(|| format!("{:?}", payload.as_bytes()), str::to_owned)
}
