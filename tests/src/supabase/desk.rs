//! A project under virtual time whose clients are frames: for tests of the scripted Supabase itself.

use std::time::Duration;

use rejoin_core::{ConnId, Frame, Payload, Timestamp, TransportAction, TransportEvent};
use serde_json::{Value, json};

use super::config::PeerConfig;
use super::events::PeerEvent;
use super::peer::SupabasePeer;
use super::postgres::RowChange;
use super::project::Project;
use super::token::token;

/// When nothing expires: 2100.
pub const LATE: i64 = 4_102_444_800;

/// A project under virtual time, and what it sends to its clients.
#[derive(Debug)]
pub struct Desk {
    /// The project.
    pub project: Project,
    /// The time.
    pub now: Timestamp,
    /// What it sent to whom: text, or binary frames read as text.
    pub sent: Vec<(ConnId, String)>,
    /// Whom it closed, with the code, or dropped.
    pub ends: Vec<(ConnId, Option<u16>)>,
}

impl Desk {
    /// A project without clients.
    #[must_use]
    pub fn new(config: PeerConfig) -> Self {
        Self { project: Project::new(config), now: Timestamp::ZERO, sent: Vec::new(), ends: Vec::new() }
    }

    /// A client of vsn 2.0.0 with the key of `anon`.
    pub fn client(&mut self, conn: u64) -> ConnId {
        self.client_of(conn, "2.0.0", &token("anon", LATE))
    }

    /// A client of this vsn and key.
    #[expect(clippy::missing_panics_doc, reason = "a test whose client is refused is wrong")]
    pub fn client_of(&mut self, conn: u64, vsn: &str, key: &str) -> ConnId {
        let target = format!("/socket/websocket?apikey={key}&vsn={vsn}");
        let upgrade = self.project.check_upgrade(self.now, &target, &[]).expect("a good key");
        self.project.open(self.now, ConnId::new(conn), upgrade);
        ConnId::new(conn)
    }

    /// A text frame from a client.
    pub fn hears(&mut self, conn: ConnId, text: &str) {
        self.hears_frame(conn, Frame::Text(text.into()));
    }

    /// Any frame from a client.
    pub fn hears_frame(&mut self, conn: ConnId, frame: Frame) {
        self.project.handle_transport(self.now, conn, TransportEvent::Received { conn, frame });
        self.drain();
    }

    /// Joins with this config and an access token of `authenticated`, and lets the answer come.
    pub fn joins(&mut self, conn: ConnId, topic: &str, config: &Value) -> Vec<String> {
        let payload = json!({ "config": config, "access_token": token("authenticated", LATE) });
        self.hears(conn, &format!(r#"["1","1","realtime:{topic}","phx_join",{payload}]"#));
        self.advance(5_000);
        self.take(conn)
    }

    /// Lets a test order something of the peer of a client.
    #[expect(clippy::missing_panics_doc, reason = "a test that orders something from nobody is wrong")]
    pub fn orders(&mut self, conn: ConnId, order: impl FnOnce(&mut SupabasePeer, Timestamp)) {
        self.project.with_peer(self.now, conn, order).expect("the client is there");
        self.drain();
    }

    /// A row came, changed or went.
    pub fn change(&mut self, change: &RowChange) {
        self.project.change(self.now, change);
        self.drain();
    }

    /// `realtime.send` of the database; see [`Project::send`].
    pub fn send(&mut self, topic: &str, private: bool, event: &str, payload: Payload) {
        self.project.send(self.now, topic, private, event, payload);
        self.drain();
    }

    /// Lets so many milliseconds pass, from one thing that happens to the next.
    pub fn advance(&mut self, ms: u64) {
        let until = self.now.saturating_add(Duration::from_millis(ms));
        while let Some(at) = self.project.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.project.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.project.poll_transport() {
            match action {
                TransportAction::Send { conn, frame } => {
                    self.sent.push((conn, String::from_utf8_lossy(frame.as_bytes()).into()));
                }
                TransportAction::Close { conn, code, .. } => self.ends.push((conn, Some(code))),
                TransportAction::Abort { conn } => self.ends.push((conn, None)),
                TransportAction::Open(_) => unreachable!("a server does not dial"),
            }
        }
    }

    /// Reads the messages that a client of vsn 2.0.0 was sent since the last call, which are all text.
    #[expect(clippy::missing_panics_doc, reason = "the project sends messages")]
    pub fn read(&mut self, conn: ConnId) -> Vec<Value> {
        let sent = self.take(conn);
        sent.iter().map(|text| serde_json::from_str(text).expect("a message in text")).collect()
    }

    /// What a client was sent since the last call.
    pub fn take(&mut self, conn: ConnId) -> Vec<String> {
        self.sent.extract_if(.., |(to, _)| *to == conn).map(|(_, text)| text).collect()
    }

    /// What the project saw since the last call.
    pub fn events(&mut self) -> Vec<PeerEvent> {
        std::iter::from_fn(|| self.project.poll_event()).map(|(_, event)| event).collect()
    }
}
