//! A lone client machine and a peer that the test writes frame by frame, under virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::wire::{Message, Serializer};
use rejoin_core::{
    ConnId, ConnectRequest, Frame, Machine, OpenError, Payload, Text, Timestamp, TransportAction, TransportEvent,
};

use crate::storm::Polls;

/// A machine whose lanes are drained after every input, with the times of what came out.
#[derive(Debug)]
pub struct Scripted<M: Machine> {
    /// The machine.
    pub session: M,
    /// The time.
    pub now: Timestamp,
    /// How the client writes messages.
    pub serializer: Serializer,
    /// Whether heartbeats are answered at once.
    pub answers_heartbeats: bool,
    /// Whether the transport takes anything at the moment.
    pub plugged: bool,
    /// In which order the lanes are drained.
    pub polls: Polls,
    /// Every attempt to connect.
    pub dials: Vec<(Timestamp, ConnectRequest)>,
    /// Every connection that was closed (with the code) or dropped.
    pub ends: Vec<(Timestamp, ConnId, Option<u16>)>,
    /// The join_ref of each topic's last join.
    pub join_refs: BTreeMap<String, String>,
    /// Every frame since the last [`Scripted::take_sent`].
    pub sent: Vec<Sent>,
    /// Every event since the last [`Scripted::take_events`].
    pub events: Vec<(Timestamp, M::Event)>,
    /// Every request.
    pub requests: Vec<(Timestamp, M::Request)>,
}

/// A message that the client sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub at: Timestamp,
    /// On which connection.
    pub conn: ConnId,
    /// What.
    pub message: Message,
}

impl Sent {
    /// The event.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.message.event
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.message.topic
    }

    /// The ref.
    #[must_use]
    pub fn reference(&self) -> &str {
        self.message.reference.as_ref().map_or("null", |r| r.as_str())
    }

    /// The join_ref.
    #[must_use]
    pub fn join_ref(&self) -> &str {
        self.message.join_ref.as_ref().map_or("null", |r| r.as_str())
    }
}

impl<M: Machine> Scripted<M> {
    /// A machine at time zero that writes messages like this.
    #[must_use]
    pub fn driving(session: M, serializer: Serializer) -> Self {
        Self {
            session,
            now: Timestamp::ZERO,
            serializer,
            answers_heartbeats: true,
            plugged: false,
            polls: Polls::TransportFirst,
            dials: Vec::new(),
            ends: Vec::new(),
            join_refs: BTreeMap::new(),
            sent: Vec::new(),
            events: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// Calls the session and drains its lanes.
    pub fn with<T>(&mut self, call: impl FnOnce(&mut M, Timestamp) -> T) -> T {
        let result = call(&mut self.session, self.now);
        self.drain();
        result
    }

    /// The connection dialled last.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a script that has not dialled is wrong")]
    pub fn conn(&self) -> ConnId {
        self.dials.last().expect("something was dialled").1.conn
    }

    /// The last attempt succeeds.
    pub fn opened(&mut self) {
        self.transport(TransportEvent::Opened { conn: self.conn() });
    }

    /// The last attempt is refused with an HTTP status.
    pub fn refused(&mut self, status: u16, retry_after: Option<Duration>) {
        let error = OpenError::refused(status, retry_after, "");
        self.transport(TransportEvent::OpenFailed { conn: self.conn(), error });
    }

    /// The last connection ends.
    pub fn closed(&mut self, code: Option<u16>) {
        self.transport(TransportEvent::Closed { conn: self.conn(), code, reason: Text::EMPTY });
    }

    /// A text frame arrives on the last connection.
    pub fn receive(&mut self, text: &str) {
        self.receive_frame(Frame::Text(text.into()));
    }

    /// A frame arrives on the last connection.
    pub fn receive_frame(&mut self, frame: Frame) {
        self.transport(TransportEvent::Received { conn: self.conn(), frame });
    }

    /// Something happens to a connection.
    pub fn transport(&mut self, event: TransportEvent) {
        self.session.handle_transport(self.now, event);
        self.drain();
    }

    /// The server accepts the last join of a topic that was sent.
    pub fn accept(&mut self, topic: &str) {
        self.answer_join(topic, "ok", "{}");
    }

    /// The server answers the last join of a topic that was sent.
    #[expect(clippy::missing_panics_doc, reason = "a script that answers what was not sent is wrong")]
    pub fn answer_join(&mut self, topic: &str, status: &str, response: &str) {
        let join = self.sent.iter().rev().find(|s| s.topic() == topic && s.event() == "phx_join");
        let join = join.expect("the join was sent").clone();
        self.answer(&join, status, response);
    }

    /// The server answers a message.
    #[expect(clippy::missing_panics_doc, reason = "responses are written in the test")]
    pub fn answer(&mut self, to: &Sent, status: &str, response: &str) {
        let response = Payload::from_json_text(response).expect("the response is JSON");
        let reply = Message::reply(to.message.topic.clone(), status, &response);
        let reply = reply.with_refs(to.message.join_ref.clone(), to.message.reference.clone());
        self.receive_frame(self.serializer.encode_from_server(&reply).expect("JSON fits every serializer"));
    }

    /// A message of the server arrives, written as it writes to this client.
    #[expect(clippy::missing_panics_doc, reason = "payloads are written in the test")]
    pub fn receive_message(
        &mut self,
        join_ref: Option<&str>,
        reference: Option<&str>,
        topic: &str,
        event: &str,
        payload: &str,
    ) {
        let payload = Payload::from_json_text(payload).expect("the payload is JSON");
        let message = Message::new(topic, event, payload);
        let message = message.with_refs(join_ref.map(Into::into), reference.map(Into::into));
        self.receive_frame(self.serializer.encode_from_server(&message).expect("JSON fits every serializer"));
    }

    /// Time passes, deadline by deadline.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.now.saturating_add(duration);
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= until) {
            self.jump(at);
        }
        self.now = until;
    }

