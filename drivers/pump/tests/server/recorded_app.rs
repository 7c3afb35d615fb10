//! The application that the recorded Phoenix server had, as a channel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin_core::auth::{AuthError, Claims, TokenVerifier};
use rejoin_core::{ConnId, Payload, Text};
use rejoin_pump::Runtime;
use rejoin_pump::memory::MemoryRuntime;
use rejoin_pump::server::{Answer, Channel, Crash, Joined, Leave, Refusal, Socket};
use serde_json::{Value, json};

/// What all rooms share.
#[derive(Clone)]
pub(crate) struct Recorded(Arc<State>);

struct State {
    runtime: MemoryRuntime,
    rooms: Mutex<BTreeMap<(Text, ConnId), Socket<Recorded>>>,
    later: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Recorded {
    pub(crate) fn new(runtime: MemoryRuntime) -> Self {
        Self(Arc::new(State { runtime, rooms: Mutex::default(), later: Mutex::default() }))
    }

    /// Does what the application left for the time after its answer, as the processes of Phoenix do.
    pub(crate) fn run_later(&self) {
        let later = std::mem::take(&mut *self.0.later.lock().unwrap());
        later.into_iter().for_each(|act| act());
    }

    fn later(&self, act: impl FnOnce() + Send + 'static) {
        self.0.later.lock().unwrap().push(Box::new(act));
    }
}

/// `good:` and a user is that user's token.
pub(crate) struct Good;

impl TokenVerifier for Good {
    fn verify(&self, token: &str, _: Duration) -> Result<Claims, AuthError> {
        token.strip_prefix("good:").map(Claims::new).ok_or(AuthError::Refused)
    }
}

pub(crate) struct RecordedRoom {
    params: Value,
}

impl Channel for RecordedRoom {
    type App = Recorded;

    async fn join(topic: &Text, payload: Payload, socket: &Socket<Recorded>) -> Result<Joined<Self>, Refusal> {
        let params: Value = payload.parse().unwrap();
        let mut response = json!({ "params": params, "topic": topic.as_str(), "user": user(socket) });
        match topic.as_str() {
            "room:forbidden" => return Err(Refusal::reason("forbidden")),
            "room:joincrash" => panic!("the recorded join crashes"),
            "room:slowjoin" => {
                let runtime = &socket.app().0.runtime;
                let time = Duration::from_millis(params["ms"].as_u64().unwrap());
                runtime.sleep_until(runtime.now() + time).await;
                response = json!({ "slow": true });
            }
            _ => {}
        }
        Ok(Joined::new(Self { params }).with_response(Payload::json(&response).unwrap()))
    }

    async fn joined(&mut self, socket: &Socket<Recorded>) -> Result<(), Crash> {
        socket.app().0.rooms.lock().unwrap().insert((socket.topic().clone(), socket.conn()), socket.clone());
        if self.params["greet"] == true {
            socket.push("greeting", Payload::json(&json!({ "hello": user(socket) }))?)?;
        }
        if self.params["presence"] == true {
            let mut meta = self.params["meta"].clone();
            meta["online_at"] = json!(0);
            socket.track(&user(socket), Payload::json(&meta)?)?;
            socket.push_presence_state()?;
        }
        Ok(())
    }

    async fn event(&mut self, event: Text, payload: Payload, socket: &Socket<Recorded>) -> Result<Answer, Crash> {
        let said = || payload.parse::<Value>().unwrap_or_default();
        let then = socket.clone();
        Ok(match event.as_str() {
            "ping" => Answer::Ok(payload),
            "bin_error" => Answer::Error(payload),
            "custom_status" => Answer::Other("teapot".into(), payload),
            "fail" => Answer::Error(Payload::json(&json!({ "got": said(), "reason": "failed" }))?),
            // A channel of ours answers a push before the next: a late answer is a push.
            "slow" | "noreply" => Answer::None,
            "push_then_reply" => {
                socket.push("pushed", payload.clone())?;
                Answer::Ok(payload)
            }
            "push_bin" => {
                let size = payload.len();
                socket.push("pushed", payload)?;
                Answer::Ok(Payload::json(&json!({ "size": size }))?)
            }
            "push_n" => {
                for i in 1..=said()["n"].as_u64().unwrap_or_default() {
                    socket.push("pushed", Payload::json(&json!({ "i": i, "pad": "" }))?)?;
                }
                Answer::Ok(payload)
            }
            "shout" => {
                socket.broadcast("shout", payload);
                Answer::Ok(Payload::EMPTY)
            }
            "shout_from" => {
                socket.broadcast_from("shout", payload);
                Answer::None
            }
            "intercepted" => {
                for ((topic, _), member) in &*socket.app().0.rooms.lock().unwrap() {
                    if topic == socket.topic() {
                        let mut own = said();
                        own["for"] = json!(user(member));
                        member.push("intercepted", Payload::json(&own)?)?;
                    }
                }
                Answer::None
            }
            "update" => {
                let (key, meta) = (said()["key"].clone(), Payload::json(&said()["meta"])?);
                socket.app().later(move || then.update(key.as_str().unwrap(), meta).unwrap());
                Answer::Ok(Payload::EMPTY)
            }
            "untrack" => {
                let key = said()["key"].clone();
                socket.app().later(move || then.untrack(key.as_str().unwrap()).unwrap());
                Answer::Ok(Payload::EMPTY)
            }
            "crash" | "stop_error" => return Err(Crash::new("as recorded")),
            "stop" | "stop_shutdown" => {
                socket.close()?;
                Answer::None
            }
            "stop_reply" => {
                socket.app().later(move || then.close().unwrap());
                Answer::Ok(payload)
            }
            "disconnect_me" => {
                socket.disconnect(1001, "");
                Answer::None
            }
            _ => Answer::Ok(Payload::EMPTY),
        })
    }

    async fn leave(&mut self, _: Leave, socket: &Socket<Recorded>) {
        socket.app().0.rooms.lock().unwrap().remove(&(socket.topic().clone(), socket.conn()));
    }
}

fn user(socket: &Socket<Recorded>) -> String {
    let claimed = socket.claims().map(|claims| claims.user_id.to_string());
    claimed.or_else(|| socket.params().get("user").map(|user| user.to_string())).unwrap_or_else(|| "anon".into())
}
