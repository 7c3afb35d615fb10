//! Other clients of the storm's project: strangers, frame by frame, who come, go, and say who they are.

use rejoin_core::{ConnId, Frame, Text, TransportEvent};
use serde_json::{Value, json};

use super::oracle::Oracle;
use super::room::TOPICS;
use crate::rng::Rng;
use crate::supabase::{LATE, Lab, token};

/// Above every connection that a storm's client makes.
const FIRST: u64 = 1_000_000;

/// What a stranger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Which of the strangers.
    pub who: u8,
    /// In which topic.
    pub topic: &'static str,
    /// Whether in the private one.
    pub private: bool,
    /// What.
    pub act: Act,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Joins, and says who it is.
    Come,
    /// Says something else about itself; too often ends its channel.
    Track(u8),
    /// Is present no more.
    Untrack,
    /// Leaves.
    Leave,
    /// Broadcasts, to be stored if the server does so.
    Broadcast,
    /// Its connection breaks.
    Vanish,
}

impl Deed {
    pub(super) fn random(rng: &mut Rng) -> Self {
        // They keep together.
        let (who, topic) = (rng.below(3) as u8, rng.pick(&TOPICS[..3]));
        let act = match rng.below(10) {
            0..4 => Act::Come,
            4..6 => Act::Track(rng.below(4) as u8),
            6 => Act::Untrack,
            7 => Act::Leave,
            8 => Act::Broadcast,
            _ => Act::Vanish,
        };
        Self { who, topic, private: topic.contains("priv"), act }
    }

    pub(super) fn apply(self, lab: &mut Lab<Oracle>) {
        let conn = ConnId::new(FIRST + u64::from(self.who));
        if lab.project.peer(conn).is_none() {
            let target = format!("/socket/websocket?apikey={}&vsn=2.0.0", token("authenticated", LATE));
            // Refusals are meant for the client; this one comes by another way.
            let Ok(upgrade) = lab.project.check_upgrade(lab.now, &target, &[]) else { return };
            lab.project.open(lab.now, conn, upgrade);
        }
        let track = |n: u8| ("presence", json!({ "type": "presence", "event": "track", "payload": { "n": n } }));
        match self.act {
            Act::Come => {
                let key = if self.who == 0 { String::new() } else { "stranger".into() };
                let config = json!({ "private": self.private, "presence": { "enabled": true, "key": key } });
                self.says(lab, conn, ("phx_join", json!({ "config": config })));
                self.says(lab, conn, track(self.who));
            }
            Act::Track(n) => self.says(lab, conn, track(n)),
            Act::Untrack => self.says(lab, conn, ("presence", json!({ "type": "presence", "event": "untrack" }))),
            Act::Leave => self.says(lab, conn, ("phx_leave", json!({}))),
            Act::Broadcast => {
                let payload = json!({ "type": "broadcast", "event": "news", "payload": {} });
                self.says(lab, conn, ("broadcast", payload));
            }
            Act::Vanish => {
                let gone = TransportEvent::Closed { conn, code: None, reason: Text::EMPTY };
                lab.project.handle_transport(lab.now, conn, gone);
            }
        }
    }

    fn says(self, lab: &mut Lab<Oracle>, conn: ConnId, (event, payload): (&str, Value)) {
        let text = format!(r#"["1","2","{}","{event}",{payload}]"#, self.topic);
        let frame = Frame::Text(if event == "phx_join" { text.replacen("\"2\"", "\"1\"", 1) } else { text }.into());
        lab.project.handle_transport(lab.now, conn, TransportEvent::Received { conn, frame });
    }
}