    /// Time jumps; whatever came due meanwhile comes due at once.
    pub fn jump(&mut self, to: Timestamp) {
        self.now = self.now.max(to);
        self.session.handle_timeout(self.now);
        assert!(self.session.poll_timeout().is_none_or(|at| at > self.now), "a deadline is left behind");
        self.drain();
    }

    /// When the session wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.session.poll_timeout()
    }

    /// The frames sent since the last call.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// The events since the last call.
    pub fn take_events(&mut self) -> Vec<M::Event> {
        std::mem::take(&mut self.events).into_iter().map(|(_, event)| event).collect()
    }

    /// The names of the events sent since the last call.
    pub fn take_sent_names(&mut self) -> Vec<String> {
        self.take_sent().iter().map(|sent| sent.event().to_owned()).collect()
    }

    /// Takes everything out of the lanes.
    pub fn drain(&mut self) {
        loop {
            let answered = self.sent.len();
            // What the transport lane decides when it is polled may fill the others and give nothing.
            while self.poll_lanes() || self.poll_lanes() {}
            let beats = |sent: &&Sent| self.answers_heartbeats && sent.event() == "heartbeat";
            let heartbeats: Vec<_> = self.sent[answered..].iter().filter(beats).cloned().collect();
            if heartbeats.is_empty() {
                return;
            }
            for heartbeat in heartbeats {
                self.answer(&heartbeat, "ok", "{}");
            }
        }
    }

    /// One round through the lanes; whether anything came out.
    fn poll_lanes(&mut self) -> bool {
        match self.polls {
            Polls::TransportFirst => self.poll_actions() | self.poll_requests() | self.poll_events(),
            Polls::EventsFirst => self.poll_events() | self.poll_requests() | self.poll_actions(),
            Polls::InTurn => self.poll_action() | self.poll_event() | self.poll_request(),
        }
    }

    fn poll_actions(&mut self) -> bool {
        std::iter::from_fn(|| self.poll_action().then_some(())).count() > 0
    }

    fn poll_requests(&mut self) -> bool {
        std::iter::from_fn(|| self.poll_request().then_some(())).count() > 0
    }

    fn poll_events(&mut self) -> bool {
        std::iter::from_fn(|| self.poll_event().then_some(())).count() > 0
    }

    fn poll_action(&mut self) -> bool {
        if self.plugged {
            return false;
        }
        let Some(action) = self.session.poll_transport() else { return false };
        match action {
            TransportAction::Open(request) => self.dials.push((self.now, request)),
            TransportAction::Close { conn, code, .. } => self.ends.push((self.now, conn, Some(code))),
            TransportAction::Abort { conn } => self.ends.push((self.now, conn, None)),
            TransportAction::Send { conn, frame } => {
                let message = self.serializer.decode_from_client(frame).expect("we send messages");
                let sent = Sent { at: self.now, conn, message };
                if sent.event() == "phx_join" {
                    self.join_refs.insert(sent.topic().to_owned(), sent.join_ref().to_owned());
                }
                self.sent.push(sent);
            }
        }
        true
    }

    fn poll_request(&mut self) -> bool {
        let request = self.session.poll_request();
        let came = request.is_some();
        self.requests.extend(request.map(|request| (self.now, request)));
        came
    }

    fn poll_event(&mut self) -> bool {
        let event = self.session.poll_event();
        let came = event.is_some();
        self.events.extend(event.map(|event| (self.now, event)));
        came
    }
}
