//! What a client has missed in a topic, if it asks: members of its join's payload and of the answer
//! that clients of Phoenix do not know and do not mind.
//!
//! A join asks with `{"history": {"last": 20}}` for the newest messages, or with
//! `{"history": {"epoch": "…", "offset": 7}}` for all that came after what it had last. The answer says
//! where the history is now, `{"history": {"epoch": "…", "offset": 9}}`, and the messages follow as if they
//! were said now. To a join with a position it says, besides, `"recovered": true`, or `false` and there are
//! none: what is missing is not there any more, and the client has to start from what is true now. While it
//! is in the topic, each broadcast adds one to the offset.

use rejoin_core::hub::{History, Hub, Position};
use rejoin_core::{Payload, Text};
use serde::{Deserialize, Serialize};

/// What a join asks for.
#[derive(Deserialize)]
pub(super) struct Ask {
    history: Wanted,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wanted {
    After { epoch: String, offset: u64 },
    Last { last: usize },
}

#[derive(Serialize)]
struct Told<'a> {
    epoch: &'a str,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
}

impl Ask {
    /// `None` if the join asks for nothing, or not in these words.
    pub(super) fn of(join: &Payload) -> Option<Self> {
        join.parse().ok()
    }

    /// `None` if no history is kept.
    pub(super) fn look_up<M>(&self, hub: &Hub<M>, topic: &Text) -> Option<History> {
        match &self.history {
            Wanted::After { epoch, offset } => hub.history_after(topic, &Position::new(epoch.as_str(), *offset)),
            Wanted::Last { last } => hub.history_last(topic, *last),
        }
    }

    /// The answer to the join, with where the history is. One that is no JSON object says nothing of it.
    pub(super) fn tell(&self, history: &History, response: Payload) -> Payload {
        let Some(rest) = response.as_json().and_then(|json| json.trim_start().strip_prefix('{')) else {
            return response;
        };
        let Position { epoch, offset, .. } = &history.position;
        let recovered = matches!(self.history, Wanted::After { .. }).then_some(history.recovered);
        let told = Payload::json(&Told { epoch: epoch.as_str(), offset: *offset, recovered }).unwrap_or_default();
        let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
        let json = format!(r#"{{"history":{}{comma}{rest}"#, told.as_json().unwrap_or("null"));
        Payload::from_json_text(json).unwrap_or(response)
    }
}
